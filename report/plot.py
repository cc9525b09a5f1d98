"""Line charts as numbers a template can draw: curves averaged over trials, with bands, on rounded axes."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from twinbench.report.statistics import DECIMALS, mean, sample_std

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
    dots: tuple[tuple[float, float, str], ...] = ()  # (x, y, the point in words), of points that are measurements


@dataclass(frozen=True)
class Chart:
    """A drawing of WIDTH x HEIGHT: lines, and ticks as (position, text)."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: Ticks
    y_ticks: Ticks

    @property
    def labels(self) -> list[str]:
        """Whose lines there are."""
        return [line.label for line in self.lines]


def average(curves: Sequence[Curve]) -> list[Point]:
    """Return the curve of means over one trial or more, at every x that all of them share."""
    averaged: list[Point] = []
    if len(curves) == 1:
        for x, y, *spread in curves[0]:
            averaged.append(Point(x, y, spread[0] if spread else 0.0))
        return sorted(averaged)
    by_x: list[dict[float, float]] = []  # a curve as x -> y
    for curve in curves:
        by_x.append({x: y for x, y, *_ in curve})
    shared = set(by_x[0]).intersection(*by_x[1:])
    for x in sorted(shared):
        ys = [curve[x] for curve in by_x]
        averaged.append(Point(x, mean(ys), sample_std(ys) or 0.0))
    return averaged


def chart(
    title: str, curves: Mapping[str, Sequence[Curve]], series: Mapping[str, int], *, dotted: bool = False
) -> Chart | None:
    """Draw label -> one curve a trial; None if none has two points, or a number is too large to be drawn.

    `series` numbers the labels. Where each point is a measurement of its own, the chart is `dotted`: all of them are
    drawn, a lone one too, over an axis that does not change its kind as further ones come.
    """
    averaged: dict[str, list[Point]] = {}
    for label, trials in curves.items():
        points = average(trials)
        if len(points) > 1 or dotted:
            averaged[label] = points if dotted else _thinned(points)
    if all(len(points) < 2 for points in averaged.values()):
        return None
    xs: list[float] = []
    ys: list[float] = []
    for point in itertools.chain.from_iterable(averaged.values()):
        if point.largest > LARGEST:
            return None
        xs.append(point.x)
        ys += [point.y - point.std, point.y + point.std]
    x_axis = _Axis.over(xs, LEFT, WIDTH - RIGHT, logarithmic=not dotted)
    y_axis = _Axis.over(ys, HEIGHT - BOTTOM, TOP, logarithmic=False)
    lines: list[Line] = []
    for label, points in averaged.items():
        line = _line(label, series[label], points, x_axis, y_axis)
        lines.append(replace(line, dots=tuple(_dots(label, points, x_axis, y_axis))) if dotted else line)
    return Chart(title, tuple(lines), x_axis.ticks(), y_axis.ticks())


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
            if not shown or abs(position - shown[-1][0]) >= 14:
                shown.append((position, f"{mark / 1e6:g}M" if millions and mark else f"{mark:g}"))
        return tuple(shown)


def _grow_by_factors(distinct: Sequence[float]) -> bool:
    """Say whether four values or more grow from each to the next by a factor, not by a step."""
    if len(distinct) < 4 or distinct[0] <= 0:
        return False
    ratios = [after / before for before, after in itertools.pairwise(distinct)]
    return min(ratios) >= 1.4


def _round_marks(low: float, high: float) -> list[float]:
    """Return two to eight round values from at or below `low` to at or above `high`."""
    span = high - low or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 4))
    steps = [magnitude * factor for factor in (1, 2, 5, 10)]
    step = next(step for step in steps if span / step <= 6)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _line(label: str, series: int, points: Sequence[Point], x_axis: _Axis, y_axis: _Axis) -> Line:
    """Write a curve as SVG point lists."""

    def listed(run: Iterable[Point], deviations: int) -> str:
        """List the means, moved by so many standard deviations."""
        places: list[str] = []
        for point in run:
            x = x_axis.place(point.x)
            y = y_axis.place(point.y + deviations * point.std)
            places.append(f"{x:g},{y:g}")
        return " ".join(places)

    band = ""
    if any(point.std for point in points):  # there along its upper edge, back along the lower
        band = f"{listed(points, +1)} {listed(reversed(points), -1)}"
    last = f"{points[-1].y:.4g} at {points[-1].x:g}"
    return Line(label, series, listed(points, 0), band, last)


def _dots(label: str, points: Iterable[Point], x_axis: _Axis, y_axis: _Axis) -> Iterator[tuple[float, float, str]]:
    """Yield the places of measured points, each with its numbers in words."""
    for point in points:
        spread = f" ±{point.std:.{DECIMALS}f}" if point.std else ""
        words = f"{label} at {point.x:.0f}: {point.y:.{DECIMALS}f}{spread}"
        yield x_axis.place(point.x), y_axis.place(point.y), words


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
    """Draw label -> one number a task (None: missing).

    None for fewer than three tasks or labels.
    """
    if len(tasks) < 3 or len(values) < 3:
        return None
    spacing, margin = 110, 80
    drawing = Parallel((), (), spacing * (len(tasks) - 1) + 2 * margin)
    places = [margin + spacing * index for index in range(len(tasks))]
    spans: list[tuple[float, float]] = []
    axes: list[tuple[float, str, str, str]] = []
    for x, task, column in zip(places, tasks, zip(*values.values(), strict=True), strict=True):
        known = [value for value in column if value is not None]
        low = min(known, default=0.0)
        high = max(known, default=0.0)
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
