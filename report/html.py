"""The table as one page: numbers, what each was measured with, curves and pictures, in a single file.

The page loads nothing: styles, scripts and pictures are part of it, and its content security policy forbids the rest.
All text comes from results, which come from other people, so the template escapes every value.
"""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import jinja2

from twinbench.report.details import details, recipe_fields
from twinbench.report.files import Located
from twinbench.report.gallery import gallery
from twinbench.report.grid import Column, Table, catalogued
from twinbench.report.plot import Chart, Curve, Parallel, chart, parallel
from twinbench.report.series import latest, point

ItemT = TypeVar("ItemT")

FOLDER = Path(__file__).parent
MOST_LINES = 10  # methods in one chart
PICTURES_PER_CELL = 4


def render(table: Table, title: str = "twinbench") -> str:
    """Return the page; pictures are read from beside each result."""
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    names = {method: found[0] if (found := point(method)) else method for method in table.measured}
    numbers = _numbered(dict.fromkeys(names.values()))
    series = {method: numbers[name] for method, name in names.items()}  # one color for the points of a training
    recipes = _recipes(table)
    finished = [method for method in series if any(table.cell(method, column).values for column in table.columns)]
    lines = {method: series[method] for method in latest(finished)}
    charts = list(_charts(table, lines))
    trainings = {name: numbers[name] for method, name in names.items() if name != method}
    environments: dict[str, int] = {}  # filled while the template asks for details
    return _template().render(
        table=table,
        title=title,
        catalogued=catalogued,
        series=series,
        rows=_numbered(table.methods),
        places=_numbered(table.columns),
        recipes=recipes,
        recipe_columns={number: column for column, number in recipes.items()},
        charts=charts,
        charted=[method for method in lines if any(method in drawn.labels for _, drawn in charts)],
        trainings=trainings,
        training_charts=list(_training_charts(table, trainings)),
        across=_across(table, lines),
        pictures=list(gallery(list(_pictures(table)))),
        details=lambda cell: details(cell, environments),  # type: ignore[reportUnknownLambdaType]
        recipe_fields=recipe_fields,
        environments=environments,
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=_sha256(script),
    )


def _template() -> jinja2.Template:
    """Return the template of the page.

    It escapes every value and fails on one that it is not given.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _sha256(text: str) -> str:
    """Return the digest of a script as a content security policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b64encode(digest).decode()


def _numbered(items: Iterable[ItemT]) -> dict[ItemT, int]:
    """Return item -> its number, from 0."""
    return {item: number for number, item in enumerate(items)}


def _recipes(table: Table) -> dict[Column, int]:
    """Number the recipes with their data: columns that differ only in their metric share one."""
    numbers: dict[Column, int] = {}  # of the column without its metric
    recipes: dict[Column, int] = {}
    for column in table.columns:
        recipes[column] = numbers.setdefault(replace(column, metric=""), len(numbers))
    return recipes


def _charts(table: Table, series: Mapping[str, int]) -> Iterator[tuple[int, Chart]]:
    """Yield (the number of a recipe, a chart) for each curve name, with a line a method."""
    for column, recipe in _recipes(table).items():
        gathered: dict[str, dict[str, list[Curve]]] = defaultdict(lambda: defaultdict(list))
        for method in _drawn(table, column, series):
            for trial in _trials(table, method, column):
                for name, curve in trial.result.curves.items():
                    gathered[name][method].append(curve)
        left = f" (the best {MOST_LINES} of {len(series)} methods)" if len(series) > MOST_LINES else ""
        for name, curves in gathered.items():
            if drawn := chart(f"{_recipe(table, column)}: {name}{left}", curves, series):
                yield recipe, drawn


def _training_charts(table: Table, trainings: Mapping[str, int]) -> Iterator[tuple[int, Chart]]:
    """Yield (the number of a recipe, a chart) for each column, with a line over its checkpoints a training."""
    for column, recipe in _recipes(table).items():
        points: dict[str, list[list[float]]] = defaultdict(list)
        for method in table.measured:
            cell, found = table.cell(method, column), point(method)
            if found and cell.values:
                points[found[0]].append([found[1], cell.mean, cell.std or 0.0])
        name, metric, more = table.header(column)
        title = f"{name} {more}".strip() + f": {metric}, percent"
        if drawn := chart(title, {label: [curve] for label, curve in points.items()}, trainings, dotted=True):
            yield recipe, drawn


def _drawn(table: Table, column: Column, series: Mapping[str, int]) -> list[str]:
    """Return the methods that a chart of the column has room for: the best, in their numbers' order."""
    means: dict[str, float] = {}
    for method in series:
        if _trials(table, method, column):
            means[method] = table.cell(method, column).mean
    best = sorted(means, key=lambda method: -means[method])[:MOST_LINES]
    return sorted(best, key=lambda method: series[method])


def _across(table: Table, series: Mapping[str, int]) -> Parallel | None:
    """Draw the methods across tasks: one axis for each column that two methods or more finished."""
    columns: list[Column] = []
    for column in table.columns:
        finished = [method for method in series if table.cell(method, column).values]
        if len(finished) > 1:
            columns.append(column)
    values: dict[str, list[float | None]] = {}
    for method in list(series)[:MOST_LINES]:
        cells = [table.cell(method, column) for column in columns]
        values[method] = [cell.mean if cell.values else None for cell in cells]
    tasks: list[str] = []
    for column in columns:
        name, metric, _ = table.header(column)
        tasks.append(f"{name} {metric}")
    return parallel(tasks, values, series)


def _trials(table: Table, method: str, column: Column) -> tuple[Located, ...]:
    """Return a cell's trials in its headline column only, so that a second metric does not repeat them."""
    trials = table.cell(method, column).trials
    return tuple(trial for trial in trials if trial.result.headline == column.metric)


def _recipe(table: Table, column: Column) -> str:
    """Name a column's recipe without its metric."""
    name, _, recipe = table.header(column)
    return f"{name} {recipe}".strip()


def _pictures(table: Table) -> Iterator[tuple[str, Path, str]]:
    """Yield (caption, folder, file name) of the first pictures of each cell's first trial that has any."""
    for column in table.columns:
        for method in table.methods:
            caption = f"{method} on {_recipe(table, column)}"
            for trial in _trials(table, method, column):
                if trial.result.pictures:
                    for name in trial.result.pictures[:PICTURES_PER_CELL]:
                        yield f"{caption}: {name}", trial.path.parent, name
                    break
