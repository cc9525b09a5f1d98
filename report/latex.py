"""The table for a paper: a tabular with booktabs rules, best bold, second underlined, notes below."""

import re
from collections.abc import Sequence

from twinbench.report.grid import Cell, Column, Contrast, Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}
_LETTERS = re.compile(r"[À-ÿ]")
_NEEDS_T1 = set("ÐÞðþ÷")


def render(table: Table) -> str:
    """Return a fragment for `\\input`; it needs the package booktabs and T1 fonts."""
    headers = [table.header(column) for column in table.columns]
    headers += [summary.header for summary in table.summaries]
    rows = [_line(table, method) for method in table.methods]
    key = f"{escape(table.key)} Bold: best of its column; underlined: second."
    lines = [
        r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs}",
        *_tabular(headers, rows),
        rf"{{\footnotesize\raggedright {key}",
    ]
    for mark, text in table.footnotes:
        lines.append(rf"\par \textsuperscript{{{mark}}}{escape(text)}")
    lines.append(r"\par}")
    for contrast in table.contrasts:
        title = escape(f"{contrast.title}: {contrast.how}")
        lines += ["", rf"\medskip{{\footnotesize\raggedright {title}\par}}"]
        lines += _contrast(table, contrast)
    return "\n".join(lines) + "\n"


def _tabular(headers: Sequence[tuple[str, str, str]], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a tabular; the first cell of a row is its plain label, the others are LaTeX."""
    return [
        rf"\begin{{tabular}}{{l{'r' * len(headers)}}}",
        r"\toprule",
        *_heads(headers),
        r"\midrule",
        *(_row(escape(row[0]), row[1:]) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        "",
        r"\smallskip",
    ]


def _contrast(table: Table, contrast: Contrast) -> list[str]:
    """Return a table of differences, nothing where there are none."""
    if not contrast.cells:
        return []
    columns = contrast.columns(table)
    headers = [table.header(column) for column in columns]
    rows: list[list[str]] = []
    for method in contrast.rows(table):
        cells = [escape(contrast.shown(method, column)) for column in columns]
        rows.append([method, *cells])
    return _tabular(headers, rows)


def escape(text: str) -> str:
    """Return `text` so that LaTeX prints it and does not obey it.

    Letters that a plain pdfLaTeX lacks become U+1234.
    """
    return "".join(_SPECIAL.get(letter) or _letter(letter) for letter in text)


def _letter(letter: str) -> str:
    """Return a printable ASCII or western letter as it is, any other by its number."""
    is_plain = letter.isascii() and letter.isprintable()
    is_western = _LETTERS.match(letter) and letter not in _NEEDS_T1
    if is_plain or is_western:
        return letter
    return f"U+{ord(letter):04X}"


def _heads(headers: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return a line of protocols, one of metrics and, where needed, one of versions and fingerprints."""
    names: list[str] = []
    metrics: list[str] = []
    recipes: list[str] = []
    for name, metric, recipe in headers:
        names.append(escape(name))
        metrics.append(escape(metric))
        recipes.append(escape(recipe))
    lines = [_row("", names), _row("method", metrics)]
    if any(recipes):
        lines.append(_row("", recipes))
    return lines


def _row(head: str, cells: Sequence[str]) -> str:
    """Return a table row.

    The empty group keeps a leading `[` or `*` from being read as an option of the line above.
    """
    return " & ".join([f"{{}}{head}", *cells]) + r" \\"


def _line(table: Table, method: str) -> list[str]:
    """Return the texts of a body row: the method, its cells, and what sums them up."""
    cells = [_cell(table, method, column) for column in table.columns]
    return [method, *cells, *(summary.texts[method] for summary in table.summaries)]


def _cell(table: Table, method: str, column: Column) -> str:
    """Return a body cell."""
    cell = table.cell(method, column)
    text = _number(cell) if cell.values else rf"\emph{{{cell.missing}}}"
    marks = ",".join(table.marks(cell))
    if marks:
        text += rf"\textsuperscript{{{marks}}}"
    return text


def _number(cell: Cell) -> str:
    """Return the number of a cell, its spread small behind it."""
    text = _emphasis(cell)
    if cell.spread:
        text += rf" {{\footnotesize {escape(cell.spread)}}}"
    return text


def _emphasis(cell: Cell) -> str:
    """Return the number, bold if best, underlined if second."""
    return {1: rf"\textbf{{{cell.number}}}", 2: rf"\underline{{{cell.number}}}"}.get(cell.place, cell.number)
