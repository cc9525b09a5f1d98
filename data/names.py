"""Millions of names in one block of bytes."""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class Names:
    """Names as the file system's bytes, one behind the other; a str is made when it is asked for.

    A million str objects take 0.1 GB, and each worker process forked from a training comes to hold its own copy, as
    reading an object writes its reference count. A block of bytes takes half and stays shared.
    """

    def __init__(self, block: bytes | bytearray, ends: np.ndarray) -> None:
        """Name i is `block[ends[i] : ends[i + 1]]`; `ends` is (N + 1,) int64 from 0."""
        self.block, self.ends = block, ends

    @classmethod
    def of(cls, names: Iterable[bytes]) -> "Names":
        """Return the names, encoded with `os.fsencode`, in their order."""
        block, ends = bytearray(), array("q", [0])
        for name in names:
            block += name
            ends.append(len(block))
        return cls(bytes(block), np.array(ends))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:
        """Return name `index`, from 0."""
        return os.fsdecode(self.raw(index))

    def __iter__(self) -> Iterator[str]:
        """Yield each name."""
        return map(self.__getitem__, range(len(self)))

    def raw(self, index: int) -> bytes:
        """Return name `index`, from 0, as bytes."""
        return bytes(self.block[self.ends[index] : self.ends[index + 1]])

    def select(self, indices: Sequence[int]) -> "Names":
        """Return the names at these places, in their order."""
        return Names.of(map(self.raw, indices))
