"""What stands behind a cell: its trials' facts, those they share told once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinbench.protocols.schema import flat
from twinbench.report.files import Located
from twinbench.report.grid import Cell, Column
from twinbench.report.result import Result, convention_words
from twinbench.runtime.duration import duration


@dataclass(frozen=True)
class Details:
    """A cell's facts: shared by all its trials, and each trial's own, as name -> text."""

    shared: Mapping[str, str]
    trials: tuple[Mapping[str, str], ...]


def details(cell: Cell, environments: dict[str, int]) -> Details:
    """Return the facts of a cell.

    Software and machine are told by their number in `environments`, which grows.
    """
    facts = [_facts(trial, environments) for trial in cell.trials]
    first = facts[0] if facts else {}
    if len(facts) == 1:
        return Details(first, ())
    shared: dict[str, str] = {}
    for name, text in first.items():
        if name != "seed" and all(other.get(name) == text for other in facts):
            shared[name] = text
    own: list[dict[str, str]] = []
    for other in facts:
        own.append({name: text for name, text in other.items() if name not in shared})
    return Details(shared, tuple(own))


def recipe_fields(column: Column) -> dict[str, str]:
    """Return every field of a column's recipe as --set takes it.

    Nothing for a recipe that is not the named one.
    """
    return dict(flat(column.named.recipe)) if column.named else {}


def _facts(trial: Located, environments: dict[str, int]) -> dict[str, str]:
    """Return what is known of a trial, as name -> text; what is not known is left out."""
    result = trial.result
    number = environments.setdefault(_environment(result), len(environments) + 1)
    found = {
        "seed": str(result.seed),
        "metrics": _pairs(result.metrics),
        "settings changed": _pairs(result.overrides),
        "backbone": f"{result.architecture} {result.backbone_sha256[:12]}".strip(),
        "input convention": convention_words(result.convention) if result.convention else "",
        "data": f"{result.data} {result.data_sha256[:12]}".strip(),
        "images": _pairs(result.images),
        "precision": result.precision,
        "selected on": result.selected_on,
        "took": duration(result.wall_seconds) if result.wall_seconds else "",
        "finished": result.finished,
        "command": result.command,
        "environment": f"{number}",
        "file": str(trial.path),
    }
    return {name: text for name, text in found.items() if text}


def _environment(result: Result) -> str:
    """Return the code, the versions and the device of a result in one line."""
    commit = result.code.get("commit", "unknown")[:12]
    changed = " with local changes" if result.code.get("dirty") == "True" else ""
    return f"code {commit}{changed}; device {result.device or 'unknown'}; {_pairs(result.versions)}"


def _pairs(values: Mapping[str, Any]) -> str:
    """Return `name value` pairs in one line, numbers with three decimals."""
    texts: list[str] = []
    for name, value in values.items():
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        texts.append(f"{name} {text}")
    return ", ".join(texts)
