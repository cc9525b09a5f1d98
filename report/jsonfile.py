"""The table as JSON, for programs: what the writers for people show, in full precision."""

import dataclasses
import json
from typing import Any

from twinbench.report.grid import Column, Contrast, Table


def render(table: Table) -> str:
    """Return one object: columns, rows of cells, footnotes, means, average ranks and differences."""
    answer = {
        "columns": [dataclasses.asdict(column) for column in table.columns],
        "rows": [_row(table, method) for method in table.methods],
        "footnotes": dict(table.footnotes),
        "means": [dataclasses.asdict(each) for each in table.means],
        "ranked_tasks": table.ranked_tasks,
        "differences": [_contrast(table, contrast) for contrast in table.contrasts],
    }
    return json.dumps(answer, indent=1, allow_nan=False) + "\n"


def _row(table: Table, method: str) -> dict[str, Any]:
    """Return a method with its cells in the order of the columns."""
    return {
        "method": method,
        "published": method in table.published,
        "average_rank": dict(table.ranks).get(method),
        "cells": [_cell(table, method, column) for column in table.columns],
    }


def _cell(table: Table, method: str, column: Column) -> dict[str, Any]:
    """Return a cell; its trials by seed, each with its file."""
    cell = table.cell(method, column)
    trials: list[dict[str, Any]] = []
    for trial in cell.trials:
        trials.append({"seed": trial.result.seed, "file": str(trial.path)})
    return {
        "mean": cell.mean if cell.values else None,
        "std": cell.std if cell.values else None,
        "n": cell.count,
        "values": cell.values,
        "place": cell.place or None,
        "missing": None if cell.values else cell.missing,
        "marks": table.marks(cell),
        "trials": trials,
    }


def _contrast(table: Table, contrast: Contrast) -> dict[str, Any]:
    """Return a table of differences as a list of its cells; a column is told by its number."""
    cells: list[dict[str, Any]] = []
    for (method, column), found in contrast.cells.items():
        number = table.columns.index(column)
        cells.append({"method": method, "column": number, **dataclasses.asdict(found)})
    return {"title": contrast.title, "how": contrast.how, "cells": cells}
