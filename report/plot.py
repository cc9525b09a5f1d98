"""Line charts as numbers a template can draw: curves averaged over trials, with bands, in a frame that suits most."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from twinbench.report.axis import Axis, Range, Ticks, figure, frame
from twinbench.report.meaning import Meaning
from twinbench.report.statistics import mean, sample_std

WIDTH, HEIGHT = 400, 260  # of the drawing, in user units
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 10, 34  # margins
MOST_POINTS = 50  # of a drawn line; more do not show at this size

LARGEST = 1e100  # beyond it the arithmetic of an axis overflows

Curve = Sequence[Sequence[float]]  # [[x, y], ...], or [[x, y, std], ...] where a trial knows its own spread


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
    values: str  # each point in words, `x: y`, with | between
    dots: tuple[tuple[float, float, str], ...] = ()  # (x, y, the point in words), of points that are measurements

    @property
    def last(self) -> str:
        """The last point in words."""
        return self.values.rpartition("|")[2]


@dataclass(frozen=True)
class Leaving:
    """Where a line leaves the frame: an arrow at its edge, with the value farthest out."""

    x: float
    y: float
    text: str
    series: int


@dataclass(frozen=True)
class Chart:
    """A drawing of WIDTH x HEIGHT: lines, and ticks as (position, text)."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: Ticks
    y_ticks: Ticks
    meaning: Meaning
    leaving: tuple[Leaving, ...] = ()
    too_large: tuple[str, ...] = ()  # whose numbers are beyond LARGEST, and not drawn

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
    title: str,
    curves: Mapping[str, Sequence[Curve]],
    series: Mapping[str, int],
    meaning: Meaning,
    *,
    dotted: bool = False,
) -> Chart | None:
    """Draw label -> one curve a trial; None if none has two points.

    `series` numbers the labels. Where each point is a measurement of its own, the chart is `dotted`: all of them are
    drawn, a lone one too, over an axis that does not change its kind as further ones come. A curve with numbers too
    large for any arithmetic is left out, and named.
    """
    averaged: dict[str, list[Point]] = {}
    too_large: list[str] = []
    for label, trials in curves.items():
        points = average(trials)
        if any(point.largest > LARGEST for point in points):
            too_large.append(label)
        elif len(points) > 1 or dotted:
            averaged[label] = points if dotted else _thinned(points)
    if all(len(points) < 2 for points in averaged.values()):
        return None
    xs = [point.x for point in itertools.chain.from_iterable(averaged.values())]
    reaches = {label: [_reach(point, meaning.most) for point in points] for label, points in averaged.items()}
    x_axis = Axis.over(xs, LEFT, WIDTH - RIGHT, logarithmic=not dotted)
    y_axis = Axis.over(frame(reaches, falls=meaning.falls, most=meaning.most), HEIGHT - BOTTOM, TOP)
    lines: list[Line] = []
    for label, points in averaged.items():
        line = _line(label, series[label], points, x_axis, y_axis)
        lines.append(
            replace(line, dots=tuple(_dots(label, points, x_axis, y_axis, meaning.decimals))) if dotted else line
        )
    leaving = tuple(_leaving(averaged, series, x_axis, y_axis))
    return Chart(title, tuple(lines), x_axis.ticks(), y_axis.ticks(), meaning, leaving, tuple(too_large))


def _reach(point: Point, most: float) -> Range:
    """Return a point's (lowest, highest) with its spread, within what a value can be."""
    if most == math.inf:
        return point.y - point.std, point.y + point.std
    return max(min(0.0, point.y), point.y - point.std), min(max(most, point.y), point.y + point.std)


def _leaving(
    averaged: Mapping[str, Sequence[Point]], series: Mapping[str, int], x_axis: Axis, y_axis: Axis
) -> Iterator[Leaving]:
    """Yield an arrow for each line that leaves the frame upwards, then downwards, one below the other."""
    above: list[tuple[str, Point]] = []
    below: list[tuple[str, Point]] = []
    for label, points in averaged.items():
        highest = max(points, key=lambda point: point.y)
        lowest = min(points, key=lambda point: point.y)
        if highest.y > y_axis.high:
            above.append((label, highest))
        if lowest.y < y_axis.low:
            below.append((label, lowest))
    for row, (label, point) in enumerate(above):
        yield Leaving(x_axis.place(point.x), TOP + 12 * (row + 1), f"\u25b2 {figure(point.y)}", series[label])
    for row, (label, point) in enumerate(below):
        yield Leaving(x_axis.place(point.x), HEIGHT - BOTTOM - 5 - 12 * row, f"\u25bc {figure(point.y)}", series[label])


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most MOST_POINTS of the points, evenly chosen, first and last among them."""
    if len(points) <= MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (MOST_POINTS - 1)
    return [points[round(index * step)] for index in range(MOST_POINTS)]


def _line(label: str, series: int, points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> Line:
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
    values: list[str] = []
    for point in points:
        spread = f" ±{point.std:.2g}" if point.std else ""
        values.append(f"{point.x:g}: {figure(point.y)}{spread}")
    return Line(label, series, listed(points, 0), band, "|".join(values))


def _dots(
    label: str, points: Iterable[Point], x_axis: Axis, y_axis: Axis, decimals: int
) -> Iterator[tuple[float, float, str]]:
    """Yield the places of measured points, each with its numbers in words."""
    for point in points:
        spread = f" ±{point.std:.{decimals}f}" if point.std else ""
        words = f"{label} at {point.x:.0f}: {point.y:.{decimals}f}{spread}"
        yield x_axis.place(point.x), y_axis.place(point.y), words
