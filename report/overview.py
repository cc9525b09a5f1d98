"""Methods across tasks on scales that can be looked at together, each number with its spread."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from twinbench.protocols.metrics import PERCENT, Unit
from twinbench.report.grid import Cell, Column, Table
from twinbench.report.ranking import is_headline, rivals

BY_TASK = "Each task's own scale, from its worst to its best method; the ends are percent{other}."
AS_MEASURED = "Percent{other}, as measured: two methods have no scale of their own."
BY_BASELINE = "Points{other} above or below {baseline}, one scale for all tasks{alike}."
OTHER, ALIKE = ", or in the metric's unit", " of a unit; better is to the right"  # where not all are percent
LANES = 14.0  # pixels in which the marks of a task stand below each other, for any number of methods
LANE = 6.0  # and no further apart than this
BEYOND = 0.04  # of the length, that a spread may reach past the ends


@dataclass(frozen=True)
class Mark:
    """A method on a task, in percent of the scale's length."""

    label: str
    series: int
    at: float
    low: float  # one standard deviation to either side, as far as the scale goes; equal where there is no spread
    high: float
    lane: float  # pixels from the top
    words: str


@dataclass(frozen=True)
class Task:
    """A scale with what stands at its ends, and its marks from the left."""

    name: str
    metric: str
    left: str
    right: str
    zero: float | None  # where the baseline stands, in percent of the length
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Overview:
    """The tasks that two methods or more have numbers of, each by its headline metric."""

    how: str
    tasks: tuple[Task, ...]
    labels: tuple[str, ...]
    height: float  # of a task, pixels


def overview(table: Table, series: Mapping[str, int], baseline: str = "") -> Overview | None:
    """Place the methods of `series` on each task; None for fewer than two tasks or methods.

    With a `baseline`, by the difference to it; else three methods or more stand between the worst and the best of each
    task. Numbers of partial data take no part.
    """
    tasks: list[tuple[Column, dict[str, Cell]]] = []
    for column in table.columns:
        found = {method: cell for method, cell in rivals(table, column).items() if method in series}
        if len(found) > 1 and is_headline(found, column) and (not baseline or baseline in found):
            tasks.append((column, found))
    labels = [method for method in series if any(method in cells for _, cells in tasks)]
    if len(tasks) < 2 or len(labels) < 2:
        return None
    step = min(LANE, LANES / (len(labels) - 1))
    lanes = {label: round(row * step, 1) for row, label in enumerate(labels)}
    scales = list(_scales(tasks, baseline, own=len(labels) > 2))
    drawn: list[Task] = []
    for (column, cells), scale in zip(tasks, scales, strict=True):
        name, metric, more = table.header(column)
        marks = [_mark(label, cell, series[label], lanes[label], scale) for label, cell in cells.items()]
        marks.sort(key=lambda mark: mark.at)
        zero = scale.place(scale.origin) if baseline else None
        drawn.append(
            Task(
                f"{name} {more}".strip(), metric, scale.shown(scale.worst), scale.shown(scale.best), zero, tuple(marks)
            )
        )
    how = BY_BASELINE if baseline else BY_TASK if len(labels) > 2 else AS_MEASURED
    other, alike = ("", "") if all(column.unit == PERCENT for column, _ in tasks) else (OTHER, ALIKE)
    how = how.format(baseline=baseline, other=other, alike=alike)
    return Overview(how, tuple(drawn), tuple(labels), 2 * LANE + max(lanes.values()))


@dataclass(frozen=True)
class _Scale:
    """The numbers at the ends of a task's scale; `origin` is what they are told from."""

    unit: Unit
    worst: float
    best: float
    origin: float = 0.0
    signed: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands, in percent of the length, a little more for what lies beyond the ends."""
        share = (value - self.worst) / (self.best - self.worst) if self.best != self.worst else 0.5
        return round(100 * min(max(share, -BEYOND), 1 + BEYOND), 1)

    def shown(self, value: float) -> str:
        """Return a value as it is told at an end of the scale."""
        return f"{value - self.origin:{'+' if self.signed else ''}.{self.unit.decimals}f}"


def _scales(tasks: Sequence[tuple[Column, Mapping[str, Cell]]], baseline: str, *, own: bool) -> Iterator[_Scale]:
    """Yield the scale of each task: of differences, its own, or 0 to 100; of an error 0 is the better end."""
    gaps: dict[Unit, list[float]] = defaultdict(list)
    if baseline:
        for column, cells in tasks:
            gaps[column.unit] += [cell.mean - cells[baseline].mean for cell in cells.values()]
    for column, cells in tasks:
        means, origin = [cell.mean for cell in cells.values()], 0.0
        if baseline:
            origin = cells[baseline].mean
            ends = origin + min(gaps[column.unit]), origin + max(gaps[column.unit])
        elif own:
            ends = min(means), max(means)
        else:
            ends = 0.0, max(means) if column.unit.falls else column.unit.most
        worst, best = reversed(ends) if column.unit.falls else ends
        yield _Scale(column.unit, worst, best, origin, signed=bool(baseline))


def _mark(label: str, cell: Cell, series: int, lane: float, scale: _Scale) -> Mark:
    """Place a method's number and its spread."""
    std = cell.std or 0.0
    difference = f", {scale.shown(cell.mean)} to the baseline" if scale.signed and cell.mean != scale.origin else ""
    words = f"{label}: {cell.shown}{difference}"
    low, high = sorted((scale.place(cell.mean - std), scale.place(cell.mean + std)))
    return Mark(label, series, scale.place(cell.mean), low, high, lane, words)
