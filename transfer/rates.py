"""What learning rates are multiplied by as a training goes on.

| schedule | the rate |
|---|---|
| `steps` | drops by `gamma` after each of `milestones` |
| `cosine` | falls by half a cosine, once an epoch; with every step where a recipe counts `steps` |
| `cosine-by-step` | the same with every step |
| `cosine-met` | the same, and the last step is at the end of the fall: lightly's |
| `cosine-late` | once an epoch, at the rate of the one before it; a warm-up hides the cosine's beginning: DeiT's |
"""

import math

from twinbench.protocols.kinds.sgd import TrainedRecipe


def cosine(done: int, total: int) -> float:
    """Return what half a cosine has left of a rate after so many of all steps, or epochs."""
    return 0.5 * (1 + math.cos(math.pi * done / total))


def rate_factor(recipe: TrainedRecipe, epoch: int, step: int = 0, batches: int = 1, steps: int = 0) -> float:
    """Return the factor of a step of an epoch, both counted from 0, where epochs have so many `batches`.

    `steps` are those of the whole training, unless it ends with an epoch.
    """
    if recipe.schedule == "steps":
        return recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    done, total, warmup = epoch, recipe.epochs, recipe.warmup_epochs
    if recipe.schedule in ("cosine-by-step", "cosine-met") or recipe.steps:
        done, total, warmup = epoch * batches + step, steps or total * batches, warmup * batches
    is_late = recipe.schedule == "cosine-late"
    if is_late:  # DeiT's main.py tells the scheduler which epoch it was, when that is over
        done = max(epoch - 1, 0)
    if done < warmup:
        return recipe.warmup_start + (1 - recipe.warmup_start) * done / warmup
    if not is_late:
        done, total = done - warmup, total - warmup - (recipe.schedule == "cosine-met")
    return recipe.rate_floor + (1 - recipe.rate_floor) * cosine(done, max(1, total))
