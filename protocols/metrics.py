"""What the numbers of a metric are: their unit, which way is better, and how they are printed.

A metric is a percentage, of which more is better, unless it stands here. Whoever ranks, compares, prints or draws
numbers asks this module, and nobody else knows a metric by its name.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """What a metric's numbers are numbers of."""

    name: str  # empty: a ratio
    falls: bool = False  # lower is better
    decimals: int = 1  # that are printed, as papers do
    most: float = 100.0  # that a value can be; the least is 0

    def merit(self, value: float) -> float:
        """Return a number that is the higher the better a value is, equal for values that are equal in print."""
        printed = round(value, self.decimals)
        return -printed if self.falls else printed

    def on_axis(self, metric: str) -> str:
        """Return a metric with its unit as an axis has it: `top1, percent`."""
        return f"{metric}, {self.name}" if self.name else metric

    def words(self, metric: str) -> str:
        """Return a metric with its unit as a sentence has it: `top1 in percent`."""
        return f"{metric} in {self.name}" if self.name else metric


PERCENT = Unit("percent")
_METRES = Unit("metres", falls=True, decimals=3, most=math.inf)
_RATIO = Unit("", falls=True, decimals=3, most=math.inf)
ERRORS = {"rmse": _METRES, "sq_rel": _METRES, "abs_rel": _RATIO, "log10": _RATIO}  # of depth


def unit_of(metric: str) -> Unit:
    """Return what a metric's numbers are."""
    return ERRORS.get(metric, PERCENT)
