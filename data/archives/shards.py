"""Which archives DATA means, and which split each belongs to by its name.

tar:set.tar                            one archive
tar:shards                             all in a folder, and in the folders in it: train/0.tar, test/0.tar
tar:shards/train-{0000..0146}.tar      those of a pattern: {a..b}, {a,b}, *, [0-9]
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path

from twinbench.data.errors import DataError
from twinbench.data.folders.imagenet import FOLDERS
from twinbench.data.folders.leavings import is_leaving
from twinbench.data.source import Source

WORDS = {"train": ("train", "training"), "test": FOLDERS["test"]}  # in the names of archives, by preference
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"([0-9]{1,12})\.\.([0-9]{1,12})")
MOST = 100_000  # archives; a set of a petabyte has fewer


@dataclass(frozen=True)
class Shards:
    """The archives of a data set, in the order of the numbers in their names."""

    base: Path  # that the names start from that tell the split
    paths: tuple[Path, ...]
    folders: tuple[Path, ...]  # where others may appear

    def of_split(self, source: Source, split: str) -> tuple[Path, ...]:
        """Return the archives of a split: those that `?split=` names, or else that are called so; none if none is."""
        given = source.named(split)
        if given:
            patterns = expanded(given)
            return tuple(path for path in self.paths if _is_named(self._relative(path), patterns))
        said = {path: _word(self._relative(path)) for path in self.paths}
        for word in WORDS[split]:
            found = tuple(path for path in self.paths if said[path] == word)
            if found:
                return found
        return ()

    def _relative(self, path: Path) -> str:
        return os.path.relpath(path, self.base)


def find_shards(source: Source) -> Shards:
    """Return the archives at a source's place; DataError if there are none, or one of a pattern is not there."""
    path, suffix = source.path.expanduser(), f".{source.form}"
    if path.is_dir():
        return _in_folder(path, suffix)
    if path.exists():
        return Shards(path.parent, (path,), ())
    if not set(str(path)) & set("{*["):
        raise DataError(f"{path}: no such file or folder; expected archives; check the path")
    return _of_pattern(path)


def _in_folder(folder: Path, suffix: str) -> Shards:
    """Return the archives in a folder and in the folders in it."""
    folders = [folder, *(entry for entry in _entries(folder) if entry.is_dir())]
    files = [entry for inner in folders for entry in _entries(inner) if entry.is_file()]
    found = [file for file in files if file.name.lower().endswith(suffix)]
    if found:
        return Shards(folder, _in_order(found), tuple(folders))
    packed = [file for file in files if file.name.lower().endswith(COMPRESSED)]
    if packed and suffix == ".tar":
        raise DataError(
            f"{packed[0]}: compressed, so that no image can be read without all before it; expected plain .tar; unpack"
            " each with `gunzip`, `unzstd` or the like: images hardly shrink"
        )
    shown = ", ".join(sorted(entry.name for entry in _entries(folder))[:3]) or "nothing"
    raise DataError(
        f"{folder}: no {suffix} in it or in the folders in it, but {shown}; expected archives; check the path"
    )


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder, leavings apart: macOS has a ._train.tar beside each train.tar."""
    return (entry for entry in folder.iterdir() if not is_leaving(entry.name))


def _of_pattern(pattern: Path) -> Shards:
    """Return the archives of a pattern."""
    found: list[Path] = []
    for name in expanded(str(pattern)):
        if glob.has_magic(name):
            found += map(Path, glob.glob(name))
        elif os.path.exists(name):
            found.append(Path(name))
        else:
            raise DataError(f"{name}: no such archive; expected all of {pattern}; fetch it, or correct the pattern")
    if not found:
        raise DataError(f"{pattern}: no file is called so; expected archives; check the pattern")
    begin = re.split(r"[{*\[]", str(pattern))[0]
    folders = sorted({path.parent for path in found})
    return Shards(Path(begin).parent if begin[-1:] != "/" else Path(begin), _in_order(set(found)), tuple(folders))


def _in_order(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the paths, 2.tar before 10.tar: one order however the archives were named."""

    def key(path: Path) -> list[str | int]:
        parts = re.split(r"([0-9]+)", str(path))
        return [int(part) if place % 2 else part for place, part in enumerate(parts)]

    return tuple(sorted(paths, key=key))


def expanded(pattern: str) -> list[str]:
    """Return what a pattern with braces stands for, as in bash; DataError for more than anybody has."""
    parts = BRACES.split(pattern)  # text and the insides of braces in turn
    choices = [_choices(part) if place % 2 else [part] for place, part in enumerate(parts)]
    if prod(map(len, choices)) > MOST:
        raise DataError(f"{pattern}: stands for more than {MOST} archives; expected fewer; correct the pattern")
    found = [""]
    for part in choices:
        found = [begun + choice for begun in found for choice in part]
    return found


def _choices(inside: str) -> Sequence[str]:
    """Return what a pair of braces stands for."""
    match = RANGE.fullmatch(inside)
    if match is None:
        return inside.split(",") if "," in inside else ["{" + inside + "}"]
    first, last = int(match[1]), int(match[2])
    width = max(map(len, match.groups())) if match[1][0] == "0" else 0
    step = 1 if last >= first else -1
    if abs(last - first) >= MOST:
        raise DataError(f"{{{inside}}}: more than {MOST} archives; expected fewer; correct the pattern")
    return [f"{number:0{width}}" for number in range(first, last + step, step)]


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    """Say whether a pattern is for an archive: its path, its file name, or the folder it is in."""
    last = name.rpartition("/")[2]
    return any(
        fnmatchcase(name, pattern) or fnmatchcase(last, pattern) or name.startswith(f"{pattern.rstrip('/')}/")
        for pattern in patterns
    )


def _word(name: str) -> str:
    """Return the split's name in an archive's: imagenet1k-train-0000.tar, train/0.tar; empty if there is none."""
    known = {*WORDS["train"], *WORDS["test"]}
    for part in reversed(name.lower().split("/")):
        for word in re.split(r"[^a-z]+", part):
            if word in known:
                return word
    return ""
