"""What a curve of a result shows, by its name: results of older editions and other programs have no more to tell."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from twinbench.protocols.metrics import PERCENT

# What follows `by` in the names that the rooms give -> the axis' words; others stand for themselves
SETTINGS = {"k": "neighbours k", "rate": "learning rate"}


@dataclass(frozen=True)
class Meaning:
    """The words of a curve's axes, and how it is read."""

    x: str
    y: str
    of_training: bool = False  # x counts epochs or iterations: what it shows at one x follows from those before
    falls: bool = False  # lower is better
    most: float = math.inf  # that a value can be; the least is then 0
    decimals: int = PERCENT.decimals  # of measured points
    in_bars: bool = False  # a few settings side by side, with nothing in between


def meaning(name: str, metrics: Collection[str], xs: Collection[float], *, unit: str) -> Meaning:
    """Return what the curve `name` of a result with some `metrics` shows; `unit` is what its training counts."""
    if name.startswith("precision-recall"):
        return Meaning("recall, 0 to 1", "precision, 0 to 1", most=1.0)
    if "loss" in name:
        return Meaning("iteration" if name == "total_loss" else unit, "loss", of_training=True, falls=True)
    what, by, setting = name.partition(" by ")
    what = what.rstrip(",")
    if by:
        setting = setting.partition(" at ")[0].partition(" on ")[0]
        x = SETTINGS.get(setting, setting)
        return Meaning(x, f"{what}, percent", setting == "epoch", most=100.0, in_bars=setting == "k")
    if name == "on images held out":
        return Meaning("penalty", f"{name}, percent", most=100.0)
    if xs and all(f"{name}-k{x:g}" in metrics for x in xs):
        return Meaning(SETTINGS["k"], f"{name}, percent", most=100.0, in_bars=True)
    if any(metric == name or metric.startswith(f"{name}-") for metric in metrics):
        return Meaning(unit, f"{name}, percent", of_training=True, most=100.0)
    return Meaning(unit, name, of_training=True, falls=True)
