"""Line charts as numbers a template can draw: curves averaged over trials, with bands, on rounded axes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from twinbench.report.statistics import mean, sample_std

WIDTH, HEIGHT = 400, 260  # of the drawing, in user units
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34  # margins
MOST_POINTS = 50  # of a drawn line; more do not show at this size

LARGEST = 1e100  # beyond it the arithmetic of an axis overflows

Curve = Sequence[Sequence[float]]  # [[x, y], ...], or [[x, y, std], ...] where a trial knows its own spread
Ticks = tuple[tuple[float, str], ...]  # (position, text)


@dataclass(frozen=True, order=True)
class Point:
    """The mean of a curve over trials at one x, and the standard deviation (a single trial's own, or 0)."""

    x: float
    y: float
    std: float

    @property
    def largest(self) -> float:
        """The largest of its numbers, without sign."""
        return max(abs(self.x), abs(self.y), abs(self.std))


@dataclass(frozen=True)
class Line:
    """One method's curve: SVG point lists of the line and of the band around it."""

    label: str
    series: int  # the method's number, which chooses its color
    points: str
    band: str
    last: str  # the last point in words


@dataclass(frozen=True)
class Chart:
    """A drawing of WIDTH x HEIGHT: lines, and ticks as (position, text)."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: Ticks
    y_ticks: Ticks


def average(curves: Sequence[Curve]) -> list[Point]:
    """Return the curve of means over one trial or more, at every x that all of them share."""
    if len(curves) == 1:
        return sorted(Point(x, y, spread[0] if spread else 0.0) for x, y, *spread in curves[0])
    by_x = [{point[0]: point[1] for point in curve} for curve in curves]
    shared = set(by_x[0]).intersection(*by_x[1:])
    averaged: list[Point] = []
    for x in sorted(shared):
        ys = [curve[x] for curve in by_x]
        averaged.append(Point(x, mean(ys), sample_std(ys) or 0.0))
    return averaged


def chart(title: str, curves: Mapping[str, Sequence[Curve]], series: Mapping[str, int]) -> Chart | None:
    """Draw label -> one curve a trial; None if none has two points, or a number is too large to be drawn.

    `series` numbers the labels.
    """
    averaged: dict[str, list[Point]] = {}
    for label, trials in curves.items():
        points = average(trials)
        if len(points) > 1:
            averaged[label] = _thinned(points)
    if not averaged:
        return None
    everything = [point for points in averaged.values() for point in points]
    if any(point.largest > LARGEST for point in everything):
        return None
    lower = [point.y - point.std for point in everything]
    upper = [point.y + point.std for point in everything]
    x_axis = _Axis.over([point.x for point in everything], LEFT, WIDTH - RIGHT, logarithmic=True)
    y_axis = _Axis.over(lower + upper, HEIGHT - BOTTOM, TOP, logarithmic=False)
    lines = tuple(_line(label, series[label], points, x_axis, y_axis) for label, points in averaged.items())
    return Chart(title, lines, x_axis.ticks(), y_axis.ticks())


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most MOST_POINTS of the points, evenly chosen, first and last among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(index * step)] for index in range(MOST_POINTS)]


@dataclass(frozen=True)
class _Axis:
    """A map from values to positions, linear or by the logarithm to base 2."""

    low: float
    high: float
    start: float
    end: float
    marks: tuple[float, ...]
    logarithmic: bool

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, *, logarithmic: bool) -> "_Axis":
        """Return an axis that covers `values`; logarithmic only where they grow like 1, 2, 4, 8, ..."""
        distinct = sorted(set(values))
        ratios = [after / before for before, after in zip(distinct, distinct[1:], strict=False) if before > 0]
        if logarithmic and len(ratios) > 2 and distinct[0] > 0 and min(ratios) >= 1.4:
            return cls(math.log2(distinct[0]), math.log2(distinct[-1]), start, end, tuple(distinct), True)
        marks = _round_marks(distinct[0], distinct[-1])
        low, high = min(marks[0], distinct[0]), max(marks[-1], distinct[-1])
        return cls(low, high, start, end, tuple(marks), False)

    def place(self, value: float) -> float:
        """Return the position of a value."""
        value = math.log2(value) if self.logarithmic else value
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> Ticks:
        """Return (position, text) of the marks; a mark too near to its neighbour to be read has no text."""
        shown: list[tuple[float, str]] = []
        for mark in self.marks:
            position = self.place(mark)
            if not shown or abs(position - shown[-1][0]) >= 14:
                shown.append((position, f"{mark:g}"))
        return tuple(shown)


def _round_marks(low: float, high: float) -> list[float]:
    """Return two to eight round values from at or below `low` to at or above `high`."""
    span = high - low or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if span / (factor * magnitude) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _line(label: str, series: int, points: Sequence[Point], x_axis: _Axis, y_axis: _Axis) -> Line:
    """Write a curve as SVG point lists."""

    def listed(values: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{x_axis.place(x):g},{y_axis.place(y):g}" for x, y in values)

    upper = [(point.x, point.y + point.std) for point in points]
    lower = [(point.x, point.y - point.std) for point in reversed(points)]
    band = listed(upper + lower) if any(point.std for point in points) else ""
    last = f"{points[-1].y:.4g} at {points[-1].x:g}"
    return Line(label, series, listed((point.x, point.y) for point in points), band, last)


@dataclass(frozen=True)
class Parallel:
    """Methods as lines across tasks: each axis runs from the lowest to the highest number of its task."""

    axes: tuple[tuple[float, str, str, str], ...]  # (x, task, lowest, highest)
    lines: tuple[Line, ...]
    width: int
    height: int = HEIGHT
    top: int = 40
    bottom: int = HEIGHT - 40


def parallel(
    tasks: Sequence[str], values: Mapping[str, Sequence[float | None]], series: Mapping[str, int]
) -> Parallel | None:
    """Draw label -> one number a task (None: missing); None for fewer than three tasks or labels."""
    if len(tasks) < 3 or len(values) < 3:
        return None
    spacing, margin = 110, 80
    drawing = Parallel((), (), spacing * (len(tasks) - 1) + 2 * margin)
    places = [margin + spacing * index for index in range(len(tasks))]
    spans: list[tuple[float, float]] = []
    axes: list[tuple[float, str, str, str]] = []
    for x, task, column in zip(places, tasks, zip(*values.values(), strict=True), strict=True):
        known = [value for value in column if value is not None]
        low, high = min(known, default=0.0), max(known, default=0.0)
        spans.append((low, high))
        axes.append((x, task, f"{low:.1f}", f"{high:.1f}"))

    def height(value: float, low: float, high: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(drawing.bottom - share * (drawing.bottom - drawing.top), 1)

    lines: list[Line] = []
    for label, row in values.items():
        points: list[str] = []
        for x, value, span in zip(places, row, spans, strict=True):
            if value is not None:
                points.append(f"{x:g},{height(value, *span):g}")
        lines.append(Line(label, series[label], " ".join(points), "", f"{len(points)} tasks"))
    return Parallel(tuple(axes), tuple(lines), drawing.width)
