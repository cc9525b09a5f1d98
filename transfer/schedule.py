"""What learning rates are multiplied by, as functions of how much of a training is done.

| a recipe's schedule | the rate |
|---|---|
| `steps` | drops by `gamma` after each of `milestones` |
| `cosine` | falls by half a cosine, once an epoch; with every step where a recipe counts `steps` |
| `cosine-by-step` | the same with every step |
| `cosine-met` | the same, and the last step is at the end of the fall: lightly's |
| `cosine-late` | once an epoch, at the rate of the one before it; a warm-up hides the cosine's beginning: DeiT's |
"""

import math

from twinbench.protocols.kinds.finetuning import TrainedRecipe


def cosine(done: float, total: float) -> float:
    """Return what half a cosine has left of a rate after so many of all steps, or epochs."""
    return 0.5 * (1 + math.cos(math.pi * done / total))


def warmed_cosine(step: int, steps: int, warmup: float, *, meets_ends: bool = False) -> float:
    """Return the factor of a step, counted from 0: a straight rise over `warmup` steps, then half a cosine.

    A rise from 0 would be at 1 with the step that follows it, and the fall at 0 with the step after the last one. What
    `meets_ends` is there one step earlier: the last step of the rise has the whole rate, the last of all has none.
    """
    if step < warmup:
        return step / max(1, warmup - meets_ends)
    return cosine(step - warmup, max(1, steps - warmup - meets_ends))


def rate_factor(recipe: TrainedRecipe, epoch: int, step: int = 0, batches: int = 1, steps: int = 0) -> float:
    """Return the factor of a step of an epoch, both counted from 0, where epochs have so many `batches`.

    `steps` are those of the whole training, unless it ends with an epoch.
    """
    if recipe.schedule == "steps":
        return recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    done, total, warmup = epoch, recipe.epochs, recipe.warmup_epochs
    if recipe.schedule in ("cosine-by-step", "cosine-met") or recipe.steps:
        done, total, warmup = epoch * batches + step, steps or total * batches, warmup * batches
    if recipe.schedule == "cosine-late":  # DeiT's main.py tells its scheduler of an epoch when that is over
        done = max(epoch - 1, 0)
        left = done / warmup if done < warmup else cosine(done, total)
    else:
        left = warmed_cosine(done, total, warmup, meets_ends=recipe.schedule == "cosine-met")
    least = recipe.warmup_start if done < warmup else recipe.rate_floor
    return least + (1 - least) * left
