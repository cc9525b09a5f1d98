"""The table as CSV: one line a cell, numbers in full precision, for a spreadsheet or a script."""

import csv
import io

from twinbench.report.grid import Column, Table
from twinbench.report.text import printable

FIELDS = (
    *("method", "protocol", "version", "fingerprint", "data", "data_sha256", "metric", "kind"),
    *("mean", "std", "n", "values", "place", "missing", "notes"),
)


def render(table: Table) -> str:
    """Return the cells in row order, then means over a family's data sets, then differences.

    Means are of kind `mean of sets`, `n` says of how many; differences of kind `difference`, their title a note.

    Text that a spreadsheet would run as a formula is quoted by an apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    lines: list[tuple[object, ...]] = []
    for method in table.methods:
        for column in table.columns:
            lines.append(_line(table, method, column))
    for each in table.means:
        for method, value in each.values.items():
            family = (each.protocol, each.version, each.fingerprint, " ".join(each.sets), "", "")
            lines.append((method, *family, "mean of sets", value, "", len(each.sets), "", "", "", ""))
    for contrast in table.contrasts:
        for (method, column), found in contrast.cells.items():
            note = f"{contrast.title}: {contrast.shown(method, column)}"
            lines.append((method, *_identity(column), "difference", found.value, "", "", "", "", "", note))
    for line in lines:
        writer.writerow([safe(str(value)) for value in line])
    return out.getvalue()


def safe(text: str) -> str:
    """Return `text` without control characters and without a leading character that starts a formula."""
    text = printable(text)
    is_formula = text.startswith(("=", "+", "-", "@")) and not _is_number(text)
    return f"'{text}" if is_formula else text


def _is_number(text: str) -> bool:
    """Say whether a text is a plain number, which may start with a sign."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _identity(column: Column) -> tuple[object, ...]:
    """Return what a column is, in the order of FIELDS."""
    return column.protocol, column.version, column.fingerprint, column.data, column.data_sha256, column.metric


def _line(table: Table, method: str, column: Column) -> tuple[object, ...]:
    """Return the values of one cell in the order of FIELDS."""
    cell = table.cell(method, column)
    numbers: tuple[object, ...] = ("", "", 0)
    if cell.values:
        numbers = (cell.mean, "" if cell.std is None else cell.std, cell.count)
    return (
        *(method, *_identity(column)),
        "published" if method in table.published else "measured",
        *numbers,
        " ".join(map(str, cell.values)),
        cell.place or "",
        "" if cell.values else cell.missing,
        "; ".join(cell.notes),
    )
