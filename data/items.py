"""The images of a split, wherever they lie: files below a folder, members of archives, rows of tables.

A reader returns an ImageList. It says of each image what an identity asks (name, size in bytes) without opening it, and
hands out the image itself as a Path, or as a Stored where it is no file of its own. `read_rgb` takes either.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np


class Stored(ABC):
    """An image that is no file of its own. It can be pickled, for loader processes; `str` names it in messages."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of its name, as of a file."""

    @abstractmethod
    def content(self) -> bytes | np.ndarray:
        """Return the encoded image, or its pixels: uint8 (H, W) or (H, W, 3), RGB. DataError if it cannot be read."""

    @abstractmethod
    def __str__(self) -> str:
        """Return where it lies."""


ImageFile = Path | Stored


class ImageList(Sequence[ImageFile], ABC):
    """Images in their order. Slices, steps included, are lists of the same kind."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return name `index` (from 0) below the root of the data set, with forward slashes: the identity's."""

    @abstractmethod
    def sizes(self) -> Iterator[int]:
        """Yield the size of each image in bytes; DataError names the first that is not there."""

    @abstractmethod
    def watched(self) -> tuple[Path, ...]:
        """Return the files, apart from images that are files, that change when an image does: archives, tables."""

    @abstractmethod
    def select(self, indices: Sequence[int]) -> "ImageList":
        """Return the list of the images at these places, in their order."""

    @abstractmethod
    def one(self, index: int) -> ImageFile:
        """Return image `index`, from 0."""

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageList": ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return one image, or the list of a slice."""
        places = range(len(self))[index]  # range knows negative and too large indices
        return self.one(places) if isinstance(places, int) else self.select(places)
