"""torch.distributed.checkpoint: a folder with `.metadata`, a pickle, and the pieces of tensors in `*.distcp` files.

FSDP, accelerate (pytorch_model_fsdp_0), Lightning (x.ckpt) and torchtitan write such folders. Of the metadata,

    state_dict_metadata  name -> TensorStorageMetadata(properties, size, chunks); a chunk has offsets and sizes
    storage_data         MetadataIndex(fqn, offset) -> _StorageInfo(relative_path, offset, length)

say where each chunk of each tensor lies; the bytes there are an archive of torch.save. A chunk is mapped when it is
fetched, and let go once it has been copied: a thousand ranks write a thousand files, more than may be open at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading import pickles
from twinbench.convert.reading.containers import torch_zip
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.nodes import Name, Object
from twinbench.convert.reading.parts import map_file, part_of
from twinbench.convert.reading.stored import SAFE_DTYPES, Stored
from twinbench.convert.reading.window import Window

METADATA = ".metadata"
_DTYPES = {str(dtype): dtype for dtype in SAFE_DTYPES.values()}


@dataclass(frozen=True)
class Chunk:
    """A box of a tensor's values, and the bytes of a file that hold it."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: Path
    start: int
    length: int

    @property
    def region(self) -> tuple[slice, ...]:
        """The box, as an index of the tensor."""
        return tuple(slice(offset, offset + size) for offset, size in zip(self.offsets, self.sizes, strict=True))


@dataclass
class _Folder:
    """What is known of a folder while its metadata is read."""

    path: Path
    places: dict[tuple[str, tuple[int, ...]], Object]  # by name and offsets
    files: dict[Path, int] = field(default_factory=dict)  # sizes in bytes

    def damaged(self, what: str) -> CheckpointError:
        """Return the error for metadata that torch did not write."""
        return CheckpointError(f"{self.path}: its {METADATA} {what}; the folder is damaged: get it again")


def open_distributed(path: Path) -> Contents:
    """Read the metadata of a folder. Raises CheckpointError for tensors whose chunks are not all there."""
    metadata = pickles.read(Window(memoryview(map_file(path / METADATA))), str(path / METADATA))
    folder = _Folder(path, {})
    parts = _attributes(folder, metadata, "Metadata")
    tensors, places = parts.get("state_dict_metadata"), parts.get("storage_data")
    if not isinstance(tensors, dict) or not isinstance(places, dict):
        raise folder.damaged("lists no tensors or no places of them")
    for index, place in places.items():
        _add_place(folder, index, place)
    tree: dict[str, Stored] = {}
    for name, entry in tensors.items():
        if not isinstance(entry, Object) or not entry.path.endswith(".TensorStorageMetadata"):
            continue  # plain data: an epoch, a scheduler
        stored = _tensor(folder, name, entry) if isinstance(name, str) else None
        if stored is not None:
            tree[name] = stored
    return Contents(str(path), "dcp", tree, sum(folder.files.values()))


def _add_place(folder: _Folder, index: Any, place: Any) -> None:
    """Note where a chunk lies; plain data, which has no offset, is left out."""
    key = _attributes(folder, index, "MetadataIndex")
    name = key.get("fqn")
    if key.get("offset") is None or not isinstance(name, str):
        return
    found = (name, _numbers(folder, key["offset"]))
    if found in folder.places:
        raise folder.damaged(f"has two places for one chunk of {name[:80]!r}")
    folder.places[found] = place


def _tensor(folder: _Folder, name: str, entry: Object) -> Stored | None:
    """Return one tensor; None if its dtype is none that a backbone has."""
    known = _attributes(folder, entry, "TensorStorageMetadata")
    shape, properties, described = _numbers(folder, known.get("size")), known.get("properties"), known.get("chunks")
    state = properties.state if isinstance(properties, Object) else None
    if not isinstance(state, tuple) or not state or not isinstance(described, list):
        raise folder.damaged(f"does not say what {name[:80]!r} is")
    dtype = _DTYPES.get(state[0].path) if isinstance(state[0], Name) else None
    if dtype is None:
        return None
    chunks: list[Chunk] = []
    for chunk in described:
        box = _attributes(folder, chunk, "ChunkStorageMetadata")
        offsets, sizes = _numbers(folder, box.get("offsets")), _numbers(folder, box.get("sizes"))
        if not len(offsets) == len(sizes) == len(shape):
            raise folder.damaged(f"has a chunk of {name[:80]!r} with other dimensions than the tensor")
        if any(offset + size > end for offset, size, end in zip(offsets, sizes, shape, strict=True)):
            raise folder.damaged(f"has a chunk of {name[:80]!r} outside the tensor")
        if math.prod(sizes):  # a rank beyond the last row holds an empty chunk
            chunks.append(_placed(folder, name, offsets, sizes))
    if sum(math.prod(chunk.sizes) for chunk in chunks) != math.prod(shape):
        raise folder.damaged(f"lists chunks of {name[:80]!r} that do not add up to the tensor")
    return Stored(shape, dtype, partial(_assembled, folder, name[:80], shape, dtype, chunks))


def _placed(folder: _Folder, name: str, offsets: tuple[int, ...], sizes: tuple[int, ...]) -> Chunk:
    """Return a chunk with its place, which must be in a file that is there."""
    place = folder.places.get((name, offsets))
    if place is None:
        raise folder.damaged(f"has no place for a chunk of {name[:80]!r}")
    info = _attributes(folder, place, "_StorageInfo")
    if info.get("transform_descriptors"):
        raise CheckpointError(
            f"{folder.path}: {name[:80]!r} was transformed when it was written (compressed or encrypted); expected "
            "plain values; save it without transforms"
        )
    file = part_of(folder.path, info.get("relative_path"), METADATA)
    if file not in folder.files:
        folder.files[file] = file.stat().st_size
    start, length = _numbers(folder, (info.get("offset"), info.get("length")))
    if start + length > folder.files[file]:
        raise CheckpointError(
            f"{file}: truncated: {name[:80]!r} ends at byte {start + length:,} of {folder.files[file]:,}; get it again"
        )
    return Chunk(offsets, sizes, file, start, length)


def _assembled(
    folder: _Folder, name: str, shape: tuple[int, ...], dtype: torch.dtype, chunks: Sequence[Chunk]
) -> Tensor:
    """Return a whole tensor. Chunks that add up to it and do not overlap leave no gap."""
    needed, held = math.prod(shape) * dtype.itemsize, sum(folder.files.values())
    if needed > held:
        raise folder.damaged(f"declares {needed:,} bytes of {name!r} in files of {held:,}")
    values = torch.empty(shape, dtype=dtype)
    filled = torch.zeros(shape, dtype=torch.bool)
    for chunk in chunks:
        if filled[chunk.region].any():
            raise folder.damaged(f"lists chunks of {name!r} that overlap")
        filled[chunk.region] = True
        values[chunk.region] = _read(chunk, name, dtype)
    return values


def _read(chunk: Chunk, name: str, dtype: torch.dtype) -> Tensor:
    """Return the values of one chunk, still in its mapped file."""
    view = memoryview(map_file(chunk.file))[chunk.start : chunk.start + chunk.length]
    contents = torch_zip(str(chunk.file), view) if view[:4] == b"PK\x03\x04" else None
    stored = contents.tensors({"": contents.tree}).get("") if contents else None
    if stored is None or stored.shape != chunk.sizes or stored.dtype != dtype:
        raise CheckpointError(
            f"{chunk.file}: at byte {chunk.start:,} lies something else than the chunk of {name!r} that {METADATA} "
            "promises; get the folder again"
        )
    return stored.fetch()


def _attributes(folder: _Folder, node: Any, kind: str) -> dict[str, Any]:
    """Return the attributes of an instance of torch's dataclass `kind`."""
    if isinstance(node, Object) and node.path.endswith(f".{kind}") and isinstance(node.state, dict):
        return node.state
    raise folder.damaged(f"has something else where torch writes {kind}")


def _numbers(folder: _Folder, node: Any) -> tuple[int, ...]:
    """Return the numbers of a torch.Size, or of a tuple."""
    found = node.arguments[0] if isinstance(node, Object) and node.arguments else node
    if isinstance(found, tuple | list) and all(type(number) is int and 0 <= number < 2**62 for number in found):
        return tuple(found)
    raise folder.damaged("has an impossible shape or place")
