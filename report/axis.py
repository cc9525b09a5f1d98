"""Axes of a drawing: rounded marks, even or by factors, and a frame that one diverging curve does not stretch."""

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FLATTEST = 8.0  # how many times the better half's range all curves together may span before the rest leaves the frame
SMALLEST = 1e-300  # a range of an axis; a quarter of it is still more than 0
NARROW = 0.05  # of the most that a value can be: a narrower range is none to zoom in on
TRIMMED = 0.05  # of a curve's points at either end of its range
LINE, LETTER = 14, 6  # of a mark's text, in user units: its height, the width of one of its letters

Ticks = tuple[tuple[float, str], ...]  # (position, text)
Range = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A map from values to positions, linear or by the logarithm to base 2."""

    low: float
    high: float
    start: float
    end: float
    marks: tuple[float, ...]
    logarithmic: bool

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, *, logarithmic: bool = False) -> "Axis":
        """Return an axis that covers `values`.

        Logarithmic only where they grow like 1, 2, 4, 8, ...
        """
        distinct = sorted(set(values))
        first, last = distinct[0], distinct[-1]
        if logarithmic and _grow_by_factors(distinct):
            return cls(math.log2(first), math.log2(last), start, end, tuple(distinct), True)
        marks = _round_marks(first, last)
        low, high = min(marks[0], first), max(marks[-1], last)
        return cls(low, high, start, end, tuple(marks), False)

    def place(self, value: float) -> float:
        """Return the position of a value."""
        value = math.log2(value) if self.logarithmic else value
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> Ticks:
        """Return (position, text) of the marks, in millions where an axis goes that far.

        A mark too near to its neighbour to be read has no text.
        """
        shown: list[tuple[float, str]] = []
        millions = max(map(abs, self.marks)) >= 1e6
        for mark in self.marks:
            position = self.place(mark)
            text = f"{mark / 1e6:g}M" if millions and mark else f"{mark:.3g}" if self.logarithmic else f"{mark:g}"
            apart = LINE
            if shown and self.logarithmic:  # marks of values as they are, of any number and length, on a level axis
                apart += LETTER * (len(text) + len(shown[-1][1])) / 2
            if not shown or abs(position - shown[-1][0]) >= apart:
                shown.append((position, text))
        return tuple(shown)


def _grow_by_factors(distinct: Sequence[float]) -> bool:
    """Say whether four values or more grow from each to the next by a factor, not by a step."""
    if len(distinct) < 4 or distinct[0] <= 0:
        return False
    ratios = [after / before for before, after in itertools.pairwise(distinct)]
    return min(ratios) >= 1.4


def _round_marks(low: float, high: float) -> list[float]:
    """Return two to eight round values from at or below `low` to at or above `high`."""
    span = max(high - low or abs(high) or 1.0, SMALLEST)
    magnitude = 10.0 ** math.floor(math.log10(span / 4))
    steps = [magnitude * factor for factor in (1, 2, 5, 10)]
    step = next(step for step in steps if span / step <= 6)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [round(index * step, 12) for index in range(first, last + 1)]


def frame(curves: Mapping[str, Sequence[Range]], *, falls: bool, most: float) -> Range:
    """Return from where to where an axis shows some curves, each given as its points' (lowest, highest).

    All of them, as long as that leaves the better half of the curves (by their medians; `falls`: lower is better) an
    eighth of the height. Else as much beyond that half's range as the range is wide, on the side where curves diverge;
    a range leaves the outermost twentieth of each curve's points aside. The better side is always shown whole.
    """
    low = min(lowest for points in curves.values() for lowest, _ in points)
    high = max(highest for points in curves.values() for _, highest in points)
    middles = {label: statistics.median(sum(point) / 2 for point in points) for label, points in curves.items()}
    best = sorted(curves, key=lambda label: middles[label], reverse=not falls)[: (len(curves) + 1) // 2]
    inner_low = min(_quantile([lowest for lowest, _ in curves[label]], TRIMMED) for label in best)
    inner_high = max(_quantile([highest for _, highest in curves[label]], 1 - TRIMMED) for label in best)
    span = max(inner_high - inner_low, NARROW * min(most, abs(inner_high)))
    if not span or high - low <= FLATTEST * span:
        return low, high
    return (low, min(high, inner_high + span)) if falls else (max(low, inner_low - span), high)


def figure(value: float) -> str:
    """Return a value of any size in four digits or few more, thousands written out."""
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.4g}"


def _quantile(values: Iterable[float], share: float) -> float:
    """Return the quantile of some values, by the nearest one."""
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))]
