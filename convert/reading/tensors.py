"""From the node of a pickle to the tensor that it stands for, with its values still in the file."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading.nodes import Name, Object, Persistent
from twinbench.convert.reading.stored import NUMPY_DTYPES, STORAGE_DTYPES, TORCH_DTYPES, Storage, Stored, refused, whole

MAX_DIMENSIONS = 64  # of numpy and torch; a shape may be shared by all tensors of a file
WRAPPED = 8  # a parameter of a subclass of a tensor is three deep
REBUILD = "torch._utils._rebuild_"
# Wrappers whose first argument is the tensor itself: whether it needs gradients says nothing of its values.
PARAMETERS = (f"{REBUILD}parameter", f"{REBUILD}parameter_with_state")
PLAIN = (f"{REBUILD}tensor", f"{REBUILD}tensor_v2", f"{REBUILD}tensor_v3", f"{REBUILD}qtensor")
# Of accelerators whose storages torch cannot write: a tensor or array, and the type that it had there.
FROM_DEVICE = tuple(
    f"{REBUILD}{what}" for what in ("device_tensor_from_numpy", "device_tensor_from_cpu_tensor", "xla_tensor")
)
SUBCLASS = ("torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2")
WRAPPER = f"{REBUILD}wrapper_subclass"  # around tensors of its own: DTensor, torchao's quantized weights
META = f"{REBUILD}meta_tensor_no_storage"
TENSORS = (*PARAMETERS, *PLAIN, *FROM_DEVICE, *SUBCLASS, META)


def as_tensor(node: Any, storage: Callable[[Any], Storage], name: str, depth: int = WRAPPED) -> Stored | None:
    """Return the tensor that a node of a pickle stands for, or None if it is something else.

    `storage` finds the bytes for the key of a persistent reference, and `name` is the file's. Raises CheckpointError
    for a tensor that its storage cannot hold. One of a kind that no network computes with (quantized, complex, without
    values) is returned and raises when it is fetched, since it must not keep anybody from the others.
    """
    if not isinstance(node, Object):
        return None
    if node.path not in TENSORS:
        return _numpy_array(node, name)
    try:
        return _torch_tensor(node, storage, name, depth - 1)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name}: a tensor that torch did not write; refused") from error


def _torch_tensor(node: Object, storage: Callable[[Any], Storage], name: str, depth: int) -> Stored | None:
    """Interpret the call of one of torch's functions that rebuild a tensor."""
    if not depth:
        raise ValueError("wrapped too often")
    path, arguments = node.path, node.arguments
    if path in PLAIN:
        return _strided(node, storage, name)
    if path in PARAMETERS:
        return as_tensor(arguments[0], storage, name, depth)
    if path in SUBCLASS:
        rebuild, kind, inner, state = arguments
        if rebuild.path == WRAPPER:
            return _distributed(kind, inner, state, storage, name, depth)
        return as_tensor(Object(rebuild, inner), storage, name, depth)
    if path in FROM_DEVICE:
        return _converted(as_tensor(arguments[0], storage, name, depth), _dtype(arguments[1]))
    return refused(_sizes(arguments[1]), _dtype(arguments[0]), f"{name}: a tensor of the meta device, without values")


def _strided(node: Object, storage: Callable[[Any], Storage], name: str) -> Stored:
    """Interpret (storage, offset, shape, stride, ...): what torch's pickles say of a tensor."""
    reference, offset, shape, stride, *more = node.arguments
    held = storage(reference.key if isinstance(reference, Persistent) else reference)
    if node.path.endswith("v3"):  # (..., needs gradient, hooks, dtype, metadata) over a storage without a type
        held = whole(held.region, _dtype(more[2]))
        more = more[1:]
    shape, stride, dtype = _sizes(shape), _sizes(stride), held.dtype
    if not _is_whole((offset,)) or len(shape) != len(stride):
        raise CheckpointError(f"{name}: a tensor with an impossible shape; refused")
    if dtype.is_complex or node.path.endswith("qtensor") or dtype in QUANTIZED:
        kind = str(dtype).removeprefix("torch.")
        return refused(shape, dtype, f"{name}: a tensor of type {kind}; a backbone has real floating-point weights")
    size = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if size else 0
    room = f"{name}: a tensor of shape {_text(shape)} over {held.count} stored values"
    if last >= max(held.count, 1):
        raise CheckpointError(f"{room}; the file is damaged")
    if size > held.count:  # its values repeat (`expand`), and a small file could declare any number of them
        return refused(shape, dtype, f"{room}; save it contiguous")
    # A view such as `z.conj().imag` is stored with the sign of its values and a note that it is the other one.
    is_negative = len(more) > 2 and bool(more[2].get("neg"))

    def fetch() -> Tensor:
        values = held.values().as_strided(shape, stride, offset)
        return values.neg() if is_negative else values.contiguous()

    first = (held.first + offset) * dtype.itemsize
    return Stored(shape, dtype, fetch, None if is_negative else (held.region.key, first, stride))


QUANTIZED = {STORAGE_DTYPES[name] for name in STORAGE_DTYPES if name.startswith("Q")}


def _distributed(
    kind: Name, arguments: Any, state: Any, storage: Callable[[Any], Storage], name: str, depth: int
) -> Stored | None:
    """Interpret a DTensor: one rank's part of a tensor, or all of it where each rank has that. None for other kinds."""
    if kind.qualname != "DTensor":
        return None
    parts = state if isinstance(state, tuple) else (state,)
    attributes = {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}
    local = as_tensor(attributes["_local_tensor"], storage, name, depth)
    shape = _sizes(arguments[2])
    placements = attributes["_spec"].state["placements"]
    is_sum = any(isinstance(item, Object) and "Partial" in item.path for item in placements)
    if local is None or (local.shape == shape and not is_sum):
        return local
    message = f"{name}: holds one rank's part of a tensor of shape {_text(shape)}; save its full_tensor()"
    return refused(shape, local.dtype, message)


def _converted(stored: Stored | None, dtype: torch.dtype) -> Stored | None:
    """Return a tensor in another type, which it had before it was saved."""
    if stored is None or stored.dtype == dtype:
        return stored
    return replace(stored, dtype=dtype, fetch=lambda: stored.fetch().to(dtype))


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
    torch_dtype, data = _numpy_dtype(dtype), raw_data(raw)
    if torch_dtype is None or data is None or not isinstance(shape, tuple) or not _is_whole(shape):
        return None
    if order == "F":
        shape, axes = shape[::-1], tuple(reversed(range(len(shape))))
    axes = tuple(range(len(shape))) if axes is None else axes
    if math.prod(shape) * torch_dtype.itemsize != len(data) or not _permutes(axes, len(shape)):
        raise CheckpointError(f"{name}: an array of shape {_text(shape)} in {len(data)} bytes; the file is damaged")

    def fetch() -> Tensor:
        values = torch.empty(0, dtype=torch_dtype)
        if len(data):
            values = torch.frombuffer(bytearray(encoded(data, name)), dtype=torch_dtype)
        return values.view(shape).permute(axes).contiguous()

    return Stored(tuple(shape[axis] for axis in axes), torch_dtype, fetch, ("array", id(data), axes))


def _permutes(axes: Any, ndim: int) -> bool:
    """Return True if `axes` is an order of the axes 0 to ndim - 1."""
    return isinstance(axes, tuple) and _is_whole(axes) and sorted(axes) == list(range(ndim))


def _numpy_dtype(node: Any) -> torch.dtype | None:
    """Return torch's type for a little-endian numpy dtype such as `f4`, or None."""
    if not isinstance(node, Object) or node.path != "numpy.dtype" or not node.arguments:
        return None
    order = node.state[1] if isinstance(node.state, tuple) and len(node.state) > 1 else "|"
    code = node.arguments[0]
    code = code.path if isinstance(code, Name) else code
    return NUMPY_DTYPES.get(code) if order in ("<", "|", "=") and isinstance(code, str) else None


def raw_data(node: Any) -> str | bytes | bytearray | memoryview | None:
    """Return raw data, one letter or byte for each byte, or None.

    Python 2 wrote it as a text, and protocol 2 does as a call of `_codecs.encode(text, "latin1")`.
    """
    if isinstance(node, Object) and node.path == "_codecs.encode" and node.arguments[1:] in (("latin1",), ("latin-1",)):
        node = node.arguments[0]
    return node if isinstance(node, str | bytes | bytearray | memoryview) else None


def encoded(data: str | bytes | bytearray | memoryview, name: str) -> bytes | bytearray | memoryview:
    """Return raw data as bytes: not before they are asked for, for many arrays may share one text."""
    try:
        return data.encode("latin1") if isinstance(data, str) else data
    except UnicodeEncodeError:
        raise CheckpointError(f"{name}: an array with letters for bytes; the file is damaged") from None


def _dtype(node: Name) -> torch.dtype:
    """Return the type that `torch.float32` and its like name."""
    dtype = TORCH_DTYPES.get(node.qualname)
    if dtype is None:
        raise ValueError("type")
    return dtype


def storage_dtype(kind: Any) -> torch.dtype | None:
    """Return the dtype of `torch.FloatStorage` and its like."""
    return STORAGE_DTYPES.get(kind.qualname.removesuffix("Storage")) if isinstance(kind, Name) else None


def _sizes(node: Any) -> tuple[int, ...]:
    """Return a shape or stride, which is a tuple or a `torch.Size` of one."""
    sizes = node.arguments[0] if isinstance(node, Object) else node
    if not _is_whole(sizes):
        raise ValueError("sizes")
    return tuple(sizes)


def _is_whole(numbers: tuple[Any, ...]) -> bool:
    """Return True for non-negative whole numbers only, as many as a tensor has dimensions."""
    return len(numbers) <= MAX_DIMENSIONS and all(type(number) is int and 0 <= number < 2**62 for number in numbers)


def _text(shape: tuple[int, ...]) -> str:
    """Return a shape as text, short whatever the file says."""
    return " x ".join(map(str, shape))[:60] or "()"
