"""The comparison as plain rows, one a cell, for a notebook: `pandas.DataFrame(twinbench.table(results))` takes them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twinbench.report.files import Found, Located
from twinbench.report.grid import Cell, Column
from twinbench.report.result import Result
from twinbench.report.table import build


def table(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return a row for each method and column that has a number, in the order of the comparison table.

    Values are numbers, texts, truths and None only. `mean`, `std` (None of one trial) and `n` are over the trials,
    whose `seeds` and `values` stand in one text each, blanks between; a row that is not `comparable` was measured on
    partial data or another list of images. TableError for results that contradict each other.
    """
    located = [Located(Path(f"results[{number}]"), result) for number, result in enumerate(results)]
    found = build(Found(tuple(located)))
    rows: list[dict[str, Any]] = []
    for method in found.methods:
        for column in found.columns:
            cell = found.cell(method, column)
            if cell.values:
                rows.append(_row(method, column, cell))
    return rows


def _row(method: str, column: Column, cell: Cell) -> dict[str, Any]:
    """Return one cell with all that says what it is a number of.

    Its trials share everything but their seed.
    """
    result = cell.trials[0].result
    seeds = [str(trial.result.seed) for trial in cell.trials]
    overrides = [f"{name}={value}" for name, value in sorted(result.overrides.items())]
    return {
        "method": method,
        "protocol": column.protocol,
        "version": column.version,
        "fingerprint": column.fingerprint,
        "data": column.data,
        "data_sha256": column.data_sha256,
        "metric": column.metric,
        "headline": column.metric == result.headline,
        "mean": cell.mean,
        "std": cell.std,
        "n": cell.count,
        "place": cell.place or None,
        "seeds": " ".join(seeds),
        "values": " ".join(map(str, cell.values)),
        "comparable": cell.comparable,
        "overrides": " ".join(overrides),
        "notes": "; ".join(cell.notes),
        "architecture": result.architecture,
        "backbone_sha256": result.backbone_sha256,
        "precision": result.precision,
        "imported": result.imported,
    }
