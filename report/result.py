"""One measured trial is one `result.json`: the only form in which a number travels in twinbench."""

import dataclasses
import itertools
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from twinbench.protocols.earlier import today
from twinbench.protocols.house import UserError, replacing
from twinbench.protocols.identity import NOT_RECORDED, Identity, backbone_identity
from twinbench.protocols.metrics import unit_of
from twinbench.protocols.text import TextError, parse_json, read_text
from twinbench.protocols.typed import checks

ADVICE = "remove it and run the trial again"
SCHEMA = 2  # raised when a field changes its meaning, or a new one is part of the identity; every older one is read
CONVENTION = frozenset({"mean", "std", "order", "scale"})  # what an input convention says, see convert/convention.py


class ResultError(UserError):
    """A file that is no result, or a set of results that contradict each other."""


@dataclass(frozen=True)
class Result:
    """A trial's numbers with everything needed to say what they are numbers of."""

    protocol: str  # its name, see `twinbench protocols`
    version: int  # of the protocol
    fingerprint: str  # of the recipe as it ran, overrides included
    method: str  # the row of the table
    seed: int  # of the trial
    metrics: dict[str, float]  # percent, higher is better; but for errors of depth
    headline: str  # the key of `metrics` that the table shows
    backbone_sha256: str  # of the tensors, not of the file
    architecture: str = ""  # of the backbone: resnet50, resnet50-w0.25, timm:NAME, a class; empty: not recorded
    # What the backbone expects of an image: mean, std, order, scale; empty: not recorded, as before schema 2
    convention: dict[str, Any] = field(default_factory=dict[str, Any])
    data: str = ""  # name of the data set, or the label that it was given
    data_sha256: str = ""  # of the lists of its splits: paths, sizes, labels; empty: not recorded, as before schema 2
    precision: str = ""  # of the network: fp32, tf32, bf16, fp16; empty: not recorded
    overrides: dict[str, str] = field(default_factory=dict[str, str])  # settings that differ from the named protocol
    images: dict[str, int] = field(default_factory=dict[str, int])  # split -> images that were really used
    images_expected: dict[str, int] = field(default_factory=dict[str, int])  # split -> images of the complete data set
    limit: int = 0  # the most images that were taken of each split, of a trial run; 0: all
    selected_on: str = ""  # what the recipe's own choices were made on
    converged: bool = True  # false if a chosen solver stopped at its iteration limit
    # For plots: name -> [[x, y], ...], or [[x, y, std], ...]
    curves: dict[str, list[list[float]]] = field(default_factory=dict[str, list[list[float]]])
    pictures: list[str] = field(default_factory=list[str])  # file names beside result.json
    details: dict[str, Any] = field(default_factory=dict[str, Any])  # what the room adds: chosen costs, per-class AP
    wall_seconds: float = 0.0  # of the trial's last start
    device: str = ""  # that computed
    command: str = ""  # line that ran the trial
    code: dict[str, str] = field(default_factory=dict[str, str])  # root, commit, dirty
    versions: dict[str, str] = field(default_factory=dict[str, str])  # of python and the packages that computed
    finished: str = ""  # UTC, ISO 8601
    imported: str = ""  # the program whose log the numbers were read from; empty: measured by twinbench
    schema: int = SCHEMA  # of this file

    @property
    def identity(self) -> Identity:
        """What the numbers are numbers of.

        Parts that an older twinbench did not record are NOT_RECORDED.
        """
        backbone = NOT_RECORDED
        if self.backbone_sha256:  # an imported result does not know its weights
            backbone = backbone_identity(self.backbone_sha256, self.architecture, self.convention)
        return Identity(self.fingerprint, backbone, self.data_sha256 or NOT_RECORDED, self.seed)

    @property
    def line(self) -> str:
        """The numbers in one line, for a terminal."""
        values = "  ".join(f"{name} {value:.{unit_of(name).decimals + 1}f}" for name, value in self.metrics.items())
        return f"{self.protocol}  {self.method}  seed {self.seed}  {values}"

    def write(self, folder: Path) -> Path:
        """Write `folder/result.json` in one step and return its path.

        Its presence means the trial is finished.
        """
        path = folder / "result.json"
        with replacing(path) as beside:
            beside.write_text(json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n")
        return path


def convention_words(convention: Mapping[str, Any]) -> str:
    """Return an input convention in one line: `bgr, scale 255, mean 103.53 116.28 123.675, std 1 1 1`."""

    def numbers(name: str) -> str:
        values = convention.get(name)
        return " ".join(map(str, cast("list[Any]", values))) if isinstance(values, list | tuple) else str(values)

    return f"{convention.get('order')}, scale {convention.get('scale')}, mean {numbers('mean')}, std {numbers('std')}"


REQUIRED = frozenset(
    entry.name
    for entry in dataclasses.fields(Result)
    if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
)


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
        return parse_result(read_text(path, ADVICE), path)
    except TextError as error:
        raise ResultError(str(error)) from None


def parse_result(text: str, path: Path) -> Result:
    """Return what the text of the file `path` holds, as `read_result` does."""
    try:
        found = parse_json(text, str(path), ADVICE)
    except TextError as error:
        raise ResultError(str(error)) from None
    if not isinstance(found, dict):
        raise ResultError(f"{path}: holds no JSON object, expected one with a result's fields; {ADVICE}")
    given = cast("dict[str, Any]", found)
    missing, extra = sorted(REQUIRED - given.keys()), sorted(given.keys() - checks(Result).keys())
    if missing or extra:
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown fields {', '.join(extra)}"
        raise ResultError(f"{path}: {what}; expected a twinbench result of schema {SCHEMA} or older; {ADVICE}")
    result = Result(**given)
    _check(path, result)
    if result.schema == 1 and not result.imported:
        result = dataclasses.replace(result, fingerprint=today(result.protocol, result.version, result.fingerprint))
    return result


def _check(path: Path, result: Result) -> None:
    """Raise ResultError where a value has the wrong type.

    Results come from other people's folders.
    """
    if type(result.schema) is int and result.schema > SCHEMA:
        raise ResultError(f"{path}: schema {result.schema} is newer than {SCHEMA}; update twinbench to read it")
    values = vars(result)
    for name, (hint, fits) in checks(Result).items():
        if not fits(values[name]):
            raise ResultError(f"{path}: {name} is {_short(values[name])}, expected {_words(hint)}")
    wrong = {name: value for name, value in result.metrics.items() if not 0 <= value <= unit_of(name).most}
    if wrong:
        raise ResultError(f"{path}: metrics are {_short(wrong)}, expected percents from 0 to 100, errors from 0")
    points = itertools.chain.from_iterable(result.curves.values())
    if not set(map(len, points)) <= {2, 3}:
        raise ResultError(f"{path}: a curve has points that are not [x, y] or [x, y, std]")
    if result.convention and result.convention.keys() != CONVENTION:
        raise ResultError(
            f"{path}: convention is {_short(result.convention)}, expected {', '.join(sorted(CONVENTION))}"
        )
    if result.headline not in result.metrics:
        raise ResultError(f"{path}: the headline metric {result.headline!r} is not among {sorted(result.metrics)}")


def _short(value: object) -> str:
    """Show a value that does not belong in one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _words(hint: Any) -> str:
    """Name a type for people."""
    if hint is float:
        return "a finite number"
    return str(hint) if typing.get_args(hint) else hint.__name__
