"""Files of the patches of some images: each image's (P, F) float32, as they are or compressed, read one by one.

    00000.npy    (n, P, F)
    00000.zlib   how many bytes each image takes, (n,) int64 in numpy's form, and then those bytes

Compressed are the bytes of the numbers, all first ones before all second ones: of numbers of about one size sign and
exponent repeat, and of what a network gave in bf16 half of the bytes are 0. Not a bit is lost.
"""

import contextlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from twinbench.convert.files import save_array
from twinbench.dense.places import DenseError

PLAIN, COMPRESSED = ".npy", ".zlib"
TYPE = np.dtype("<f4")
LENGTH = np.dtype("<i8")  # of an image's compressed bytes


@dataclass(frozen=True)
class KeptPatches(Dataset[Tensor]):
    """The patches (P, F) of each of so many images, in a folder of shards."""

    folder: Path
    images: int
    size: int  # images of a shard, of the last one fewer
    shape: tuple[int, int]  # P, F

    def __len__(self) -> int:
        """Return the number of images."""
        return self.images

    @property
    def shards(self) -> int:
        """How many shards there are, when they are made."""
        return -(-self.images // self.size)

    def path(self, shard: int) -> Path:
        """Return the name of a shard without what follows the point."""
        return self.folder / f"{shard:05d}"

    def images_of(self, shard: int) -> range:
        """Return the places of a shard's images."""
        return range(self.images)[shard * self.size : (shard + 1) * self.size]

    def is_there(self, shard: int) -> bool:
        """Say whether a shard is made, in either form."""
        return any(self.path(shard).with_suffix(form).exists() for form in (PLAIN, COMPRESSED))

    def __getitem__(self, index: int) -> Tensor:
        """Return the patches (P, F) of an image."""
        shard, place = divmod(index, self.size)
        return torch.from_numpy(read_image(self.path(shard), place, len(self.images_of(shard)), self.shape))

    def rows(self, numbers: np.ndarray) -> Tensor:
        """Return the patches (n, F) with these numbers, counted through all images."""
        image, patch = np.divmod(numbers, self.shape[0])
        found = torch.empty(len(numbers), self.shape[1])
        for index in np.unique(image):
            here = np.flatnonzero(image == index)
            found[here] = self[index][patch[here]]
        return found


def write_shard(path: Path, images: Sequence[np.ndarray], *, compress: bool) -> None:
    """Write the patches (P, F) of images as the shard of this name, in one step."""
    if not compress:
        save_array(images, (len(images), *images[0].shape), TYPE, path.with_suffix(PLAIN))
        return
    parts = [_compressed(image) for image in images]
    lengths = np.array([len(part) for part in parts], LENGTH)
    save_array([lengths, *parts], lengths.shape, LENGTH, path.with_suffix(COMPRESSED))


def read_image(path: Path, place: int, images: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the patches (P, F) of one of the images of the shard of this name; DenseError if they are not there."""
    plain = path.with_suffix(PLAIN)
    try:
        with contextlib.suppress(FileNotFoundError), plain.open("rb") as file:
            return _plain(file, place, (images, *shape))
        path = path.with_suffix(COMPRESSED)
        with path.open("rb") as file:
            return _decompressed(file, place, images, shape)
    except FileNotFoundError:
        raise DenseError(
            f"{plain}: gone, and no {path.name} either; expected the patches of {images} images; run again, and they "
            "are made"
        ) from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # numpy raises several kinds on damaged headers
        where = plain if plain.exists() else path
        raise DenseError(
            f"{where}: damaged ({error}); expected the patches of {images} images; remove it and run again"
        ) from None


def _plain(file: BinaryIO, place: int, shape: tuple[int, ...]) -> np.ndarray:
    """Read one image of a plain shard; ValueError, or numpy's errors, for anything else."""
    _require_header(file, shape, TYPE)
    count = shape[1] * shape[2]
    file.seek(place * count * TYPE.itemsize, 1)
    found = np.fromfile(file, TYPE, count)
    if len(found) < count:
        raise ValueError("too short")
    return found.reshape(shape[1:])


def _decompressed(file: BinaryIO, place: int, images: int, shape: tuple[int, int]) -> np.ndarray:
    """Read one image of a compressed shard; ValueError, or zlib's and numpy's errors, for anything else."""
    _require_header(file, (images,), LENGTH)
    lengths = np.fromfile(file, LENGTH, images)
    whole = file.tell() + int(lengths.sum()) == os.fstat(file.fileno()).st_size
    if len(lengths) < images or lengths.min() < 0 or not whole:
        raise ValueError("its images do not fill it")
    file.seek(int(lengths[:place].sum()), 1)
    expected = TYPE.itemsize * shape[0] * shape[1]
    content = zlib.decompressobj().decompress(file.read(int(lengths[place])), expected + 1)  # no more, whatever it is
    if len(content) != expected:
        raise ValueError("an image of another size")
    planes = np.frombuffer(content, np.uint8).reshape(TYPE.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(TYPE).reshape(shape)


def _compressed(image: np.ndarray) -> bytes:
    """Compress the patches of an image: by runs of equal bytes and their frequencies alone.

    Looking for longer repetitions, of which there are none, takes twice the time for no more.
    """
    planes = np.ascontiguousarray(image.reshape(-1).view(np.uint8).reshape(-1, TYPE.itemsize).T)
    compressor = zlib.compressobj(1, zlib.DEFLATED, strategy=zlib.Z_RLE)
    return compressor.compress(planes.data) + compressor.flush()


def _require_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Read a header of numpy's; ValueError, or another of numpy's errors, unless it says this shape and type."""
    np.lib.format.read_magic(file)
    found = np.lib.format.read_array_header_1_0(file)
    if found != (shape, False, dtype):
        raise ValueError(f"it holds {found[2]} {found[0]}")
