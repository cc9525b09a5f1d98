"""The table in Markdown, for a README or an issue."""

import re
from collections.abc import Sequence

from twinbench.report.grid import Cell, Column, Contrast, Table
from twinbench.report.text import printable

_ACTIVE = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$@:])")


def render(table: Table) -> str:
    """Return a GitHub-style table: best bold, second underlined, footnotes and differences below."""
    headers = [table.header(column) for column in table.columns]
    rows = [[method, *(_cell(table, method, column) for column in table.columns)] for method in table.methods]
    if table.ranks:
        headers.append(table.rank_header)
        rows = [[*row, table.rank(row[0])] for row in rows]
    notes = [f"<sup>{mark}</sup> {escape(text)}" for mark, text in table.footnotes]
    foot = [f"{table.key} Bold: best of its column; underlined: second.", *notes]
    parts = [_grid(headers, rows), "<br>\n".join(foot)]
    for contrast in table.contrasts:
        parts.append(escape(f"{contrast.title}: {contrast.how}"))
        if contrast.cells:
            parts.append(_contrast(table, contrast))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return `text` so that Markdown and HTML show it and do not obey it."""
    return _ACTIVE.sub(lambda found: f"&#{ord(found[0])};", printable(text))


def _grid(headers: Sequence[tuple[str, str, str]], rows: Sequence[Sequence[str]]) -> str:
    """Return header, rule and rows; the first cell of a row is its plain label."""
    head = ["method", *("<br>".join(escape(part) for part in header if part) for header in headers)]
    rule = ["---", *("---:" for _ in headers)]
    lines = [head, rule, *([escape(row[0]), *row[1:]] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _contrast(table: Table, contrast: Contrast) -> str:
    """Return a table of differences."""
    columns = contrast.columns(table)
    rows = [[row, *(escape(contrast.shown(row, column)) for column in columns)] for row in contrast.rows(table)]
    return _grid([table.header(column) for column in columns], rows)


def _cell(table: Table, method: str, column: Column) -> str:
    """Return a body cell."""
    cell = table.cell(method, column)
    text = f"{_emphasis(cell)} {cell.spread}".rstrip() if cell.values else cell.missing
    return text + "".join(f" <sup>{mark}</sup>" for mark in table.marks(cell))


def _emphasis(cell: Cell) -> str:
    """Return the number, bold if best, underlined if second."""
    return {1: f"**{cell.number}**", 2: f"<ins>{cell.number}</ins>"}.get(cell.place, cell.number)
