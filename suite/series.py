"""The checkpoints of a pretraining that may still run, as methods NAME@NUMBER: a glob, looked at anew on each reading.

The number is the last one in what the glob leaves open, an epoch or a step: `runs/bt/*.pth` finds epoch0040.pth, which
is `bt@0040`, and `out/checkpoint-*/model.safetensors` finds step 500, `bt@0500`. Files without a number are left out:
trainings replace those in place (checkpoint.pth, last.ckpt), so that no measurement of one would stay true.
A file that jobs were started for is written down beside their results. It stays a method from then on, also while
somebody touches the file, and when the training has removed it to make room.
"""

import fnmatch
import glob
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, read_json
from twinbench.suite.entries import SuiteError, as_name

SETTLED_SECONDS = 30.0  # writing gigabytes to a shared disk pauses for some; an epoch takes longer
DIGITS = 4  # at least, so that names of epochs sort; a file's own zeros stay
MOST_NAMED = 3
TAKEN = "checkpoint.json"  # in a method's folder: the file that it stands for
_SUFFIX = re.compile(r"\.[A-Za-z]+[0-9]?$")  # .h5 and .pt2 hold no number of a training
# nor do what our own commands write, resnet50.pth and detectron2.pth
_NAMED = re.compile(r"(resnet(18|34|50|101|152|200)|detectron2)(?![0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Files:
    """What a glob finds."""

    pattern: Path = Path()
    checkpoints: Mapping[str, Path] = field(default_factory=dict)  # by the method's name, in the order of their numbers
    growing: tuple[Path, ...] = ()  # changed a moment ago: perhaps half-written
    unnumbered: tuple[Path, ...] = ()


def look(name: str, pattern: Path, root: Path, where: str) -> Files:
    """Return the checkpoints that `pattern` finds now, and those that jobs below `root` were started for before."""
    taken = dict(_taken(name, pattern, root))
    found: dict[int, tuple[str, Path]] = {}
    growing: list[Path] = []
    unnumbered: list[Path] = []
    for path in sorted(map(Path, glob.glob(str(pattern), recursive=True))):
        digits = _number(path, pattern)
        if not digits:
            unnumbered.append(path)
            continue
        method = as_name(f"{name}@{digits.zfill(DIGITS)}", where)
        first = found.setdefault(int(digits), (method, path))[1]
        if first != path:
            raise SuiteError(
                f"{where}.checkpoints: {first} and {path} both have the number {int(digits)}; expected one file of "
                "each number; narrow the glob"
            )
        if method not in taken and not settled(path):
            growing.append(path)
    for method, path in taken.items():
        found.setdefault(int(method.rpartition("@")[2]), (method, path))
    ready = {method: path for _, (method, path) in sorted(found.items()) if path not in growing}
    return Files(pattern, ready, tuple(growing), tuple(unnumbered))


def describe(name: str, files: Files) -> str:
    """Tell in a line what was found, and what was left out and why."""
    found = list(files.checkpoints)
    count = f"{len(found)} checkpoint{'s' if len(found) > 1 else ''}"
    told = [f"{count}, up to {found[-1]}" if found else f"no checkpoint yet at {files.pattern}"]
    if files.growing:
        told.append(f"{_listed(files.growing)} changed within {SETTLED_SECONDS:.0f} s and will be looked at again")
    if files.unnumbered:
        told.append(f"left out, without a number in the name: {_listed(files.unnumbered)}")
    return f"methods.{name}: {'; '.join(told)}"


def _listed(paths: Sequence[Path]) -> str:
    """Name some files."""
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return ", ".join(path.name for path in paths[:MOST_NAMED]) + more


def settled(path: Path) -> bool:
    """Say whether a file, or every file of a folder, has been left alone for a while; not if it is gone."""
    try:
        files = [path, *path.rglob("*")] if path.is_dir() else [path]
        return max(file.stat().st_mtime for file in files) < time.time() - SETTLED_SECONDS
    except OSError:
        return False


def stamp(path: Path) -> tuple[int, int] | None:
    """Return what differs once a file has been written again; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def take(root: Path, checkpoints: Mapping[str, Path]) -> None:
    """Write down which file each method of a series stands for, before jobs are started for it."""
    for method, path in checkpoints.items():
        record = root / method / TAKEN
        if _recorded(record) == path:
            continue
        record.parent.mkdir(parents=True, exist_ok=True)
        with replacing(record) as beside:
            beside.write_text(json.dumps({"checkpoint": str(path)}) + "\n")


def _taken(name: str, pattern: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the methods of `name` that were written down, as far as the glob still means their files."""
    for record in sorted(root.glob(f"{name}@*/{TAKEN}")):
        path = _recorded(record)
        training, _, number = record.parent.name.rpartition("@")
        if path and training == name and number.isdecimal() and fnmatch.fnmatchcase(str(path), str(pattern)):
            yield record.parent.name, path


def _recorded(record: Path) -> Path | None:
    """Return the file that was written down; None where nothing readable was."""
    try:
        return Path(read_json(record)["checkpoint"])
    except (TextError, KeyError, TypeError):
        return None


def _number(path: Path, pattern: Path) -> str:
    """Return the digits of the last number in what the glob leaves open; empty if there is none."""
    fixed = next((at for at, part in enumerate(pattern.parts) if glob.has_magic(part)), len(pattern.parts) - 1)
    text = _NAMED.sub("", _SUFFIX.sub("", "/".join(path.parts[fixed:])))
    return (re.findall("[0-9]+", text) or [""])[-1]
