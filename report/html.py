"""The table as one page: numbers, what each was measured with, curves and pictures, in a single file.

The page loads nothing: styles, scripts and pictures are part of it, and its content security policy forbids the rest.
All text comes from results, which come from other people, so the template escapes every value.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import jinja2

from twinbench.protocols.sources import sources_of
from twinbench.report.bars import Bars
from twinbench.report.details import details, recipe_fields
from twinbench.report.drawings import class_tables, curve_charts, recipe_name, recipes, training_charts, trials_of
from twinbench.report.gallery import gallery
from twinbench.report.grid import Column, Table, catalogued
from twinbench.report.overview import overview
from twinbench.report.ranking import best_first
from twinbench.report.series import latest, point
from twinbench.report.table import footnoted

ItemT = TypeVar("ItemT")

FOLDER = Path(__file__).parent
SCRIPTS = ("page.js", "values.js", "live.js")  # one after the other: later ones use what earlier ones name
MOST_LINES = 10  # methods in the drawings, the best of the table: a color and a shape for each
PICTURES_PER_CELL = 4


@dataclass(frozen=True)
class Recipe:
    """A recipe as the page tells it."""

    column: Column
    fields: tuple[tuple[str, str, str], ...]  # (field, value, source); none of one that this twinbench does not know
    tells: str  # the command that prints it
    makes: str  # the command that measures by it

    @classmethod
    def of(cls, column: Column) -> "Recipe":
        """Return what is told of a column's recipe."""
        named = column.named
        if named is None:
            return cls(column, (), "", "")
        sources = sources_of(named)
        fields = tuple((name, text, sources.get(name, "")) for name, text in recipe_fields(column).items())
        makes = f"twinbench {named.room} {column.protocol} BACKBONE DATA OUT"
        return cls(column, fields, f"twinbench protocols {column.protocol}", makes)


def render(table: Table, title: str = "twinbench", *, live: str = "") -> str:
    """Return the page; pictures are read from beside each result.

    A `live` one asks where it came from whether it is still of this edition, and loads itself anew if not.
    """
    script = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    table = footnoted(best_first(table))
    names = {method: found[0] if (found := point(method)) else method for method in table.measured}
    numbers = _numbered(_with_baseline(list(dict.fromkeys(names.values())), names.get(table.baseline, "")))
    series = {method: numbers[name] for method, name in names.items()}  # one color for the points of a training
    finished = [method for method in series if any(table.cell(method, column).values for column in table.columns)]
    last = list(latest(finished))
    lines = {method: series[method] for method in last if series[method] < MOST_LINES}
    trainings = {name: numbers[name] for method, name in names.items() if name != method and numbers[name] < MOST_LINES}
    numbered = recipes(table)
    drawings = list(curve_charts(table, lines))
    environments: dict[str, int] = {}  # filled while the template asks for details
    return _template().render(
        table=table,
        title=title,
        live=live,
        catalogued=catalogued,
        series=series,
        most_lines=MOST_LINES,
        rows=_numbered(table.methods),
        places=_numbered(table.columns),
        recipes=numbered,
        told={number: Recipe.of(column) for column, number in numbered.items()},
        overview=overview(table, lines, table.baseline),
        bars=[(recipe, drawn) for recipe, drawn in drawings if isinstance(drawn, Bars)],
        charts=[(recipe, drawn) for recipe, drawn in drawings if not isinstance(drawn, Bars)],
        drawn=lines,
        left_out=len(last) - len(lines),
        trainings=trainings,
        training_charts=list(training_charts(table, trainings)),
        classes=list(class_tables(table, lines)),
        pictures=list(gallery(list(_pictures(table)))),
        details=lambda cell: details(cell, environments),  # type: ignore[reportUnknownLambdaType]
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


def _with_baseline(names: list[str], baseline: str) -> list[str]:
    """Return the names with the baseline, if there is one, among those that are drawn."""
    if baseline in names[MOST_LINES:]:
        names.remove(baseline)
        names.insert(MOST_LINES - 1, baseline)
    return names


def _sha256(text: str) -> str:
    """Return the digest of a script as a content security policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b64encode(digest).decode()


def _numbered(items: Iterable[ItemT]) -> dict[ItemT, int]:
    """Return item -> its number, from 0."""
    return {item: number for number, item in enumerate(items)}


def _pictures(table: Table) -> Iterator[tuple[str, Path, str]]:
    """Yield (caption, folder, file name) of the first pictures of each cell's first trial that has any."""
    for column in table.columns:
        for method in table.methods:
            caption = f"{method} on {recipe_name(table, column)}"
            for trial in trials_of(table, method, column):
                if trial.result.pictures:
                    for name in trial.result.pictures[:PICTURES_PER_CELL]:
                        yield f"{caption}: {name}", trial.path.parent, name
                    break
