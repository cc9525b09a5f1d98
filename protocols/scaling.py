"""Fewer GPUs than the eight of the papers: the linear rule, as settings that a result records.

A recipe is written for 8 GPUs with 2 images each. The same recipe runs on any number of GPUs whose memory holds the
batch, and is then the same protocol. Where it does not fit, N GPUs take N/8 of the batch, at N/8 of the rate, for 8/N
of the iterations (Goyal et al., arXiv:1706.02677; MoCo's author recommends it in issue 11): as many images are seen,
and the row is marked, since smaller batches are not quite the same (batch norm sees fewer images at once).
"""

from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.detector import DetectionRecipe

GPUS = 8  # of the papers


class ScalingError(UserError):
    """A number of GPUs that the batch cannot be shared out to."""


def linear_rule(recipe: DetectionRecipe, gpus: int) -> dict[str, str]:
    """Return the settings (as for --set) that make `recipe` one for `gpus` GPUs; none for eight.

    The number of batches for precise batch norm stays: it is a sample of the data, not a schedule.
    """
    if gpus == GPUS:
        return {}
    if gpus < 1 or recipe.batch_size * gpus % GPUS:
        raise ScalingError(
            f"{gpus}: {gpus}/{GPUS} of the batch of {recipe.batch_size} is no whole number of images; choose a number "
            "of GPUs for which it is, or set batch_size, lr, iterations, steps and warmup_iterations yourself"
        )
    return {
        "batch_size": str(recipe.batch_size * gpus // GPUS),
        "lr": f"{recipe.lr * gpus / GPUS:g}",
        "iterations": str(round(recipe.iterations * GPUS / gpus)),
        "steps": ",".join(str(round(step * GPUS / gpus)) for step in recipe.steps),
        "warmup_iterations": str(round(recipe.warmup_iterations * GPUS / gpus)),
    }
