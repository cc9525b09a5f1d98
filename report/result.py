"""One measured trial is one `result.json`: the only form in which a number travels in twinbench."""

import dataclasses
import json
import math
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from protocols.house import UserError, replacing

SCHEMA = 1  # raised when a field changes its meaning; readers accept every older one

_REQUIRED = (dataclasses.MISSING, dataclasses.MISSING)  # default and default factory of a field that has neither


class ResultError(UserError):
    """A file that is no result, or a set of results that contradict each other."""


@dataclass(frozen=True)
class Result:
    """A trial's numbers with everything needed to say what they are numbers of."""

    protocol: str
    version: int
    fingerprint: str  # of the recipe as it ran, overrides included
    method: str  # the row of the table
    seed: int
    metrics: dict[str, float]  # percent, higher is better
    headline: str  # the key of `metrics` that the table shows
    backbone_sha256: str  # of the tensors, not of the file
    overrides: dict[str, str] = field(default_factory=dict[str, str])  # settings that differ from the named protocol
    images: dict[str, int] = field(default_factory=dict[str, int])  # split -> images that were really used
    images_expected: dict[str, int] = field(default_factory=dict[str, int])  # split -> images of the complete data set
    selected_on: str = ""  # what the recipe's own choices were made on
    converged: bool = True  # false if a chosen solver stopped at its iteration limit
    curves: dict[str, list[list[float]]] = field(
        default_factory=dict[str, list[list[float]]]
    )  # name -> [[x, y], ...] for plots
    pictures: list[str] = field(default_factory=list[str])  # file names beside result.json
    details: dict[str, Any] = field(
        default_factory=dict[str, Any]
    )  # what the room adds: chosen costs, per-class AP, ...
    wall_seconds: float = 0.0
    device: str = ""
    command: str = ""
    code: dict[str, str] = field(default_factory=dict[str, str])  # root, commit, dirty
    versions: dict[str, str] = field(
        default_factory=dict[str, str]
    )  # python and the packages that computed the numbers
    finished: str = ""  # UTC, ISO 8601
    schema: int = SCHEMA

    def write(self, folder: Path) -> Path:
        """Write `folder/result.json` in one step and return its path; its presence means the trial is finished."""
        path = folder / "result.json"
        with replacing(path) as beside:
            beside.write_text(json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n")
        return path


def read_results(paths: Iterable[Path | str]) -> list[Result]:
    """Read results from files, or from every `result.json` below folders, in path order."""
    return [read_result(path) for path in result_files(paths)]


def result_files(paths: Iterable[Path | str]) -> list[Path]:
    """Return the given files, and every `result.json` below the given folders, each once, in path order."""
    files: dict[Path, Path] = {}  # resolved -> as found: a folder given twice counts once
    for path in map(Path, paths):
        if not path.exists():
            raise ResultError(f"{path}: no such file or folder; expected a result.json or a folder of them")
        for file in sorted(path.rglob("result.json")) if path.is_dir() else [path]:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def read_result(path: Path) -> Result:
    """Read one `result.json`, checking its fields and their types."""
    try:
        found: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not readable as JSON ({error}); run the trial again to replace it") from None
    if not isinstance(found, dict):
        raise ResultError(f"{path}: holds no JSON object, expected one with a result's fields")
    given = cast("dict[str, Any]", found)
    fields = {entry.name: entry for entry in dataclasses.fields(Result)}
    optional = {name for name, entry in fields.items() if (entry.default, entry.default_factory) != _REQUIRED}
    missing, extra = sorted(set(fields) - optional - set(given)), sorted(set(given) - set(fields))
    if missing or extra:
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown fields {', '.join(extra)}"
        raise ResultError(f"{path}: {what}; expected a twinbench result of schema {SCHEMA} or older")
    result = Result(**given)
    _check(path, result)
    return result


def _check(path: Path, result: Result) -> None:
    """Raise ResultError where a value has the wrong type; results come from other people's folders."""
    if result.schema > SCHEMA:
        raise ResultError(f"{path}: schema {result.schema} is newer than {SCHEMA}; update twinbench to read it")
    for name, hint in typing.get_type_hints(Result).items():
        if not _fits(getattr(result, name), hint):
            raise ResultError(f"{path}: {name} is {_short(getattr(result, name))}, expected {_words(hint)}")
    if result.headline not in result.metrics:
        raise ResultError(f"{path}: the headline metric {result.headline!r} is not among {sorted(result.metrics)}")


def _fits(value: object, hint: Any) -> bool:
    """Say whether a JSON value is of the type a field is declared with; a float must be finite, an int will do."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(part, parts[1]) for part in cast("dict[str, Any]", value).values())
    if typing.get_origin(hint) is list:
        return isinstance(value, list) and all(_fits(part, parts[0]) for part in cast("list[Any]", value))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)


def _short(value: object) -> str:
    """Show a value that does not belong in one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _words(hint: Any) -> str:
    """Name a type for people."""
    if hint is float:
        return "a finite number"
    return str(hint) if typing.get_args(hint) else hint.__name__
