"""Images that lie as pixels in one array: what CIFAR, SVHN, STL-10 and MNIST are."""

import os
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.items import ImageList, Stored


class Pixels(Protocol):
    """An array of images, uint8 (N, H, W) or (N, H, W, 3)."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    def __getitem__(self, row: int, /) -> np.ndarray: ...


class ArrayImage(Stored):
    """One image of an array; it is pickled with its pixels, not with the array."""

    def __init__(self, name: str, where: str, pixels: np.ndarray) -> None:
        """Keep the pixels, uint8 (H, W) or (H, W, 3)."""
        self._name, self._where, self._pixels = name, where, pixels

    @property
    def name(self) -> str:
        """The last part of its name."""
        return self._name

    def content(self) -> np.ndarray:
        """Return the pixels."""
        return np.ascontiguousarray(self._pixels)

    def __str__(self) -> str:
        """Return where it lies."""
        return f"{self._where}, image {self._name}"


class ArrayList(ImageList):
    """The `rows` of an array, all where none are given.

    All images of an array are equally large, so that sizes tell nothing: a name ends in a checksum of its pixels.
    """

    def __init__(
        self, pixels: Pixels, where: str, prefix: str, files: Sequence[Path] = (), rows: np.ndarray | None = None
    ) -> None:
        """Keep `pixels`, read from `files`; `where` is what messages say, `prefix` what names begin with."""
        self._pixels, self._where, self._prefix, self._files = pixels, where, prefix, tuple(files)
        self._rows = np.arange(pixels.shape[0]) if rows is None else rows

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def name(self, index: int) -> str:
        """Return the name of an image: its row, from 0, and the CRC-32 of its pixels."""
        row = int(self._rows[index])
        checksum = zlib.crc32(self._pixels[row].tobytes())
        return f"{self._prefix}/{row:06}-{checksum:08x}"

    def sizes(self) -> Iterator[int]:
        """Yield the number of bytes of each image's pixels."""
        each = int(np.prod(self._pixels.shape[1:]))
        return (each for _ in self._rows)

    def watched(self) -> tuple[Path, ...]:
        """Return the files that the array was read from."""
        return self._files

    def select(self, indices: Sequence[int]) -> "ArrayList":
        """Return the images at these places."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return ArrayList(self._pixels, self._where, self._prefix, self._files, rows)

    def one(self, index: int) -> ArrayImage:
        """Return one image."""
        row = int(self._rows[index])
        return ArrayImage(f"{row:06}", self._where, self._pixels[row])


class HdfPixels:
    """An array in an HDF5 file, such as PCAM's 7 GB: each process opens the file for itself and reads what is asked."""

    def __init__(self, path: Path, name: str) -> None:
        """Open the array `name`; OSError or KeyError where there is none."""
        self._path, self._name = path, name
        self._shape = tuple(_hdf(path, os.getpid())[name].shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self._shape

    def __getitem__(self, row: int) -> np.ndarray:
        """Read one image; DataError where the file is damaged."""
        try:
            return _hdf(self._path, os.getpid())[self._name][row]
        except (OSError, KeyError) as error:
            raise DataError(f"{self._path}: row {row} cannot be read ({error}); fetch the file again") from None


@lru_cache(maxsize=8)
def _hdf(path: Path, process: int) -> Any:
    """Open a file once in each process: HDF5's handles do not outlive a fork."""
    import h5py  # here, as few need it

    return h5py.File(path, "r")
