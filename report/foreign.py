"""Whole tables of other benchmarks: which program wrote a file, and what its rows are numbers of here.

`programs.py` has one entry a program. A row that was measured as a protocol of ours says is a result of that protocol;
where it differs, by a setting or by what no setting can say, its fingerprint is another one. A procedure that twinbench
does not have is a protocol of the program's own, fingerprinted by everything that the file tells of it.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError, setting_text
from twinbench.protocols.schema import flat
from twinbench.protocols.text import TextError, parse_json, read_text
from twinbench.report import provenance
from twinbench.report.result import Result
from twinbench.report.trial import as_label

MOST_BYTES = 100_000_000  # of a table; timm's largest has 150,000
MOST_ROWS = 100_000
SHORTEST = 12  # hex digits of a fingerprint, as the catalogue's have

Row = Mapping[str, Any]


class ForeignError(UserError):
    """A table that no known program wrote, or one of its rows that cannot be read."""


@dataclass(frozen=True)
class Number:
    """What one row says of one protocol."""

    method: str
    protocol: str  # a name of ours, RECIPE@DATA too, or the program's own
    metrics: Mapping[str, float]  # percent; the first is the headline
    settings: Mapping[str, object] = field(default_factory=dict[str, object])  # of our recipe that were others
    # In what else the procedure differed, or for a protocol of the program's own: all that is known of it
    procedure: Mapping[str, Any] = field(default_factory=dict[str, Any])
    is_ours: bool = True
    told: str = ""  # what the row adds, for a footnote
    seed: int = 0
    data: str = ""
    data_identity: str = ""  # the program's own; empty: not recorded
    version: str = ""  # of the program
    finished: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Program:
    """How one program writes its table, and what that leaves unsaid."""

    name: str
    columns: frozenset[str]  # that tell its tables from others, and all others that its numbers are made of
    numbers: Callable[[Row, Path], Iterable[Number]]
    unsaid: str
    header: int | None = 0  # of a CSV: the line that names its columns, counted from 0; None: JSON lines
    # Of several rows on one thing, the one that stands; without it two are an error
    latest: Callable[[Number], Any] | None = None


def results(path: Path, programs: Sequence[Program]) -> list[Result]:
    """Return what a table holds; ForeignError for one that none of `programs` wrote, or for a row without sense."""
    program, rows = _read(path, programs)
    found: dict[tuple[str, str, str, str, int], tuple[Number, Result]] = {}
    for line, row in rows:
        try:
            numbers = list(program.numbers(row, path))
            measured = [(number, _result(program, number, path, line)) for number in numbers]
        except UserError as error:
            raise ForeignError(f"{path}: line {line}: {error}") from None
        for number, result in measured:
            key = (result.method, result.protocol, result.fingerprint, result.data_sha256, result.seed)
            earlier = found.get(key)
            if earlier and program.latest is None:
                first = earlier[1].details["line"]
                raise ForeignError(f"{path}: line {line}: {result.method} on {result.protocol} is on line {first}, too")
            if not earlier or (program.latest and program.latest(number) >= program.latest(earlier[0])):
                found[key] = number, result
    if not found:
        raise ForeignError(f"{path}: a table of {program.name} without a number that is percent; nothing to import")
    return [result for _, result in found.values()]


def percent(row: Row, column: str) -> float | None:
    """Return a percentage that stands in a column; None where the cell is empty or `-`."""
    text = str(row[column]).strip()
    return None if text in ("", "-") else in_bounds(text, column, 100.0)


def in_bounds(value: object, name: str, most: float) -> float:
    """Return a number between 0 and `most`; ForeignError for any other value."""
    try:
        number = float(cast("str", value))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= most:
        raise ForeignError(f"{name} is {str(value)[:40]!r}, expected a number from 0 to {most:g}")
    return number


def pixels(row: Row, column: str) -> int:
    """Return a size in pixels that stands in a column."""
    text = str(row[column]).strip()
    if not (text.isdecimal() and len(text) < 6 and int(text)):
        raise ForeignError(f"{column} is {text[:40]!r}, expected a size in pixels")
    return int(text)


def digest(content: object) -> str:
    """Return a fingerprint of anything that JSON can say."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:SHORTEST]


def _result(program: Program, number: Number, path: Path, line: int) -> Result:
    """Return a number of a table as a result that says where it stands."""
    version, fingerprint, overrides = _recipe(number)
    details = {**number.details, "table": path.name, "line": line, "unsaid": program.unsaid, "told": number.told}
    if number.version:
        details["program_version"] = number.version
    return Result(
        protocol=number.protocol,
        version=version,
        fingerprint=fingerprint,
        method=as_label(number.method),
        seed=number.seed,
        metrics=dict(number.metrics),
        headline=next(iter(number.metrics)),
        backbone_sha256="",
        data=number.data,
        data_sha256=number.data_identity,
        overrides=overrides,
        details=details,
        command=provenance.command(),
        code=provenance.code(),
        finished=number.finished,
        imported=program.name,
    )


def _recipe(number: Number) -> tuple[int, str, dict[str, str]]:
    """Return version and fingerprint of the procedure, and in what it differs from the protocol of that name."""
    if not number.is_ours:
        return 1, digest(number.procedure), {}
    named = find_protocol(number.protocol)
    usual = dict(flat(named.recipe))
    settings = {name: setting_text(value) for name, value in number.settings.items()}
    protocol = named.with_settings({name: text for name, text in settings.items() if usual.get(name) != text})
    overrides = {**dict(protocol.overrides), **{name: str(value) for name, value in number.procedure.items()}}
    if not number.procedure:
        return protocol.version, protocol.fingerprint, overrides
    return protocol.version, digest([protocol.fingerprint, number.procedure]), overrides


def _read(path: Path, programs: Sequence[Program]) -> tuple[Program, list[tuple[int, Row]]]:
    """Return the program that wrote a table, and its rows by line."""
    known = ", ".join(program.name for program in programs)
    advice = f"expected a table of {known}, or a log with --protocol and --method"
    try:
        text = read_text(path, advice, MOST_BYTES)
    except TextError as error:
        raise ForeignError(str(error)) from None
    is_json = text.lstrip().startswith("{")
    programs = [program for program in programs if (program.header is None) == is_json]  # cells of a CSV are texts
    rows = list(_json_rows(text, path) if is_json else _csv_rows(text, path, programs))
    if len(rows) > MOST_ROWS:
        raise ForeignError(f"{path}: {len(rows)} rows; expected {MOST_ROWS} at most")
    for program in programs:
        if rows and all(program.columns <= row.keys() for _, row in rows):
            return program, rows
    raise ForeignError(f"{path}: not recognised; {advice}")


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the objects of JSON lines."""
    for line, content in enumerate(text.split("\n"), 1):  # splitlines() also ends lines within JSON's texts
        if not content.strip():
            continue
        try:
            found = parse_json(content, f"{path}: line {line}")
        except TextError as error:
            raise ForeignError(str(error)) from None
        if not isinstance(found, dict):
            raise ForeignError(f"{path}: line {line}: no object; expected JSON lines")
        yield line, cast("Row", found)


def _csv_rows(text: str, path: Path, programs: Sequence[Program]) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a CSV under the names in whichever line some program has them."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise ForeignError(f"{path}: line {reader.line_num}: no CSV ({error})") from None
    for program in programs:
        header = program.header or 0
        names = lines[header][1] if len(lines) > header else []
        if not program.columns <= set(names):
            continue
        for line, cells in lines[header + 1 :]:
            if not any(cells):
                continue
            if len(cells) != len(names):
                raise ForeignError(f"{path}: line {line}: {len(cells)} cells under {len(names)} columns")
            yield line, dict(zip(names, cells, strict=True))
        return
