"""What may stand beside measured numbers when asked for: published rows, and differences to them or to a baseline."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from twinbench.protocols.house import UserError, unknown
from twinbench.protocols.metrics import unit_of
from twinbench.protocols.published import BARLOW_TWINS, Published, published_for
from twinbench.report.grid import Cell, Column, Contrast, Table
from twinbench.report.statistics import Difference, difference

NOTHING_TO_SUBTRACT = (
    "nothing to subtract: no column holds comparable numbers of another method and of this one (the footnotes say what "
    "sets them apart)"
)
AGAINST_BASELINE = (
    "difference in points, or in the metric's unit [95 % interval]; ?N: not shown to differ, about N trials a method "
    "would be needed"
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
    task: str = ""  # of the published numbers, where it is not the one that a column's protocol names


def add(table: Table, options: Options) -> Table:
    """Return the table with the published rows and the differences that were asked for."""
    if options.published:
        table = _with_published(table, options)
    if options.baseline:
        contrasts = (*table.contrasts, _against_baseline(table, options.baseline))
        table = replace(table, contrasts=contrasts, baseline=options.baseline)
    return table


def require_matches(table: Table, options: Options, further: Collection[str] = ()) -> None:
    """Raise OptionError for a `source` or a published name that was asked for and is nowhere in a table's columns.

    Nor, of a name, among `further` ones, which stand in other tables.
    """
    found = _published(table, options)
    if not found and options.source not in ("", BARLOW_TWINS):
        papers = {entry.paper for _, entry in _published(table, replace(options, source=""))}
        if not papers:
            raise OptionError(f"--source {options.source}: no number is published for the columns of this table")
        raise OptionError(f"--source {options.source}: {unknown('paper, place or method', options.source, papers)}")
    names = {entry.method for _, entry in found}.union(further)
    for method, name in options.same.items():
        if not names:
            of = f" in {options.source}" if options.source else ""
            raise OptionError(f"--same {method}={name}: no number is published{of} for the columns of this table")
        if plain(name) not in map(plain, names):
            which = f" in {options.source}, which --source names" if options.source else ""
            raise OptionError(f"--same {method}={name}: {unknown('published method', name, names)}{which}")


def _with_published(table: Table, options: Options) -> Table:
    """Add a row for each published method and the differences, measured minus published.

    The row follows that of the method as measured, if there is one.
    """
    for method in options.same:
        if method not in table.methods:
            raise OptionError(f"--same {method}=...: {unknown('method', method, table.methods)}")
    found = _published(table, options)
    papers = {entry.paper for _, entry in found}
    rows: dict[str, str] = {}  # label -> the method's published name
    cells = dict(table.cells)
    for column, entry in found:
        source = "published" if len(papers) == 1 else entry.paper
        label = f"{entry.method}, {source}"
        if label in table.methods:
            raise OptionError(f"a measured method is called '{label}', like a published row; give it another --method")
        rows[label] = entry.method
        cells[label, column] = _published_cell(cells.get((label, column)), entry)
    own = _of_measured(table.methods, rows, options)
    methods: dict[str, None] = {}
    for method in table.methods:
        methods |= dict.fromkeys([method, *(label for label in rows if own.get(label) == method)])
    methods |= dict.fromkeys(rows)
    table = replace(table, methods=tuple(methods), cells=cells, published=frozenset(rows), own_published=own)
    return replace(table, contrasts=(*table.contrasts, *_against_published(table, rows, options)))


def _published(table: Table, options: Options) -> list[tuple[Column, Published]]:
    """Return the published numbers of each column that holds the recipe of the protocol's name."""
    found: list[tuple[Column, Published]] = []
    for column in table.columns:
        if column.is_named_recipe and column.named and not _is_limited(table, column):
            entries = published_for(column.named, options.source, options.task)
            found += [(column, entry) for entry in entries if entry.metric == column.metric]
    return found


def _is_limited(table: Table, column: Column) -> bool:
    """Say whether a column is of trial runs on few images; one is of nothing else, as its data are not the whole."""
    return any(trial.result.limit for method in table.methods for trial in table.cell(method, column).trials)


def _of_measured(methods: Sequence[str], rows: Mapping[str, str], options: Options) -> dict[str, str]:
    """Return published row -> the first measured method of its name; `rows` are label -> name."""
    names: dict[str, str] = {}  # plain -> method
    for method in methods:
        names.setdefault(plain(options.same.get(method, method)), method)
    return {label: names[plain(name)] for label, name in rows.items() if plain(name) in names}


def _published_cell(earlier: Cell | None, entry: Published) -> Cell:
    """Return the cell of a published number.

    A source that gives two keeps the first and notes the other.
    """
    if earlier:
        return replace(earlier, notes=(*earlier.notes, f"{entry.citation}: {entry.value:g}"))
    decimals = unit_of(entry.metric).decimals
    return Cell(values=(entry.value,), notes=(entry.citation,), published=True, decimals=decimals)


def plain(name: str) -> str:
    """Return a method's name without case and punctuation: barlow-twins is Barlow Twins."""
    return re.sub(r"[\W_]", "", name.casefold())


def _against_published(table: Table, rows: Mapping[str, str], options: Options) -> list[Contrast]:
    """Return measured minus published for every published row that names a measured method."""
    contrasts: list[Contrast] = []
    for label in table.methods:
        if label not in table.published:
            continue
        name = plain(rows[label])
        cells: dict[tuple[str, Column], Difference] = {}
        for method in table.methods:
            if plain(options.same.get(method, method)) == name:
                for column, ours, theirs in both(table, method, label):
                    cells[method, column] = Difference(ours.mean - theirs.mean)
        if cells:
            contrasts.append(
                Contrast(f"minus {label}", "measured minus published, points, or the metric's unit", cells)
            )
    return contrasts


def _against_baseline(table: Table, baseline: str) -> Contrast:
    """Return every measured method minus the baseline."""
    measured = table.measured
    if baseline not in measured:
        raise OptionError(f"--baseline {baseline}: {unknown('method', baseline, measured)}")
    cells: dict[tuple[str, Column], Difference] = {}
    for method in measured:
        if method != baseline:
            for column, ours, theirs in both(table, method, baseline):
                cells[method, column] = difference(by_seed(ours), by_seed(theirs))
    return Contrast(f"minus {baseline}", AGAINST_BASELINE if cells else NOTHING_TO_SUBTRACT, cells)


def both(table: Table, method: str, other: str) -> Iterator[tuple[Column, Cell, Cell]]:
    """Yield the columns in which two methods hold numbers that may be subtracted, with their cells."""
    for column in table.columns:
        ours, theirs = table.cell(method, column), table.cell(other, column)
        if ours.values and theirs.values and ours.comparable and theirs.comparable:
            yield column, ours, theirs


def by_seed(cell: Cell) -> dict[int, float]:
    """Return a cell's values by the seed of their trial."""
    return {trial.result.seed: value for trial, value in zip(cell.trials, cell.values, strict=True)}
