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
    rows = [[method, *(_cell(table, method, column) for column in table.columns)] for method in table.methods]
    if table.ranks:
        headers.append(table.rank_header)
        rows = [[*row, table.rank(row[0])] for row in rows]
    notes = [rf"\par \textsuperscript{{{mark}}}{escape(text)}" for mark, text in table.footnotes]
    lines = [
        r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs}",
        *_tabular(headers, rows),
        rf"{{\footnotesize\raggedright {escape(table.key)} Bold: best of its column; underlined: second.",
        *notes,
        r"\par}",
    ]
    for contrast in table.contrasts:
        lines += [
            "",
            rf"\medskip{{\footnotesize\raggedright {escape(f'{contrast.title}: {contrast.how}')}\par}}",
            *_contrast(table, contrast),
        ]
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
    rows = [[row, *(escape(contrast.shown(row, column)) for column in columns)] for row in contrast.rows(table)]
    return _tabular([table.header(column) for column in columns], rows)


def escape(text: str) -> str:
    """Return `text` so that LaTeX prints it and does not obey it; letters a plain pdfLaTeX lacks become U+1234."""
    return "".join(_SPECIAL.get(letter) or _letter(letter) for letter in text)


def _letter(letter: str) -> str:
    """Return a printable ASCII or western letter as it is, any other by its number."""
    if (letter.isascii() and letter.isprintable()) or (_LETTERS.match(letter) and letter not in _NEEDS_T1):
        return letter
    return f"U+{ord(letter):04X}"


def _heads(header: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return a line of protocols, one of metrics and, where needed, one of versions and fingerprints."""
    names, metrics, recipes = ([escape(column[part]) for column in header] for part in range(3))
    lines = [_row("", names), _row("method", metrics)]
    return [*lines, _row("", recipes)] if any(recipes) else lines


def _row(head: str, cells: Sequence[str]) -> str:
    """Return a table row; the empty group keeps a leading `[` or `*` from being read as an option of the line above."""
    return " & ".join([f"{{}}{head}", *cells]) + r" \\"


def _cell(table: Table, method: str, column: Column) -> str:
    """Return a body cell."""
    cell = table.cell(method, column)
    spread = rf" {{\footnotesize {escape(cell.spread)}}}" if cell.spread else ""
    text = f"{_emphasis(cell)}{spread}" if cell.values else rf"\emph{{{cell.missing}}}"
    marks = ",".join(table.marks(cell))
    return text + (rf"\textsuperscript{{{marks}}}" if marks else "")


def _emphasis(cell: Cell) -> str:
    """Return the number, bold if best, underlined if second."""
    return {1: rf"\textbf{{{cell.number}}}", 2: rf"\underline{{{cell.number}}}"}.get(cell.place, cell.number)
