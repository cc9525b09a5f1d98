"""The learning rate of a step: a linear warm-up, then half a cosine (Barlow Twins, main.py)."""

import math


def learning_rate(
    step: int, *, steps_per_epoch: int, epochs: int, batch_size: int, base: float, warmup_epochs: int = 10
) -> float:
    """Return the rate of `step`, counted from 0 over the whole run.

    `base` is the rate per 256 images of the global batch: the peak is base * batch_size / 256. It grows from 0 over
    `warmup_epochs`, then falls along a cosine to a thousandth of the peak. A run no longer than the warm-up only
    grows.
    """
    peak = base * batch_size / 256
    warmup = warmup_epochs * steps_per_epoch
    if step < warmup:
        return peak * step / warmup
    done = (step - warmup) / max(1, epochs * steps_per_epoch - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return peak * cosine + 0.001 * peak * (1 - cosine)
