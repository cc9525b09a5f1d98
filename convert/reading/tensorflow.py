"""TensorFlow's checkpoints, read without TensorFlow: an index of names beside files of values.

`PREFIX.index` is a table (`sstable`) from a tensor's name to a message with its type, shape and place;
`PREFIX.data-00000-of-00001` and its like hold the values (tensorflow/core/protobuf/tensor_bundle.proto). SavedModels
and modules of TensorFlow Hub keep the same two as `variables/variables`.
"""

import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from twinbench.convert.files import CheckpointError, regular_file
from twinbench.convert.reading import protobuf, sstable, tensorflow_objects
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.crc32c import crc32c, unmasked
from twinbench.convert.reading.stored import Stored

DTYPES = {  # types.proto
    1: torch.float32,
    2: torch.float64,
    3: torch.int32,
    4: torch.uint8,
    5: torch.int16,
    6: torch.int8,
    9: torch.int64,
    10: torch.bool,
    14: torch.bfloat16,
    19: torch.float16,
}
MAX_INDEX = 1 << 20  # bytes; that of SimCLR's ResNet-50 has 10,000
MAX_GRAPH = 2 << 20  # bytes; that of a ResNet-50 in Keras has 250,000
MAX_SHARDS = 1000
MAX_AXES = 16
VERSION = 1  # kTensorBundleVersion
STATE = re.compile(rb'^model_checkpoint_path: "([^"\\\r\n]+)"', re.MULTILINE)  # of the file `checkpoint`
DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")


@dataclass(frozen=True)
class Entry:
    """What the index says of one tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int


def is_bundle(path: Path) -> Path | None:
    """Return the index of the TensorFlow checkpoint that `path` means, or None if it means none.

    It may be the index, the files' common beginning, a file of values, or a folder: a SavedModel, a module of
    TensorFlow Hub, or one whose file `checkpoint` names the newest of its checkpoints.
    """
    try:
        if path.is_dir():
            return _index_in(path)
        if not path.is_file() or DATA.search(path.name):
            path = path.with_name(DATA.sub("", path.name) + ".index")
        return path if _ends_a_table(path) else None
    except OSError:
        return None  # whoever opens it as a checkpoint of another kind says why


def open_bundle(index: Path) -> Contents:
    """Read the index; tensors follow when fetched. Texts and other tensors that torch does not have are left out."""
    prefix = index.name.removesuffix(".index")
    if prefix == index.name:
        raise CheckpointError(
            f"{index}: a TensorFlow table that is not named PREFIX.index; expected a checkpoint of TensorFlow 0.12 or "
            "newer: save it with that, or give it back its name"
        )
    size = regular_file(index).stat().st_size
    if size > MAX_INDEX:
        raise CheckpointError(f"{index}: an index of {size:,} bytes; expected {MAX_INDEX:,} at most for a backbone")
    try:
        shards, named = _entries(index.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{index}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise CheckpointError(f"{index}: no sound TensorFlow checkpoint ({str(error)[:120]}); get it again") from None
    files = _files(index, prefix, shards)
    sizes = [file.stat().st_size for file in files]
    for name, entry in named.items():
        if entry.shard >= shards or entry.offset + entry.size > sizes[entry.shard]:
            raise CheckpointError(f"{index}: the values of {name[:60]!r} end beyond their file; get the files again")
    graph = named.pop(tensorflow_objects.GRAPH, None)
    names = _names(files[graph.shard], graph) if graph else {}
    tree: dict[str, Stored] = {}
    for name, entry in named.items():
        fetch = partial(_fetch, files[entry.shard], name, entry)
        tree[names.get(name, name)] = Stored(entry.shape, entry.dtype, fetch)
    return Contents(str(index), "tensorflow", tree, size + sum(sizes))


def _index_in(folder: Path) -> Path | None:
    """Return the index in a folder: a SavedModel's, the one that the file `checkpoint` names, or the only one."""
    saved_model = folder / "variables" / "variables.index"
    if saved_model.is_file():
        return saved_model
    state = folder / "checkpoint"
    if state.is_file():
        with state.open("rb") as file:
            newest = STATE.search(file.read(4096))
        if newest:  # by its name alone: the path may be that of another machine, or lead out of the folder
            name = newest[1].decode("utf-8", "replace").rpartition("/")[2]
            return folder / f"{name}.index"
    found = [index for index in folder.glob("*.index") if _ends_a_table(index)]
    return found[0] if len(found) == 1 else None


def _ends_a_table(path: Path) -> bool:
    """Return True for a file that ends as a table does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - len(sstable.MAGIC), 0))
        return file.read() == sstable.MAGIC


def _entries(table: bytes) -> tuple[int, dict[str, Entry]]:
    """Return the number of files with values, and the tensors. ValueError for what is no index of this format."""
    shards = 0
    found: dict[str, Entry] = {}
    for key, value in sstable.entries(table):
        message = protobuf.fields(value)
        if not shards:
            shards = _header(key, message)
        elif not key.startswith(b"\0"):  # a slice of a tensor, under the tensor's name in another code
            name = key.decode("utf-8")
            entry = _entry(name, message)
            if entry:
                found[name] = entry
    if not shards:
        raise ValueError("no entries")
    return shards, found


def _header(key: bytes, message: protobuf.Fields) -> int:
    """Return the number of files with values (BundleHeaderProto)."""
    shards = protobuf.number(message, 1)
    if key or not 1 <= shards <= MAX_SHARDS:
        raise ValueError("no header of a checkpoint of TensorFlow 0.12 or newer")
    if protobuf.number(message, 2):
        raise ValueError("written on a big-endian machine")
    version = protobuf.fields(b"".join(protobuf.messages(message, 3)))
    if protobuf.number(version, 2) > VERSION:  # min_consumer
        raise ValueError(f"a format newer than version {VERSION}")
    return shards


def _entry(name: str, message: protobuf.Fields) -> Entry | None:
    """Return what is said of a tensor (BundleEntryProto), or None for one of a type that torch does not have."""
    shard, offset, size, crc = (protobuf.number(message, field) for field in (3, 4, 5, 6))
    if name == tensorflow_objects.GRAPH:
        return Entry(torch.uint8, (size,), shard, offset, size, crc)
    dtype = DTYPES.get(protobuf.number(message, 1))
    if dtype is None:
        return None
    if message.get(7):
        raise ValueError(f"{name[:60]!r} is partitioned: save it in one piece")
    shape = _shape(protobuf.fields(b"".join(protobuf.messages(message, 2))))
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name[:60]!r} has {size:,} bytes, which do not fit its shape")
    return Entry(dtype, shape, shard, offset, size, crc)


def _shape(message: protobuf.Fields) -> tuple[int, ...]:
    """Return the size of each axis (TensorShapeProto)."""
    axes = [protobuf.number(protobuf.fields(axis), 1) for axis in protobuf.messages(message, 2)]
    if protobuf.number(message, 3) or len(axes) > MAX_AXES or any(axis >= 2**62 for axis in axes):
        raise ValueError("a tensor of unknown shape")
    return tuple(axes)


def _files(index: Path, prefix: str, shards: int) -> list[Path]:
    """Return the files with values, all of which must be there."""
    files = [index.with_name(f"{prefix}.data-{shard:05}-of-{shards:05}") for shard in range(shards)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{index}: {len(missing)} of its {shards} files with values are missing, first {missing[0][:80]}; "
            "put the whole checkpoint into one folder"
        )
    return files


def _names(file: Path, entry: Entry) -> dict[str, str]:
    """Return the names by which TensorFlow 2's objects know the tensors."""
    if entry.size > MAX_GRAPH:
        raise CheckpointError(f"{file}: a graph of objects of {entry.size:,} bytes; expected {MAX_GRAPH:,} at most")
    data = _read(file, entry)
    try:
        # One text: its length, the length's checksum, its bytes. The checksum of all sees the length in four bytes.
        length, at = protobuf.varint(data, 0)
        sound = length == len(data) - at - 4 and crc32c(length.to_bytes(4, "little") + data[at:]) == unmasked(entry.crc)
        if not sound:
            raise ValueError("its checksum does not fit")
        return tensorflow_objects.paths(data[at + 4 :])
    except ValueError as error:
        raise CheckpointError(f"{file}: a damaged graph of objects ({str(error)[:120]}); get it again") from None


def _fetch(file: Path, name: str, entry: Entry) -> Tensor:
    """Return a tensor's values, whose checksum must fit."""
    data = _read(file, entry)
    if crc32c(data) != unmasked(entry.crc):
        raise CheckpointError(f"{file}: the checksum of {name[:60]!r} does not fit, the file is damaged; get it again")
    if not data:
        return torch.empty(entry.shape, dtype=entry.dtype)
    return torch.frombuffer(data, dtype=entry.dtype).view(entry.shape)


def _read(file: Path, entry: Entry) -> bytearray:
    """Return a tensor's bytes."""
    data = bytearray(entry.size)
    try:
        with file.open("rb") as opened:
            opened.seek(entry.offset)
            got = opened.readinto(data)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror or error})") from None
    if got != entry.size:
        raise CheckpointError(f"{file}: shorter than it was; was it replaced while it was read?")
    return data
