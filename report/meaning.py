"""What a curve of a result shows, by its name: results of older editions and other programs have no more to tell."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from twinbench.protocols.metrics import PERCENT, unit_of

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

    @classmethod
    def of(cls, metric: str, x: str, words: str = "", *, of_training: bool = False, in_bars: bool = False) -> "Meaning":
        """Return what a curve of a metric over `x` shows; `words` if it is called otherwise."""
        unit = unit_of(metric)
        y = unit.on_axis(words or metric)
        return cls(x, y, of_training, unit.falls, unit.most, unit.decimals, in_bars)


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
        return Meaning.of(what, x, of_training=setting == "epoch", in_bars=setting == "k")
    if name == "on images held out":
        return Meaning.of(name, "penalty")
    if xs and all(f"{name}-k{x:g}" in metrics for x in xs):
        return Meaning.of(name, SETTINGS["k"], in_bars=True)
    if any(metric == name or metric.startswith(f"{name}-") for metric in metrics):
        return Meaning.of(name, unit, of_training=True)
    return Meaning(unit, name, of_training=True, falls=True)
