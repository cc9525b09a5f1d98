"""The images in archives, read where they lie: an index of millions of members in arrays, and lists of images of it."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from twinbench.data.archives.kept import kept_arrays
from twinbench.data.archives.opened import Archive
from twinbench.data.archives.tars import plain, tar_files
from twinbench.data.archives.zips import unzipped, zip_files
from twinbench.data.errors import DataError
from twinbench.data.folders.leavings import is_leaving
from twinbench.data.folders.walk import LEAVING
from twinbench.data.items import ImageList, Stored
from twinbench.data.names import Names

PLAIN = -1  # the method of a member that lies in its archive as it is
LARGEST = 300_000_000  # bytes of an image: 89 million pixels, the most that are decoded, take 268 million
ARCHIVE, AT, SIZE, PACKED, CRC, METHOD = range(6)  # columns of an index
LONGEST = 4096  # bytes of a name: what Linux takes as a path
ODD = re.compile(rb"[\0-\x1f\x7f\\]")  # control characters; what Windows divides names with


@dataclass(frozen=True)
class Member(Stored):
    """One file in an archive."""

    archive: Archive
    member: str
    row: tuple[int, ...]  # of the index

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self.member.rpartition("/")[2]

    def content(self) -> bytes:
        """Return the file's bytes."""
        _, at, size, packed, crc, method = self.row
        if max(size, packed) > LARGEST:
            raise DataError(f"{self}: {size} bytes; expected an image, of {LARGEST} bytes at most; remove it")
        self.archive.require_same()
        if method == PLAIN:
            return self.archive.read(at, size)
        return unzipped(self.archive, at, size, packed, crc, method)

    def __str__(self) -> str:
        """Return the archive's path and the name in it."""
        return f"{self.archive.path}:{self.member}"


@dataclass(frozen=True, eq=False)
class Index:
    """Files and folders in archives. A folder's name ends in a slash; there are no leavings."""

    archives: tuple[Archive, ...]
    names: Names
    rows: np.ndarray  # (N, 6) int64: see the columns above
    left_out: dict[str, int]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.rows)

    def member(self, index: int) -> Member:
        """Return one of them."""
        row = tuple(self.rows[index].tolist())
        return Member(self.archives[row[ARCHIVE]], self.names[index], row)


class MemberList(ImageList):
    """Images of an index, by names below the root of the data set."""

    def __init__(self, index: Index, places: np.ndarray, root: str = "") -> None:
        """Take the members at `places`, (N,) int64; `root` is what stands before all their names."""
        self._index, self._places, self._root = index, places, root

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._places)

    def one(self, index: int) -> Member:
        """Return one image."""
        return self._index.member(int(self._places[index]))

    def select(self, indices: Sequence[int]) -> "MemberList":
        """Return the images at these places."""
        return MemberList(self._index, self._places[np.asarray(indices, dtype=np.int64)], self._root)

    def name(self, index: int) -> str:
        """Return name `index` (from 0), without the root."""
        return self._index.names[int(self._places[index])].removeprefix(self._root)

    def sizes(self) -> Iterator[int]:
        """Yield the sizes; the archives are asked whether they are still the ones that were listed."""
        for archive in self._archives():
            if Archive.of(archive.path)[:3] != archive[:3]:
                raise DataError(f"{archive.path}: changed since it was listed; expected it to stay; run again")
        yield from self._index.rows[self._places, SIZE].tolist()

    def watched(self) -> tuple[Path, ...]:
        """Return the archives."""
        return tuple(Path(archive.path) for archive in self._archives())

    def _archives(self) -> list[Archive]:
        used = np.unique(self._index.rows[self._places, ARCHIVE])
        return [self._index.archives[number] for number in used.tolist()]


Entry = tuple[bytes, tuple[int, ...]]  # name; place, size, packed size, CRC and method


def _in_tar(archive: Archive, left_out: Counter[str]) -> Iterator[Entry]:
    for name, at, size in tar_files(archive, left_out):
        yield name, (at, size, size, 0, PLAIN)


def _in_zip(archive: Archive, left_out: Counter[str]) -> Iterator[Entry]:
    for name, *rest in zip_files(archive):
        yield name, tuple(rest)


# The registry: a new kind of archive is a walk through its names, and one line here.
KINDS: dict[str, Callable[[Archive, Counter[str]], Iterator[Entry]]] = {"tar": _in_tar, "zip": _in_zip}


@lru_cache(maxsize=3)  # training, test, and one to spare: both splits ask for the training labels
def indexed(kind: str, archives: tuple[Archive, ...]) -> Index:
    """Return what is in the archives, of a kind of KINDS, from a kept index if there is one."""
    question = ["index 1", kind, *(archive.path for archive in archives)]
    kept = kept_arrays(question, [Path(archive.path) for archive in archives], lambda: _read(kind, archives))
    counts = dict(zip(Names(kept["why"].tobytes(), kept["why_ends"]), kept["counts"].tolist(), strict=True))
    return Index(archives, Names(kept["names"].tobytes(), kept["ends"]), kept["rows"], counts)


def _read(kind: str, archives: tuple[Archive, ...]) -> dict[str, np.ndarray]:
    """Return the arrays of an index."""
    left_out: Counter[str] = Counter()
    rows: list[np.ndarray] = []

    def names() -> Iterator[bytes]:
        for number, archive in enumerate(archives):
            columns = array("q")
            for name, row in KINDS[kind](archive, left_out):
                plain_name = _vetted(archive, name)
                if plain_name:
                    columns.extend((number, *row))
                    yield plain_name
                elif not name.endswith(b"/"):
                    left_out[LEAVING] += 1
            rows.append(np.frombuffer(columns, dtype=np.int64).reshape(-1, 6))

    found = Names.of(names())
    why = Names.of(os.fsencode(reason) for reason in left_out)
    return {
        "names": np.frombuffer(found.block, dtype=np.uint8),
        "ends": found.ends,
        "rows": np.concatenate(rows),
        "why": np.frombuffer(why.block, dtype=np.uint8),
        "why_ends": why.ends,
        "counts": np.array([*left_out.values()], dtype=np.int64),
    }


def _vetted(archive: Archive, name: bytes) -> bytes:
    """Return a member's name without what means nothing in it; empty for a leaving, and for the root itself.

    DataError for a name that would lead out of the folder where the archive is unpacked.
    """
    odd = len(name) > LONGEST or ODD.search(name) is not None
    if odd or name[:1] in (b"/", b".") or b"./" in name or b"//" in name or name.endswith((b"/.", b"/..")):
        name = _cleaned(archive, name, odd)
    folder, slash, last = name.rpartition(b"/")
    if slash and _is_left(folder):
        return b""
    return b"" if last and is_leaving(os.fsdecode(last)) else name


def _cleaned(archive: Archive, name: bytes, odd: bool) -> bytes:
    """Return a name without what means nothing in it; DataError if it leads out, or is `odd` and no leaving."""
    parts = os.fsdecode(name).split("/")
    if len(name) > LONGEST or name[:1] == b"/" or ".." in parts or (odd and not any(map(is_leaving, parts))):
        raise DataError(
            f"{archive.path}: holds '{os.fsdecode(name)[:80]}', which is no plain name below its folder; expected"
            " folder/file; make the archive anew"
        )
    found = plain(name)
    return b"" if found == b"." else found + b"/" * name.endswith(b"/")


@lru_cache(maxsize=1 << 12)
def _is_left(folder: bytes) -> bool:
    """Say whether a folder, or one above it, is a leaving."""
    return any(map(is_leaving, os.fsdecode(folder).split("/")))
