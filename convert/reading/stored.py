"""Tensors that are still in their file: name, shape and dtype are known, the values are fetched when asked for.

A checkpoint of 1.4 GB has 100 MB of backbone; only these are ever read.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from twinbench.convert.files import CheckpointError

# What torch calls its storages, without the `Storage` at the end; `Untyped` holds types that came after 2.0.
STORAGE_DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "QInt8": torch.qint8,
    "QUInt8": torch.quint8,
    "QInt32": torch.qint32,
    "QUInt4x2": torch.quint4x2,
    "QUInt2x4": torch.quint2x4,
    "Untyped": torch.uint8,
}
NUMPY_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i8": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u8": torch.uint64,
    "u4": torch.uint32,
    "u2": torch.uint16,
    "u1": torch.uint8,
    "b1": torch.bool,
    "ml_dtypes.bfloat16": torch.bfloat16,  # JAX's; numpy has none of its own
}
SAFE_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
TORCH_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. `fetch` returns its values as a contiguous CPU tensor, which may lie in the file's pages.

    `place` says where its values lie. Two tensors of one place, shape and dtype are the same one under two names, as
    in BYOL files of lucidrains, which hold one network twice. None where that is not known.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    fetch: Callable[[], Tensor]
    place: object = None  # of torch's: what the file calls the storage, first byte in it, stride

    @property
    def nbytes(self) -> int:
        """The size of its values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(eq=False)
class Region:
    """A run of bytes in a mapped file. A checksum is compared once, however many tensors lie in it."""

    data: memoryview
    name: str  # the file's, for errors
    key: Any = None  # what the file calls it
    crc: int | None = None  # as recorded in the zip archive, until it was found to fit

    def checked(self) -> memoryview:
        """Return the bytes; a recorded checksum must fit."""
        if self.crc is not None and zlib.crc32(self.data) != self.crc:
            raise CheckpointError(f"{self.name}: its checksum does not fit, the file is damaged; get it again")
        self.crc = None
        return self.data


@dataclass(frozen=True)
class Storage:
    """A region as values of one type, or `count` of them from the `first` on."""

    region: Region
    dtype: torch.dtype
    first: int
    count: int

    def values(self) -> Tensor:
        """Return all its values (n,), still in the file's pages."""
        data = self.region.checked()
        if not self.count:
            return torch.empty(0, dtype=self.dtype)
        return torch.frombuffer(data, dtype=self.dtype, offset=self.first * self.dtype.itemsize, count=self.count)


def whole(region: Region, dtype: torch.dtype) -> Storage:
    """Return all of a region as values of one type."""
    return Storage(region, dtype, 0, len(region.data) // dtype.itemsize)


def refused(shape: tuple[int, ...], dtype: torch.dtype, message: str) -> Stored:
    """Return a tensor that stands in the way of nobody until it is asked for."""

    def fetch() -> Tensor:
        raise CheckpointError(message)

    return Stored(shape, dtype, fetch)
