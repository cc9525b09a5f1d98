"""The table for a terminal: folded into blocks where it is wider than the screen."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from twinbench.report.grid import Cell, Column, Contrast, Table

GAP = "  "


@dataclass(frozen=True)
class _Printed:
    """A column as lines of equal width: its header, and a line a row."""

    header: list[str]
    cells: list[str]

    @property
    def width(self) -> int:
        return len(self.header[0])


def render(table: Table, width: int = 100) -> str:
    """Return the table in lines of at most `width` characters, as far as its widest column allows."""
    columns = [_column(table, column) for column in table.columns]
    if table.ranks:
        columns.append(_printed(table.rank_header, [table.rank(method) for method in table.methods]))
    parts = _blocks([printable(method) for method in table.methods], columns, width)
    notes = [f"[{mark}] {printable(text)}" for mark, text in table.footnotes]
    parts.append("\n".join(_wrapped([f"{table.key} * marks the best of a column.", *notes], width)))
    for contrast in table.contrasts:
        parts += [
            "\n".join(_wrapped([printable(f"{contrast.title}: {contrast.how}")], width)),
            *_contrast(table, contrast, width),
        ]
    return "\n\n".join(parts) + "\n"


def printable(text: str) -> str:
    """Return `text` on one line without control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _contrast(table: Table, contrast: Contrast, width: int) -> list[str]:
    """Return the blocks of a table of differences, none where there are none."""
    if not contrast.cells:
        return []
    rows = contrast.rows(table)
    columns = [
        _printed(table.header(column), [contrast.shown(row, column) for row in rows])
        for column in contrast.columns(table)
    ]
    return _blocks([printable(row) for row in rows], columns, width)


def _column(table: Table, column: Column) -> _Printed:
    """Return a column of the comparison, footnote marks behind the numbers."""
    row = [table.cell(method, column) for method in table.methods]
    marks = ["".join(f" [{mark}]" for mark in table.marks(cell)) for cell in row]
    widest = max(map(len, marks), default=0)
    cells = [_starred(cell) + mark.ljust(widest) for cell, mark in zip(row, marks, strict=True)]
    return _printed(table.header(column), cells)


def _starred(cell: Cell) -> str:
    """Return a cell as plain text, with a star if it is the best of its column."""
    return f"*{cell.shown}" if cell.place == 1 else cell.shown


def _printed(titles: tuple[str, str, str], cells: Sequence[str]) -> _Printed:
    """Return a column right-aligned to one width, its name broken where that keeps it narrow."""
    name, metric, recipe = (printable(part) for part in titles)
    header = [*_broken(name, max(map(len, [*cells, metric, recipe]))), metric, *([recipe] if recipe else [])]
    width = max(map(len, [*header, *cells]))
    return _Printed([line.rjust(width) for line in header], [cell.rjust(width) for cell in cells])


def _broken(name: str, width: int) -> list[str]:
    """Break a name after its hyphens and blanks into lines of about `width`."""
    lines: list[str] = []
    for part in re.findall(r"[^- ]*[- ]?", name)[:-1]:
        if lines and len(lines[-1] + part.rstrip()) <= width:
            lines[-1] += part
        else:
            lines.append(part)
    return [line.rstrip() for line in lines]


def _blocks(rows: Sequence[str], columns: Sequence[_Printed], width: int) -> list[str]:
    """Return the table as blocks that each fit in `width` and repeat the row labels."""
    label = max(map(len, ["method", *rows]))
    return ["\n".join(_block(["method", *rows], label, part)) for part in _folded(columns, width - label)]


def _folded(columns: Sequence[_Printed], room: int) -> Iterator[Sequence[_Printed]]:
    """Yield runs of columns that fit in `room` characters; a column that does not fit alone stands alone."""
    start, used = 0, 0
    for index, column in enumerate(columns):
        size = len(GAP) + column.width
        if index > start and used + size > room:
            yield columns[start:index]
            start, used = index, 0
        used += size
    yield columns[start:]


def _block(rows: Sequence[str], label: int, columns: Sequence[_Printed]) -> Iterator[str]:
    """Yield the lines of one block: the headers standing on their rule, then a line a method."""
    height = max((len(column.header) for column in columns), default=1)
    headers = [[" " * column.width] * (height - len(column.header)) + column.header for column in columns]
    for line in range(height):
        title = rows[0] if line == height - 1 else ""
        yield GAP.join([title.ljust(label), *(header[line] for header in headers)]).rstrip()
    yield GAP.join(["-" * label, *("-" * column.width for column in columns)])
    for index, row in enumerate(rows[1:]):
        yield GAP.join([row.ljust(label), *(column.cells[index] for column in columns)]).rstrip()


def _wrapped(notes: Sequence[str], width: int) -> list[str]:
    """Return notes broken into lines of `width`, but never narrower than readable."""
    return [line for note in notes for line in textwrap.wrap(note, max(width, 40))]
