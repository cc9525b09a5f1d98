"""The drawings of a table: curves and bars of each recipe, trainings over their checkpoints, numbers by class."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from twinbench.report.bars import Bars, bars
from twinbench.report.classes import Classes, by_class
from twinbench.report.files import Located
from twinbench.report.grid import Column, Table, catalogued
from twinbench.report.meaning import Meaning, meaning
from twinbench.report.plot import Chart, Curve, Point, average, chart
from twinbench.report.series import point

OVER_TRAINING = "epoch or step of the checkpoint"


def recipes(table: Table) -> dict[Column, int]:
    """Number the recipes with their data: columns that differ only in their metric share one."""
    numbers: dict[Column, int] = {}  # of the column without its metric
    found: dict[Column, int] = {}
    for column in table.columns:
        found[column] = numbers.setdefault(replace(column, metric=""), len(numbers))
    return found


def recipe_name(table: Table, column: Column) -> str:
    """Name a column's recipe without its metric."""
    name, _, recipe = table.header(column)
    return f"{name} {recipe}".strip()


def trials_of(table: Table, method: str, column: Column) -> tuple[Located, ...]:
    """Return a cell's trials in its headline column only, so that a second metric does not repeat them."""
    trials = table.cell(method, column).trials
    return tuple(trial for trial in trials if trial.result.headline == column.metric)


def curve_charts(table: Table, series: Mapping[str, int]) -> Iterator[tuple[int, Chart | Bars]]:
    """Yield (the number of a recipe, a drawing) for each curve name, with a line or some bars a method.

    A recipe without a curve over its training has its headline metric in bars, where there is something to compare.
    """
    for column, recipe in recipes(table).items():
        name = recipe_name(table, column)
        drawn = False
        for told, curves in _curves(table, column, series).items():
            title, what = told
            if what.in_bars:
                values = _best_first(table, column, _within(curves, what.most))
                found = bars(f"{name}: {title}", values, series, what.y, what.x, what.decimals) if values else None
            else:
                found = chart(f"{name}: {title}", curves, series, what)
            if found:
                drawn = drawn or what.in_bars or what.of_training
                yield recipe, found
        if not drawn:
            yield from ((recipe, found) for found in _headline_bars(table, column, series, name))


def _curves(
    table: Table, column: Column, series: Mapping[str, int]
) -> dict[tuple[str, Meaning], dict[str, list[Curve]]]:
    """Return (name, what it shows) -> method -> a curve a trial, of a column's trials."""
    found: dict[tuple[str, Meaning], dict[str, list[Curve]]] = defaultdict(lambda: defaultdict(list))
    named = catalogued(column.protocol)
    unit = "epoch" if named is None or named.room == "transfer" else "iteration"
    for method in series:
        for trial in trials_of(table, method, column):
            for name, curve in trial.result.curves.items():
                what = meaning(name, trial.result.metrics, [at[0] for at in curve], unit=unit)
                found[name, what][method].append(curve)
    return found


def _within(curves: Mapping[str, Sequence[Curve]], most: float) -> dict[str, list[Point]]:
    """Return the points of averaged curves that their metric can have, by method: no curve is checked for that."""
    found: dict[str, list[Point]] = {}
    for method, trials in curves.items():
        if points := [at for at in average(trials) if 0 <= at.y <= most]:
            found[method] = points
    return found


def _headline_bars(table: Table, column: Column, series: Mapping[str, int], name: str) -> Iterator[Bars]:
    """Yield the bars of a column's means where two methods or more have trials in it, else nothing."""
    values: dict[str, list[Point]] = {}
    for method in series:
        if trials_of(table, method, column):
            cell = table.cell(method, column)
            values[method] = [Point(0.0, cell.mean, cell.std or 0.0)]
    if len(values) > 1:
        ordered = _best_first(table, column, values)
        words = column.unit.on_axis(column.metric)
        yield bars(f"{name}: {column.metric}", ordered, series, words, decimals=column.unit.decimals)


def _best_first(table: Table, column: Column, values: Mapping[str, list[Point]]) -> dict[str, list[Point]]:
    """Return the values of methods in the order of a column's means."""
    sign = 1 if column.unit.falls else -1
    order = sorted(values, key=lambda method: sign * table.cell(method, column).mean)
    return {method: values[method] for method in order}


def training_charts(table: Table, trainings: Mapping[str, int]) -> Iterator[tuple[int, Chart]]:
    """Yield (the number of a recipe, a chart) for each column, with a line over its checkpoints a training."""
    for column, recipe in recipes(table).items():
        points: dict[str, list[list[float]]] = defaultdict(list)
        for method in table.measured:
            cell, found = table.cell(method, column), point(method)
            if found and found[0] in trainings and cell.values:
                points[found[0]].append([found[1], cell.mean, cell.std or 0.0])
        name, metric, more = table.header(column)
        what = Meaning.of(metric, OVER_TRAINING)
        curves = {label: [curve] for label, curve in points.items()}
        if drawn := chart(f"{name} {more}".strip() + f": {metric}", curves, trainings, what, dotted=True):
            yield recipe, drawn


def class_tables(table: Table, series: Mapping[str, int]) -> Iterator[tuple[int, str, Classes]]:
    """Yield (the number of a recipe, its name, a table) for each metric recorded by class."""
    for column, recipe in recipes(table).items():
        trials = {method: trials_of(table, method, column) for method in series}
        for found in by_class(trials):
            yield recipe, recipe_name(table, column), found
