"""What learning rates are multiplied by, as functions of how much of a training is done."""

import math


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
