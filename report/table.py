"""The comparison table: methods down, protocols across, and in each cell what its trials say.

A column is a protocol, its version, its fingerprint, the identity of its data and a metric, so two recipes or two data
sets never share one. What a reader must know to compare a cell with its neighbours stands in a footnote.
"""

import itertools
import string
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report import marks
from twinbench.report.beside import Options, add
from twinbench.report.files import Absent, Found, Located, find
from twinbench.report.grid import Cell, Column, Table, catalogued
from twinbench.report.means import family_means
from twinbench.report.ranking import ranked
from twinbench.report.result import Result, ResultError, convention_words
from twinbench.report.series import arranged
from twinbench.report.statistics import independent

Cells = Mapping[tuple[str, Column], Cell]


class TableError(ResultError):
    """Results that cannot stand in one table."""


def read(paths: Iterable[Path | str], options: Options | None = None) -> Table:
    """Return the table of all results below `paths`; ResultError or TableError if there can be none."""
    return build(find(paths), options)


def build(
    found: Found, options: Options | None = None, wanted: Sequence[Column] = (), rows: Sequence[str] = ()
) -> Table:
    """Arrange results into a table; TableError names the two files that contradict each other.

    The columns are those that the results call for, or exactly the `wanted` ones, on whatever data they were measured;
    the methods are those of the results, or exactly the `rows`, measured or not.
    """
    subjects = _subjects(found.results)
    _check_backbones(found.results)
    _check_trials(found.results, subjects)
    cells: dict[tuple[str, Column], Cell] = {}
    for (method, column), trials in _by_cell(found.results, subjects, wanted).items():
        cells[method, column] = _cell(column, trials)
    for key, reasons in _absences(found, cells).items():
        cells[key] = _with_absences(cells.get(key), reasons)
    measured = [entry.result.method for entry in found.results]
    lost = [entry.method for entry in found.absent]
    methods = tuple(rows) or arranged([*measured, *lost])
    columns = sorted({column for _, column in cells}, key=order)
    if wanted:
        columns = _wanted(wanted, columns)
    cells = _not_recorded(methods, columns, cells) | cells
    table = add(Table(methods, tuple(columns), cells), options or Options())
    table = ranked(table, with_published=bool(options and options.rank_published))
    return footnoted(replace(table, means=family_means(table)))


def _subjects(results: Sequence[Located]) -> list[Column]:
    """Return what each result is a number of, as a column without a metric.

    An imported result knows no data but by the importer's word: it stands on the data that the other results of its
    recipe were measured on, if there is only one such.
    """
    # recipe -> data_sha256 -> its first name
    names: dict[tuple[str, int, str], dict[str, str]] = defaultdict(dict)
    for entry in results:
        result = entry.result
        if result.data_sha256:
            names[result.protocol, result.version, result.fingerprint].setdefault(result.data_sha256, result.data)
    found: list[Column] = []
    for entry in results:
        result = entry.result
        recipe = result.protocol, result.version, result.fingerprint
        known = names.get(recipe, {})
        sha256 = result.data_sha256
        if result.imported and not sha256 and len(known) == 1:
            (sha256,) = known
        found.append(Column(*recipe, "", sha256, known.get(sha256, "")))
    return found


def _check_backbones(results: Sequence[Located]) -> None:
    """Refuse one label for two backbones; what a result does not record contradicts nothing."""
    firsts: dict[tuple[str, str], tuple[Located, Any]] = {}
    for entry in results:
        method = entry.result.method
        for part, value in _backbone(entry.result).items():
            first, theirs = firsts.setdefault((method, part), (entry, value))
            if theirs != value:
                raise TableError(
                    f"method '{method}' stands for two backbones: {part} {_told(theirs)} in {first.path} and "
                    f"{_told(value)} in {entry.path}; give each its own --method label"
                )


def _backbone(result: Result) -> dict[str, Any]:
    """Return the parts of a backbone's identity that a result records; imported, it may record none."""
    parts = {
        "tensors": result.backbone_sha256,
        "architecture": result.architecture,
        "input convention": result.convention,
    }
    return {name: value for name, value in parts.items() if value}


def _told(part: Any) -> str:
    """Return a part of a backbone's identity as it is told."""
    return part[:12] if isinstance(part, str) else convention_words(part)


def _check_trials(results: Sequence[Located], subjects: Sequence[Column]) -> None:
    """Refuse one trial measured twice."""
    firsts: dict[tuple[str, int, Column], Located] = {}
    for entry, subject in zip(results, subjects, strict=True):
        result = entry.result
        first = firsts.setdefault((result.method, result.seed, subject), entry)
        if first is not entry:
            raise TableError(
                f"{result.method} on {result.protocol}, seed {result.seed}, is there twice: {first.path} and "
                f"{entry.path}; name only one of them"
            )


def _by_cell(
    results: Sequence[Located], subjects: Sequence[Column], wanted: Sequence[Column]
) -> dict[tuple[str, Column], list[Located]]:
    """Group results by method and column; a protocol with further metrics fills a column for each."""
    asked = {column.metric: None for column in wanted}
    grouped: dict[tuple[str, Column], list[Located]] = defaultdict(list)
    for entry, subject in zip(results, subjects, strict=True):
        result = entry.result
        named = catalogued(result.protocol)
        for metric in dict.fromkeys([result.headline, *(named.also if named else ()), *asked]):
            if metric in result.metrics:
                grouped[result.method, _of_metric(subject, metric)].append(entry)
    return grouped


@cache
def _of_metric(column: Column, metric: str) -> Column:
    """Return a column's twin of another metric; each result asks, of few columns."""
    return replace(column, metric=metric)


def _wanted(wanted: Sequence[Column], columns: Sequence[Column]) -> list[Column]:
    """Return the wanted columns, each on every data that its recipe was measured on, by whatever metric."""
    found: list[Column] = []
    for column in wanted:
        recipe = replace(column, metric="")
        names: dict[str, str] = {}  # data_sha256 -> name
        for other in columns:
            if replace(other, metric="", data_sha256="") == recipe:
                names[other.data_sha256] = other.data
        on_data = [replace(column, data_sha256=sha256, data=name) for sha256, name in names.items()]
        found += on_data or [column]
    return found


def _cell(column: Column, trials: Sequence[Located]) -> Cell:
    """Return the cell of some trials, not ranked yet."""
    trials = sorted(trials, key=lambda entry: entry.result.seed)
    values: list[float] = []
    notes: list[str] = []
    comparable = True
    for entry in trials:
        values.append(float(entry.result.metrics[column.metric]))
        notes += marks.notes(entry.result)
        if marks.is_on_other_images(entry.result):
            comparable = False
    if independent(values) < len(values):
        notes.append(marks.REPEATED)
    notes = list(dict.fromkeys(notes))
    return Cell(tuple(trials), tuple(values), tuple(notes), comparable, decimals=column.unit.decimals)


def _not_recorded(methods: Iterable[str], columns: Sequence[Column], cells: Cells) -> dict[tuple[str, Column], Cell]:
    """Return a cell that says so for each metric that trials which did run have not recorded."""
    ran = {(method, replace(column, metric="")) for (method, column), cell in cells.items() if cell.trials}
    silent = Cell(missing="not recorded")
    found: dict[tuple[str, Column], Cell] = {}
    for method, column in itertools.product(methods, columns):
        if (method, replace(column, metric="")) in ran:
            found[method, column] = silent
    return found


def _absences(found: Found, cells: Cells) -> dict[tuple[str, Column], dict[str, list[str]]]:
    """Return reason -> seeds of the trials without a result, by the cell they are missing from."""
    gathered: dict[tuple[str, Column], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    columns = {column for _, column in cells}
    for lost in found.absent:
        for column in _columns_of(lost, columns):
            gathered[lost.method, column][lost.reason].append(f"seed {lost.seed}")
    return gathered


def _with_absences(cell: Cell | None, reasons: Mapping[str, Sequence[str]]) -> Cell:
    """Return a cell, or one that says what became of its trials, with a note for each reason."""
    words = {reason.partition(":")[0] for reason in reasons}
    missing = next(word for word in ("failed", "running", "not finished") if word in words)
    notes = [f"{', '.join(seeds)}: {reason}" for reason, seeds in reasons.items()]
    cell = cell or Cell(missing=missing)
    return replace(cell, notes=(*cell.notes, *notes))


def _columns_of(lost: Absent, columns: Iterable[Column]) -> list[Column]:
    """Return the columns a lost trial belongs to: those of the named recipe, or all that carry the name.

    Of one recipe on recorded data and on data that was not recorded, a lost trial is of the first.
    """
    same = [column for column in columns if column.protocol == lost.protocol]
    same = [column for column in same if column.named] or same
    same = [column for column in same if column.data_sha256] or same
    if same:
        return same
    named = catalogued(lost.protocol)
    if named:
        return [Column(lost.protocol, named.version, named.fingerprint, named.metric)]
    return [Column(lost.protocol, 0, "", "")]


def order(column: Column) -> tuple[object, ...]:
    """Sort columns as the catalogue lists its protocols.

    The named recipe stands before its variants, a pair RECIPE@DATA after its recipe, and data that was not recorded
    last.
    """
    names = list(PROTOCOLS)
    named = catalogued(column.protocol)
    data = not column.data_sha256, column.data_sha256
    if not named:
        return (len(names), 0), (1, column.protocol), column.version, False, column.fingerprint, data, 0, column.metric
    metrics = [named.metric, *named.also]
    metric = metrics.index(column.metric) if column.metric in metrics else len(metrics)
    variant = column.fingerprint != named.fingerprint
    family, at, name = named.name.partition("@")
    pair = (0, "") if column.protocol == named.name else (1, column.protocol)
    sets = list(PROTOCOLS[family].members)
    place = names.index(family), sets.index(name) if at else len(sets)
    return place, pair, column.version, variant, column.fingerprint, data, metric, column.metric


def footnoted(table: Table) -> Table:
    """Return the table with a mark for each different note, in reading order."""
    texts: dict[str, None] = {}  # each once
    for method, column in itertools.product(table.methods, table.columns):
        texts |= dict.fromkeys(table.cell(method, column).notes)
    return replace(table, footnotes=tuple(zip(_letters(), texts, strict=False)))


def _letters() -> Iterator[str]:
    """Yield a, b, ..., z, aa, ab, ... for footnotes."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_lowercase, repeat=length))
