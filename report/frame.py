"""Single results as a pandas DataFrame, and as a Parquet file: a row for each trial and each of its metrics.

Where `rows.py` gives the cells of the comparison, this gives what they are made of, for analyses of one's own. pandas
and pyarrow come with the extra `frames` and are imported only here.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from twinbench.protocols.house import optional, replacing
from twinbench.report import marks
from twinbench.report.result import Result

EXTRA = "frames"


def trials(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return a row for each metric of each result, the headline first, with everything that identifies the number.

    Values are numbers, texts and truths; what has parts (overrides, convention, image counts) is JSON in one text.
    """
    rows: list[dict[str, Any]] = []
    for result in results:
        shared = _shared(result)
        names = dict.fromkeys([result.headline, *result.metrics])
        for name in names:
            rows.append({**shared, "metric": name, "headline": name == result.headline, "value": result.metrics[name]})
    return rows


def frame(results: Iterable[Result]) -> Any:
    """Return the rows of `trials` as a pandas DataFrame; UserError if pandas is not installed."""
    pandas = optional("pandas", EXTRA, "twinbench.frame")
    return pandas.DataFrame(trials(results), columns=list(COLUMNS)).astype(COLUMNS)


def write_parquet(results: Iterable[Result], path: Path) -> None:
    """Replace `path` by a Parquet file of `frame`, whole or not at all."""
    optional("pyarrow", EXTRA, "--format parquet")
    rows = frame(results)
    with replacing(path) as beside:
        rows.to_parquet(beside, engine="pyarrow", index=False)


# Column -> its type in pandas; texts stay texts where a file has none but empty ones
COLUMNS = {
    **{"method": "str", "protocol": "str", "version": "int64", "fingerprint": "str", "data": "str"},
    **{"data_sha256": "str", "metric": "str", "headline": "bool", "value": "float64", "seed": "int64"},
    **{"backbone_sha256": "str", "architecture": "str", "convention": "str", "precision": "str", "overrides": "str"},
    **{"images": "str", "images_expected": "str", "selected_on": "str", "converged": "bool", "comparable": "bool"},
    **{"notes": "str", "imported": "str", "wall_seconds": "float64", "device": "str", "command": "str"},
    **{"commit": "str", "versions": "str", "finished": "str"},
}


def _shared(result: Result) -> dict[str, Any]:
    """Return what all metrics of a result have in common."""
    shared = {name: getattr(result, name) for name in COLUMNS if hasattr(result, name)}
    for name, value in shared.items():
        if isinstance(value, Mapping):
            shared[name] = json.dumps(value, sort_keys=True)
    notes = "; ".join(marks.notes(result))
    comparable = not marks.is_on_other_images(result)
    return {**shared, "commit": result.code.get("commit", ""), "comparable": comparable, "notes": notes}
