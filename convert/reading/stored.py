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
from twinbench.convert.reading.pickles import Name, Object, Persistent

DTYPES = {
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
}
NUMPY_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i8": torch.int64,
    "i4": torch.int32,
    "i2": torch.int16,
    "i1": torch.int8,
    "u1": torch.uint8,
    "b1": torch.bool,
}
SAFE_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. `fetch` returns its values as a contiguous CPU tensor, which may lie in the file's pages."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    fetch: Callable[[], Tensor]
    place: object = None  # where its values lie, equal for two names of the same values; None if not known

    @property
    def nbytes(self) -> int:
        """The size of its values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Storage:
    """A run of bytes in a mapped file, as one or more tensors see it."""

    data: memoryview
    dtype: torch.dtype
    crc: int | None = None  # as recorded in the zip archive
    name: str = ""

    def values(self) -> Tensor:
        """Return all its values (n,), still in the file's pages; a recorded checksum must fit."""
        if self.crc is not None and zlib.crc32(self.data) != self.crc:
            raise CheckpointError(f"{self.name}: its checksum does not fit, the file is damaged; get it again")
        return torch.frombuffer(self.data, dtype=self.dtype) if len(self.data) else torch.empty(0, dtype=self.dtype)


def as_tensor(node: Any, storage: Callable[[Any], Storage], name: str) -> Stored | None:
    """Return the tensor that a node of a pickle stands for, or None if it is something else.

    `storage` finds the bytes for the key of a persistent reference. Raises CheckpointError for a tensor that its
    storage cannot hold.
    """
    if not isinstance(node, Object):
        return None
    if node.path == "torch._utils._rebuild_parameter":
        return as_tensor(node.arguments[0], storage, name) if node.arguments else None
    if node.path in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
        return _torch_tensor(node.arguments, storage, name)
    return _numpy_array(node, name)


def _torch_tensor(arguments: tuple[Any, ...], storage: Callable[[Any], Storage], name: str) -> Stored:
    """Interpret (storage, offset, shape, stride, ...): what torch's pickles say of a tensor."""
    try:
        reference, offset, shape, stride = arguments[:4]
        key = reference.key
        shape, stride = (tuple(item.arguments[0] if isinstance(item, Object) else item) for item in (shape, stride))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name}: a tensor that torch did not write; refused") from error
    if not isinstance(reference, Persistent) or not _whole((offset, *shape, *stride)) or len(shape) != len(stride):
        raise CheckpointError(f"{name}: a tensor with an impossible shape; refused")
    held = storage(key)
    size = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if size else 0
    room = len(held.data) // held.dtype.itemsize
    if size > room or last >= max(room, 1):
        raise CheckpointError(
            f"{name}: a tensor of shape {_shape(shape)} over {room} stored values; the file is damaged"
        )

    def fetch() -> Tensor:
        return held.values().as_strided(shape, stride, offset).contiguous()

    return Stored(shape, held.dtype, fetch)


def _numpy_array(node: Object, name: str) -> Stored | None:
    """Interpret a pickled numpy array of numbers."""
    axes: Any = None  # the order of the axes in memory, None as they are
    if node.path.endswith("multiarray._reconstruct") and isinstance(node.state, tuple) and len(node.state) == 5:
        _, shape, dtype, fortran, raw = node.state
        order = "F" if fortran else "C"
    elif node.path.endswith("numeric._frombuffer") and len(node.arguments) in (4, 5):  # protocol 5
        raw, dtype, shape, order, *rest = node.arguments
        axes = rest[0] if rest and order == "K" else None
    else:
        return None
    torch_dtype, data = _numpy_dtype(dtype), _bytes(raw)
    if torch_dtype is None or data is None or not isinstance(shape, tuple) or not _whole(shape):
        return None
    if order == "F":
        shape, axes = shape[::-1], tuple(reversed(range(len(shape))))
    axes = tuple(range(len(shape))) if axes is None else axes
    if math.prod(shape) * torch_dtype.itemsize != len(data) or not _permutes(axes, len(shape)):
        raise CheckpointError(f"{name}: an array of shape {_shape(shape)} in {len(data)} bytes; the file is damaged")

    def fetch() -> Tensor:
        values = (
            torch.frombuffer(bytearray(data), dtype=torch_dtype) if len(data) else torch.empty(0, dtype=torch_dtype)
        )
        return values.view(shape).permute(axes).contiguous()

    return Stored(tuple(shape[axis] for axis in axes), torch_dtype, fetch)


def _permutes(axes: Any, ndim: int) -> bool:
    """Return True if `axes` is an order of the axes 0 to ndim - 1."""
    return isinstance(axes, tuple) and _whole(axes) and sorted(axes) == list(range(ndim))


def _numpy_dtype(node: Any) -> torch.dtype | None:
    """Return torch's type for a little-endian numpy dtype such as `f4`, or None."""
    if not isinstance(node, Object) or node.path != "numpy.dtype" or not node.arguments:
        return None
    order = node.state[1] if isinstance(node.state, tuple) and len(node.state) > 1 else "|"
    code = node.arguments[0]
    return NUMPY_DTYPES.get(code) if order in ("<", "|", "=") and isinstance(code, str) else None


def _bytes(node: Any) -> bytes | bytearray | memoryview | None:
    """Return raw data, which Python 2 wrote as a text and protocol 2 as a call of `_codecs.encode(text, "latin1")`."""
    if isinstance(node, Object) and node.path == "_codecs.encode" and node.arguments[1:] in (("latin1",), ("latin-1",)):
        node = node.arguments[0]
    if isinstance(node, str):
        try:
            return node.encode("latin1")
        except UnicodeEncodeError:
            return None
    return node if isinstance(node, bytes | bytearray | memoryview) else None


def storage_dtype(kind: Any) -> torch.dtype | None:
    """Return the dtype of `torch.FloatStorage` and its like."""
    if not isinstance(kind, Name):
        return None
    return DTYPES.get(kind.path.rpartition(".")[2].removesuffix("Storage"))


def _whole(numbers: tuple[Any, ...]) -> bool:
    """Return True for non-negative whole numbers only."""
    return all(type(number) is int and 0 <= number < 2**62 for number in numbers)


def _shape(shape: tuple[int, ...]) -> str:
    """Return a shape as text, short whatever the file says."""
    return " x ".join(map(str, shape))[:60] or "()"
