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

    def lines(self, height: int) -> list[str]:
        """Return the column from top to bottom, its header `height` lines high and standing on a rule."""
        above = [" " * self.width] * (height - len(self.header))
        rule = "-" * self.width
        return [*above, *self.header, rule, *self.cells]


def render(table: Table, width: int = 100) -> str:
    """Return the table in lines of at most `width` characters, as far as its widest column allows."""
    columns = [_column(table, column) for column in table.columns]
    for summary in table.summaries:
        columns.append(_printed(summary.header, [summary.texts[method] for method in table.methods]))
    key = f"{table.key} * marks the best of a column."
    parts = _blocks(table.methods, columns, width)
    parts.append(_wrapped([key, *footnotes(table)], width))
    for contrast in table.contrasts:
        title = printable(f"{contrast.title}: {contrast.how}")
        parts.append(_wrapped([title], width))
        parts += _contrast(table, contrast, width)
    return "\n\n".join(parts) + "\n"


def footnotes(table: Table) -> list[str]:
    """Return the footnotes, one a line: `[a] settings changed: ...`."""
    return [f"[{mark}] {printable(text)}" for mark, text in table.footnotes]


def marks(table: Table, cell: Cell) -> str:
    """Return the marks of a cell's footnotes as they follow its number: ` [a] [b]`."""
    return "".join(f" [{mark}]" for mark in table.marks(cell))


def printable(text: str) -> str:
    """Return `text` on one line without control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _contrast(table: Table, contrast: Contrast, width: int) -> list[str]:
    """Return the blocks of a table of differences, none where there are none."""
    if not contrast.cells:
        return []
    rows = contrast.rows(table)
    columns: list[_Printed] = []
    for column in contrast.columns(table):
        cells = [contrast.shown(row, column) for row in rows]
        columns.append(_printed(table.header(column), cells))
    return _blocks(rows, columns, width)


def _column(table: Table, column: Column) -> _Printed:
    """Return a column of the comparison, footnote marks behind the numbers."""
    cells = [table.cell(method, column) for method in table.methods]
    widest = max((len(marks(table, cell)) for cell in cells), default=0)
    texts: list[str] = []
    for cell in cells:
        behind = marks(table, cell).ljust(widest)  # the numbers stay aligned
        texts.append(_starred(cell) + behind)
    return _printed(table.header(column), texts)


def _starred(cell: Cell) -> str:
    """Return a cell as plain text, with a star if it is the best of its column."""
    return f"*{cell.shown}" if cell.place == 1 else cell.shown


def _printed(titles: tuple[str, str, str], cells: Sequence[str]) -> _Printed:
    """Return a column right-aligned to one width, its name broken where that keeps it narrow."""
    name, metric, recipe = map(printable, titles)
    widest = max(map(len, [metric, recipe, *cells]))
    header = [*_broken(name, widest), metric]
    if recipe:
        header.append(recipe)
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
    labels = [printable(row) for row in rows]
    widest = max(map(len, ["method", *labels]))
    stub = _Printed(["method".ljust(widest)], [label.ljust(widest) for label in labels])
    return [_block([stub, *part]) for part in _folded(columns, width - widest)]


def _folded(columns: Sequence[_Printed], room: int) -> Iterator[Sequence[_Printed]]:
    """Yield runs of columns that fit in `room` characters.

    A column that does not fit alone stands alone.
    """
    start, used = 0, 0
    for index, column in enumerate(columns):
        size = len(GAP) + column.width
        if index > start and used + size > room:
            yield columns[start:index]
            start, used = index, 0
        used += size
    yield columns[start:]


def _block(columns: Sequence[_Printed]) -> str:
    """Return columns side by side: the headers standing on their rule, then a line a method."""
    height = max(len(column.header) for column in columns)
    stacked = [column.lines(height) for column in columns]
    lines = [GAP.join(parts).rstrip() for parts in zip(*stacked, strict=True)]
    return "\n".join(lines)


def _wrapped(notes: Sequence[str], width: int) -> str:
    """Return notes broken into lines of `width`, but never narrower than readable."""
    lines: list[str] = []
    for note in notes:
        lines += textwrap.wrap(note, max(width, 40))
    return "\n".join(lines)
