"""What stands behind a cell: its trials' facts, those they share told once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twinbench.protocols.schema import flat
from twinbench.report.files import Located
from twinbench.report.grid import Cell, Column
from twinbench.report.result import convention_words
from twinbench.runtime.duration import duration


@dataclass(frozen=True)
class Details:
    """A cell's facts: shared by all its trials, and each trial's own, as name -> text."""

    shared: Mapping[str, str]
    trials: tuple[Mapping[str, str], ...]


def details(cell: Cell, environments: dict[str, int]) -> Details:
    """Return the facts of a cell; what is not known is left out.

    Software and machine are told by their number in `environments`, which grows. What is equal in all trials is put
    into words once: a page may hold tens of thousands of them.
    """
    shared: dict[str, str] = {}
    own: list[dict[str, str]] = [{} for _ in cell.trials]
    for name, (ask, words) in FACTS.items() if own else ():
        values = [ask(trial) for trial in cell.trials]
        equal = values.count(values[0]) == len(values)
        texts = [words(values[0])] * len(values) if equal else [words(value) for value in values]
        if name == "environment":
            texts = [str(environments.setdefault(text, len(environments) + 1)) for text in texts]
        common = len(own) == 1 or (name != "seed" and len(set(texts)) == 1)
        for facts, text in zip([shared] if common else own, texts, strict=False):
            if text:
                facts[name] = text
    return Details(shared, tuple(own) if len(own) > 1 else ())


def recipe_fields(column: Column) -> dict[str, str]:
    """Return every field of a column's recipe as --set takes it.

    Nothing for a recipe that is not the named one.
    """
    return dict(flat(column.named.recipe)) if column.named else {}


def _environment(told: tuple[Mapping[str, str], str, Mapping[str, str]]) -> str:
    """Return the code, the device and the versions of a result in one line."""
    code, device, versions = told
    commit = code.get("commit", "unknown")[:12]
    changed = " with local changes" if code.get("dirty") == "True" else ""
    return f"code {commit}{changed}; device {device or 'unknown'}; {_pairs(versions)}"


def _shortened(told: tuple[str, str]) -> str:
    """Return a name and the start of a sha256."""
    return f"{told[0]} {told[1][:12]}".strip()


def _pairs(values: Mapping[str, Any]) -> str:
    """Return `name value` pairs in one line, numbers with three decimals."""
    texts: list[str] = []
    for name, value in values.items():
        text = f"{value:.3f}" if isinstance(value, float) else str(value)
        texts.append(f"{name} {text}")
    return ", ".join(texts)


# What is told of a trial: what of it, and how that is said; an empty text is not shown
FACTS: dict[str, tuple[Callable[[Located], Any], Callable[[Any], str]]] = {
    "seed": (lambda trial: trial.result.seed, str),
    "metrics": (lambda trial: trial.result.metrics, _pairs),
    "settings changed": (lambda trial: trial.result.overrides, _pairs),
    "backbone": (lambda trial: (trial.result.architecture, trial.result.backbone_sha256), _shortened),
    "input convention": (lambda trial: trial.result.convention, lambda found: convention_words(found) if found else ""),
    "data": (lambda trial: (trial.result.data, trial.result.data_sha256), _shortened),
    "images": (lambda trial: trial.result.images, _pairs),
    "precision": (lambda trial: trial.result.precision, str),
    "selected on": (lambda trial: trial.result.selected_on, str),
    "took": (lambda trial: trial.result.wall_seconds, lambda found: duration(found) if found else ""),
    "finished": (lambda trial: trial.result.finished, str),
    "command": (lambda trial: trial.result.command, str),
    "environment": (lambda trial: (trial.result.code, trial.result.device, trial.result.versions), _environment),
    "file": (lambda trial: trial.path, str),
}
