"""The table in Markdown, for a README or an issue."""

import re
from collections.abc import Sequence

from twinbench.report.grid import Cell, Column, Contrast, Table
from twinbench.report.text import printable

_ACTIVE = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$@:])")


def render(table: Table) -> str:
    """Return a GitHub-style table: best bold, second underlined, footnotes and differences below."""
    headers = [table.header(column) for column in table.columns]
    headers += [summary.header for summary in table.summaries]
    rows = [_row(table, method) for method in table.methods]
    foot = [f"{table.key} Bold: best of its column; underlined: second."]
    for mark, text in table.footnotes:
        foot.append(f"<sup>{mark}</sup> {escape(text)}")
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
    head, rule = ["method"], ["---"]
    for header in headers:
        parts = [escape(part) for part in header if part]
        head.append("<br>".join(parts))
        rule.append("---:")
    lines = [head, rule]
    for label, *cells in rows:
        lines.append([escape(label), *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _contrast(table: Table, contrast: Contrast) -> str:
    """Return a table of differences."""
    columns = contrast.columns(table)
    headers = [table.header(column) for column in columns]
    rows: list[list[str]] = []
    for method in contrast.rows(table):
        cells = [escape(contrast.shown(method, column)) for column in columns]
        rows.append([method, *cells])
    return _grid(headers, rows)


def _row(table: Table, method: str) -> list[str]:
    """Return the texts of a body row: the method, its cells, and what sums them up."""
    cells = [_cell(table, method, column) for column in table.columns]
    return [method, *cells, *(summary.texts[method] for summary in table.summaries)]


def _cell(table: Table, method: str, column: Column) -> str:
    """Return a body cell."""
    cell = table.cell(method, column)
    text = f"{_emphasis(cell)} {cell.spread}".rstrip() if cell.values else cell.missing
    for mark in table.marks(cell):
        text += f" <sup>{mark}</sup>"
    return text


def _emphasis(cell: Cell) -> str:
    """Return the number, bold if best, underlined if second."""
    return {1: f"**{cell.number}**", 2: f"<ins>{cell.number}</ins>"}.get(cell.place, cell.number)
