"""A list of millions of files that costs megabytes, not gigabytes."""

import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from twinbench.data.errors import DataError


class PathList(Sequence[Path]):
    """The files `names` below `root`, kept as one block of bytes; a Path is made when it is asked for.

    A million Path objects take 0.4 GB, and each worker process forked from a training comes to hold its own copy, as
    reading an object writes its reference count. A block of bytes takes a tenth and stays shared.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        """Keep `names`, relative to `root`, in the order given; DataError for one that cannot be a file below it."""
        self.root = root
        block, ends = bytearray(), array("q", [0])
        for name in names:
            block += _encoded(root, name)
            ends.append(len(block))
        self._block, self._ends = bytes(block), np.array(ends)  # (N + 1,); name i is block[ends[i] : ends[i + 1]]

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "PathList": ...
    def __getitem__(self, index: int | slice) -> "Path | PathList":
        """Return one path, or the list of a slice."""
        if isinstance(index, slice):
            return PathList(self.root, map(self.name, range(*index.indices(len(self)))))
        return self.root / self.name(range(len(self))[index])  # range knows negative and too large indices

    def name(self, index: int) -> str:
        """Return name `index` (from 0), relative to the root."""
        return os.fsdecode(self._block[self._ends[index] : self._ends[index + 1]])


def _encoded(root: Path, name: str) -> bytes:
    """Return a name as the file system's bytes; DataError if it leads out of `root` or no file can be called so."""
    if not name or name[0] == "/" or "\0" in name or (".." in name and ".." in name.split("/")):
        raise DataError(
            f"{root}: a list names the file '{name[:80]}'; expected files below that folder; fetch it again"
        )
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        raise DataError(
            f"{root}: a list names the file '{name[:80]}', which is no text; fetch the list again"
        ) from None
