"""The table as one page: numbers, what each was measured with, curves and pictures, in a single file.

The page loads nothing: styles, scripts and pictures are part of it. All text comes from results, which come from
other people, so the template escapes every value.
"""

import base64
import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from protocols.catalogue import PROTOCOLS
from report.files import Located
from report.grid import Column, Table
from report.plot import Chart, Curve, chart

PICTURE_SIDE = 480  # longer side of a picture on the page, pixels
PICTURES_PER_CELL = 4


@dataclass(frozen=True)
class Picture:
    """A picture as the page carries it."""

    caption: str
    source: str  # a data URI
    width: int
    height: int


def render(table: Table, title: str = "twinbench") -> str:
    """Return the page; pictures are read from beside each result."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    series = {method: number for number, method in enumerate(table.methods)}
    page = environment.get_template("page.html.j2")
    return page.render(
        table=table,
        title=title,
        protocols=PROTOCOLS,
        charts=list(_charts(table, series)),
        pictures=list(_pictures(table)),
        series=series,
        places={column: number for number, column in enumerate(table.columns)},
        duration=duration,
    )


def duration(seconds: float) -> str:
    """Return a wall time with its unit: 42 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _charts(table: Table, series: dict[str, int]) -> Iterator[Chart]:
    """Yield a chart for each recipe and curve name, with a line for each method."""
    gathered: dict[tuple[str, str], dict[str, list[Curve]]] = defaultdict(lambda: defaultdict(list))
    for column in table.columns:
        for method in table.methods:
            for trial in _headline_trials(table, method, column):
                for name, curve in trial.result.curves.items():
                    gathered[_recipe(table, column), name][method].append(curve)
    for (recipe, name), curves in gathered.items():
        drawn = chart(f"{recipe}: {name}", curves, series)
        if drawn:
            yield drawn


def _headline_trials(table: Table, method: str, column: Column) -> tuple[Located, ...]:
    """Return a cell's trials in its headline column only, so that a second metric does not repeat them."""
    return tuple(trial for trial in table.cell(method, column).trials if trial.result.headline == column.metric)


def _recipe(table: Table, column: Column) -> str:
    """Name a column's recipe without its metric."""
    name, _, recipe = table.header(column)
    return f"{name} {recipe}".strip()


def _pictures(table: Table) -> Iterator[Picture]:
    """Yield the first pictures of each cell's first trial that has any."""
    for column in table.columns:
        for method in table.methods:
            trials = [trial for trial in _headline_trials(table, method, column) if trial.result.pictures]
            for trial in trials[:1]:
                for name in trial.result.pictures[:PICTURES_PER_CELL]:
                    yield _picture(f"{method} on {_recipe(table, column)}: {name}", trial.path.parent, name)


def _picture(caption: str, folder: Path, name: str) -> Picture:
    """Read a picture that lies directly in `folder`, scaled down to the page; one that cannot be shown is said so."""
    if Path(name).name != name:
        return Picture(f"{caption} (not shown: not beside its result)", "", 0, 0)
    try:
        image = Image.open(folder / name)
        image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        image = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        return Picture(f"{caption} (not shown: {type(error).__name__})", "", 0, 0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(caption, source, *image.size)
