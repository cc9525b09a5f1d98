"""What may stand beside measured numbers when asked for: published rows, and differences to them or to a baseline."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.house import UserError, unknown
from twinbench.protocols.published import BARLOW_TWINS, Published, published_for
from twinbench.report.grid import Cell, Contrast, Table
from twinbench.report.statistics import Difference, difference

NOTHING_TO_SUBTRACT = (
    "nothing to subtract: no column holds comparable numbers of another method and of this one (the footnotes say what "
    "sets them apart)"
)
AGAINST_BASELINE = (
    "difference in points [95 % interval]; ?N: not shown to differ, about N trials a method would be needed"
)


class OptionError(UserError):
    """An option that the results cannot fulfil."""


@dataclass(frozen=True)
class Options:
    """What to show beside the measured numbers."""

    published: bool = False
    source: str = BARLOW_TWINS  # text in the paper, place or method of the published numbers wanted; empty: all
    rank_published: bool = False
    baseline: str = ""  # the method to subtract from the others
    same: Mapping[str, str] = field(default_factory=dict[str, str])  # measured method -> its published name


def add(table: Table, options: Options) -> Table:
    """Return the table with the published rows and the differences that were asked for."""
    if options.published:
        table = _with_published(table, options)
    if options.baseline:
        table = replace(table, contrasts=(*table.contrasts, _against_baseline(table, options.baseline)))
    return table


def _with_published(table: Table, options: Options) -> Table:
    """Add a row for each published method, after its measured one if there is one, and measured minus published."""
    for method in options.same:
        if method not in table.methods:
            raise OptionError(f"--same {method}=...: {unknown('method', method, table.methods)}")
    found = {
        column: [
            entry
            for entry in published_for(PROTOCOLS[column.protocol], options.source)
            if entry.metric == column.metric
        ]
        for column in table.columns
        if column.is_named_recipe
    }
    papers = {entry.paper for entries in found.values() for entry in entries}
    rows: dict[str, str] = {}  # label -> the method's published name
    cells = dict(table.cells)
    for column, entries in found.items():
        for entry in entries:
            label = f"{entry.method}, {'published' if len(papers) == 1 else entry.paper}"
            if label in table.methods:
                raise OptionError(
                    f"a measured method is called '{label}', like a published row; give it another --method"
                )
            rows[label] = entry.method
            cells[label, column] = _published_cell(cells.get((label, column)), entry)
    order: list[str] = []
    for method in table.methods:
        name = options.same.get(method, method)
        order += [method, *(label for label, entry in rows.items() if _plain(entry) == _plain(name))]
    order += [label for label in rows if label not in order]
    published = frozenset(rows)
    table = replace(table, methods=tuple(dict.fromkeys(order)), cells=cells, published=published)
    return replace(table, contrasts=(*table.contrasts, *_against_published(table, rows, options)))


def _published_cell(earlier: Cell | None, entry: Published) -> Cell:
    """Return the cell of a published number; a source that gives two keeps the first and notes the other."""
    if earlier:
        return replace(earlier, notes=(*earlier.notes, f"{entry.citation}: {entry.value:g}"))
    return Cell(values=(entry.value,), notes=(entry.citation,), published=True)


def _plain(name: str) -> str:
    """Return a method's name without case and punctuation: barlow-twins is Barlow Twins."""
    return re.sub(r"[\W_]", "", name.casefold())


def _against_published(table: Table, rows: Mapping[str, str], options: Options) -> list[Contrast]:
    """Return measured minus published for every published row that names a measured method."""
    contrasts: list[Contrast] = []
    for label in (method for method in table.methods if method in table.published):
        ours = [name for name in table.methods if _plain(options.same.get(name, name)) == _plain(rows[label])]
        cells = {
            (method, column): Difference(table.cell(method, column).mean - table.cell(label, column).mean)
            for method in ours
            for column in table.columns
            if _both(table.cell(method, column), table.cell(label, column))
        }
        if cells:
            contrasts.append(Contrast(f"minus {label}", "measured minus published, points", cells))
    return contrasts


def _against_baseline(table: Table, baseline: str) -> Contrast:
    """Return every measured method minus the baseline."""
    measured = [method for method in table.methods if method not in table.published]
    if baseline not in measured:
        raise OptionError(f"--baseline {baseline}: {unknown('method', baseline, measured)}")
    cells = {
        (method, column): difference(by_seed(table.cell(method, column)), by_seed(table.cell(baseline, column)))
        for method in measured
        for column in table.columns
        if method != baseline and _both(table.cell(method, column), table.cell(baseline, column))
    }
    return Contrast(f"minus {baseline}", AGAINST_BASELINE if cells else NOTHING_TO_SUBTRACT, cells)


def _both(ours: Cell, theirs: Cell) -> bool:
    """Say whether two cells hold numbers that may be subtracted."""
    return bool(ours.values and theirs.values and ours.comparable and theirs.comparable)


def by_seed(cell: Cell) -> dict[int, float]:
    """Return a cell's values by the seed of their trial."""
    return {trial.result.seed: value for trial, value in zip(cell.trials, cell.values, strict=True)}
