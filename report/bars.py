"""Bars as numbers a template can draw: methods from the best, each with its spread and its value in figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinbench.report.axis import Axis, Ticks
from twinbench.report.plot import WIDTH, Point
from twinbench.report.statistics import DECIMALS

LEFT, RIGHT, TOP, BOTTOM = 130, 96, 4, 36  # margins: names to the left, figures to the right
THICK, THIN, GAP = 17, 13, 8  # heights of a lone bar, of one of several of a method, and between methods
NAME = 19  # letters of a method's name that there is room for


@dataclass(frozen=True)
class Bar:
    """A value from zero on, with a whisker of one standard deviation to either side."""

    y: float
    width: float
    low: float  # ends of the whisker; equal where there is no spread
    high: float
    text: str  # what stands beside it
    words: str  # the whole of it


@dataclass(frozen=True)
class Group:
    """A method's bars."""

    label: str
    series: int
    y: float  # of its name
    bars: tuple[Bar, ...]

    @property
    def name(self) -> str:
        """The method's name as far as there is room."""
        return self.label if len(self.label) <= NAME else f"{self.label[: NAME - 1]}…"


@dataclass(frozen=True)
class Bars:
    """A drawing as wide as a chart and as high as its bars are many."""

    title: str
    groups: tuple[Group, ...]
    x_ticks: Ticks
    x_label: str
    thickness: int
    height: float
    left: int = LEFT


def bars(
    title: str,
    values: Mapping[str, Sequence[Point]],
    series: Mapping[str, int],
    x_label: str,
    setting: str = "",
    decimals: int = DECIMALS,
) -> Bars:
    """Draw label -> its points in the order given.

    The points of a label differ by the value of a `setting`, their x; without a setting each has one.
    """
    axis = Axis.over([0.0, *(point.y for points in values.values() for point in points)], LEFT, WIDTH - RIGHT)
    several = any(len(points) > 1 for points in values.values())
    thickness = THIN if several else THICK
    groups: list[Group] = []
    y = float(TOP)
    for label, points in values.items():
        drawn: list[Bar] = []
        for row, point in enumerate(points):
            number = f"{point.y:.{decimals}f}" + (f" ±{point.std:.{decimals}f}" if point.std else "")
            at = f"{setting.split()[-1]}={point.x:g}" if setting else ""
            words = ", ".join(filter(None, (label, at))) + f": {number}"
            low, high = axis.place(max(0.0, point.y - point.std)), axis.place(min(axis.high, point.y + point.std))
            text = f"{number} {at}" if several else number
            drawn.append(Bar(y + row * thickness, axis.place(point.y) - LEFT, low, high, text, words))
        whole = len(drawn) * thickness
        groups.append(Group(label, series[label], y + whole / 2 + 4, tuple(drawn)))
        y += whole + GAP
    return Bars(title, tuple(groups), axis.ticks(), x_label, thickness, y + BOTTOM)
