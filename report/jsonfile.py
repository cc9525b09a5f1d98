"""The table as JSON, for programs: what the writers for people show, in full precision."""

import dataclasses
import json
from typing import Any

from twinbench.report.grid import Column, Table


def render(table: Table) -> str:
    """Return one object: columns, rows of cells, footnotes, average ranks and differences."""
    answer = {
        "columns": [dataclasses.asdict(column) for column in table.columns],
        "rows": [
            {
                "method": method,
                "published": method in table.published,
                "average_rank": dict(table.ranks).get(method),
                "cells": [_cell(table, method, column) for column in table.columns],
            }
            for method in table.methods
        ],
        "footnotes": dict(table.footnotes),
        "ranked_tasks": table.ranked_tasks,
        "differences": [
            {
                "title": contrast.title,
                "how": contrast.how,
                "cells": [
                    {"method": method, "column": table.columns.index(column), **dataclasses.asdict(found)}
                    for (method, column), found in contrast.cells.items()
                ],
            }
            for contrast in table.contrasts
        ],
    }
    return json.dumps(answer, indent=1, allow_nan=False) + "\n"


def _cell(table: Table, method: str, column: Column) -> dict[str, Any]:
    """Return a cell; its trials by seed, each with its file."""
    cell = table.cell(method, column)
    return {
        "mean": cell.mean if cell.values else None,
        "std": cell.std if cell.values else None,
        "n": cell.count,
        "values": cell.values,
        "place": cell.place or None,
        "missing": None if cell.values else cell.missing,
        "marks": table.marks(cell),
        "trials": [{"seed": trial.result.seed, "file": str(trial.path)} for trial in cell.trials],
    }
