"""Opening a checkpoint of any container, found by its first bytes and not by its name, without running any of it."""

import io
import mmap
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from convert import pickles
from convert.files import CheckpointError, regular_file
from convert.pickles import Object
from convert.stored import SAFE_DTYPES, Storage, Stored, as_tensor, storage_dtype

NOTE = "twinbench"  # the key under which convert.write keeps what is known of a backbone
MAX_MEMBER = 4 << 30  # bytes; the largest published checkpoint of a ResNet-50 has 1.4 GB
MAX_RATIO = 20  # weights do not compress; a member that does is a bomb
BYOL_STATE = ("online_params", "target_params", "online_state", "target_state", "opt_state")  # byol_experiment.py
_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # what torch.save wrote before 1.6
_FOREIGN = {
    b"<!DOCTYPE": "a web page, so the download failed",
    b"<html": "a web page, so the download failed",
    b"<HTML": "a web page, so the download failed",
    b"<?xml": "an error message of a file server, so the download failed",
    b"version https://git-lfs": "a Git LFS pointer: run git lfs pull",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x89HDF": "an HDF5 file (Keras); twinbench reads PyTorch, safetensors, Haiku and Caffe2 files",
    b"\x57\xfb\x80\x8b": "a TensorFlow table; twinbench reads PyTorch, safetensors, Haiku and Caffe2 files",
}


@dataclass(frozen=True)
class Contents:
    """What a file holds: `tree` is plain data, in which `tensors` finds the tensors."""

    name: str
    container: str  # torch-zip, torch-legacy, safetensors, pickle
    tree: Any
    size: int  # of the file, bytes
    storage: Callable[[Any], Storage] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def at(self, path: tuple[str, ...]) -> Any:
        """Return the node under a path of keys, or None."""
        node = self.tree
        for key in path:
            node = fields(node).get(key)
        return node

    def tensors(self, node: Any) -> dict[str, Stored]:
        """Return the tensors directly in a dict-like node, by name; everything else in it is left out."""
        found: dict[str, Stored] = {}
        for key, value in fields(node).items():
            tensor = value if isinstance(value, Stored) else as_tensor(value, self._bytes_of, self.name)
            if tensor is not None and isinstance(key, str):
                found[key] = tensor
        return found

    def note(self) -> str | None:
        """Return what twinbench wrote about the backbone into the file's metadata, as JSON, or None."""
        attributes = self.tree.state if isinstance(self.tree, Object) else None
        kept = fields(attributes["_metadata"]) if isinstance(attributes, dict) and "_metadata" in attributes else {}
        for place in (self.metadata, kept, fields(self.tree)):
            if isinstance(place.get(NOTE), str):
                return place[NOTE]
        return None

    def _bytes_of(self, key: Any) -> Storage:
        if self.storage is None:
            raise CheckpointError(f"{self.name}: a torch tensor without its storage; save it with torch.save")
        return self.storage(key)


def fields(node: Any) -> dict[Any, Any]:
    """Return what a dict-like node maps; attributes of a namespace count; an empty dict for anything else."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, Object):
        return {}
    found = dict(zip(node.items[::2], node.items[1::2], strict=False))
    if node.path.endswith("._ByolExperimentState"):  # a named tuple is pickled without its names
        found |= dict(zip(BYOL_STATE, node.arguments, strict=False))
    for extra in (node.arguments[0] if len(node.arguments) == 1 else None, node.state):
        if isinstance(extra, dict):
            inner = extra.get("_mapping", extra.get("_storage", extra))  # Haiku's immutable mappings
            found |= inner if isinstance(inner, dict) else {}
    return found


def open_checkpoint(path: Path | str) -> Contents:
    """Map the file and read its table of contents. Raises CheckpointError for whatever is not a checkpoint."""
    path = regular_file(path)
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # private pages; never written back
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    view = memoryview(mapped)
    try:
        return _safetensors(path, len(view)) if view[8:9] == b"{" else _open(str(path), view)
    except MemoryError:
        raise CheckpointError(f"{path}: declares more than this machine's memory holds; not a checkpoint") from None


def _open(name: str, view: memoryview) -> Contents:
    """Choose the reader by the first bytes."""
    head = bytes(view[:64])
    if head.startswith(b"PK\x03\x04"):
        return _zip(name, view)
    if head.startswith(_LEGACY_MAGIC):
        return _legacy(name, view)
    if head[:1] == b"\x80" and 2 <= head[1] <= 5:
        return Contents(name, "pickle", pickles.read(_Window(view), name), len(view))
    for start, what in _FOREIGN.items():
        if head.lstrip().startswith(start):
            raise CheckpointError(f"{name}: {what}")
    raise CheckpointError(
        f"{name}: begins with {head[:8]!r}, which is no checkpoint that twinbench knows; expected a file of "
        "torch.save, safetensors, or a pickle of arrays"
    )


class _Window:
    """A file-like view of mapped bytes; long reads are views, not copies."""

    def __init__(self, view: memoryview) -> None:
        self.view, self.place = view, 0

    def read(self, size: int) -> Any:
        part = self.view[self.place : self.place + max(size, 0)]
        self.place += len(part)
        return part if len(part) > 4096 else bytes(part)

    def readline(self) -> bytes:
        line = io.BytesIO(bytes(self.view[self.place : self.place + 4096])).readline()
        self.place += len(line)
        return line


def _zip(name: str, view: memoryview) -> Contents:
    """Read torch's zip archive, in which every member lies uncompressed; or a plain zip that holds one checkpoint."""
    try:
        with zipfile.ZipFile(_Seekable(view)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            root = next((member[: -len("data.pkl")] for member in members if member.endswith("data.pkl")), None)
            if root is None:
                return _zipped(name, archive)
    except (
        zipfile.BadZipFile,
        ValueError,
        OSError,
        struct.error,
        NotImplementedError,
        RuntimeError,
        OverflowError,
    ) as error:
        raise CheckpointError(f"{name}: damaged or truncated zip archive ({error}); get it again") from None

    def member(key: str) -> Storage | None:
        info = members.get(f"{root}{key}")
        return info and _member(name, view, info)

    def storage(key: Any) -> Storage:
        dtype, index, _ = _storage_key(name, key)
        held = member(f"data/{index}")
        if held is None:
            raise CheckpointError(
                f"{name}: the values of a tensor (data/{str(index)[:20]}) are missing from the archive"
            )
        return Storage(held.data, dtype, held.crc, name)

    order = member("byteorder")
    if order is not None and bytes(order.data) != b"little":
        raise CheckpointError(f"{name}: written on a big-endian machine; load and save it there as safetensors")
    program = member("data.pkl")
    assert program is not None
    return Contents(name, "torch-zip", pickles.read(_Window(program.data), name), len(view), storage)


def _member(name: str, view: memoryview, info: zipfile.ZipInfo) -> Storage:
    """Return the bytes of an uncompressed member where they lie."""
    start = info.header_offset
    header = bytes(view[start : start + 30])
    if info.compress_type != zipfile.ZIP_STORED or len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise CheckpointError(
            f"{name}: archive member {info.filename[:60]!r} is compressed or damaged; torch writes neither"
        )
    start += 30 + sum(struct.unpack("<HH", header[26:30]))
    data = view[start : start + info.file_size]
    if len(data) != info.file_size:
        raise CheckpointError(
            f"{name}: truncated: archive member {info.filename[:60]!r} ends beyond the file; get it again"
        )
    # Torch can be told to leave checksums out, and then writes 0.
    return Storage(data, torch.uint8, info.CRC or None, name)


def _zipped(name: str, archive: zipfile.ZipFile) -> Contents:
    """Read the one checkpoint inside a plain zip archive (OBoW), unpacked into a file without a name."""
    names = (".pth", ".pt", ".tar", ".torch", ".pkl", ".ckpt", "feature_extractor")
    found = [info for info in archive.infolist() if info.filename.endswith(names)]
    if len(found) != 1:
        inside = ", ".join(info.filename[:60] for info in archive.infolist()[:5])
        raise CheckpointError(
            f"{name}: a zip archive with {len(found)} checkpoints in it ({inside}); unpack it and name one"
        )
    info = found[0]
    if info.file_size > min(MAX_MEMBER, MAX_RATIO * max(info.compress_size, 1)):
        raise CheckpointError(
            f"{name}: member {info.filename[:60]!r} declares {info.file_size:,} bytes but takes {info.compress_size:,} "
            "in the archive; refused"
        )
    with archive.open(info) as member, tempfile.TemporaryFile() as unpacked:
        shutil.copyfileobj(member, unpacked, 1 << 20)
        unpacked.flush()
        if not unpacked.tell():
            raise CheckpointError(f"{name}: member {info.filename[:60]!r} is empty")
        mapped = mmap.mmap(unpacked.fileno(), 0, access=mmap.ACCESS_COPY)
    view = memoryview(mapped)
    if view[:4] == b"PK\x03\x04" and not any(part in bytes(view[:200]) for part in (b"data.pkl", b"/")):
        raise CheckpointError(f"{name}: a zip archive inside a zip archive; unpack it first")
    return _open(f"{name}:{info.filename}", view)


class _Seekable(io.RawIOBase):
    """A mapped file as the seekable stream that zipfile wants."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self.view, self.place = view, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = 0) -> int:
        place = offset + (0, self.place, len(self.view))[whence]
        if place < 0:
            raise OSError("seek before the start")
        self.place = place
        return place

    def readinto(self, buffer: Any) -> int:
        part = self.view[self.place : self.place + len(buffer)]
        buffer[: len(part)] = part
        self.place += len(part)
        return len(part)


def _storage_key(name: str, key: Any) -> tuple[Any, Any, int]:
    """Return dtype, index and number of values of ("storage", type, index, device, count, ...)."""
    if isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage" and key[5:] in ((), (None,)):
        dtype = storage_dtype(key[1])
        if dtype is not None and isinstance(key[2], str) and type(key[4]) is int and key[4] >= 0:
            return dtype, key[2], key[4]
    raise CheckpointError(
        f"{name}: a tensor of an unknown kind (quantized, sparse or a whole module); save the state dict"
    )


def _legacy(name: str, view: memoryview) -> Contents:
    """Read the container of torch before 1.6: five pickles, then each storage behind its number of values."""
    window = _Window(view)
    _, _, system = (pickles.read(window, name) for _ in range(3))
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"{name}: written on a big-endian machine; load and save it there as safetensors")
    references: list[Any] = []
    tree = pickles.read(window, name, references)
    wanted = {_storage_key(name, key)[1]: key for key in references}
    keys = pickles.read(window, name)
    if not isinstance(keys, list) or not set(wanted) <= {key for key in keys if isinstance(key, str)}:
        raise CheckpointError(f"{name}: damaged or truncated: its list of storages is not whole; get it again")
    places: dict[str, Storage] = {}
    for key in keys:
        dtype, _, count = _storage_key(name, wanted.get(key))
        place = window.place + 8
        data = view[place : place + count * dtype.itemsize]
        written = int.from_bytes(view[window.place : place], "little")
        if written != count or len(data) != count * dtype.itemsize:
            raise CheckpointError(
                f"{name}: damaged or truncated: the values of storage {key[:20]} are missing; get it again"
            )
        places[key] = Storage(data, dtype, None, name)
        window.place = place + len(data)

    return Contents(name, "torch-legacy", tree, len(view), lambda key: places[_storage_key(name, key)[1]])


def _safetensors(path: Path, size: int) -> Contents:
    """Read the header of a safetensors file with the library of that name; tensors follow when fetched."""
    try:
        file = safe_open(path, framework="pt")
        tree: dict[str, Any] = {}
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part = file.get_slice(key)
            dtype = SAFE_DTYPES.get(part.get_dtype())
            if dtype is not None:
                tree[key] = Stored(tuple(part.get_shape()), dtype, partial(file.get_tensor, key))
        return Contents(str(path), "safetensors", tree, size, metadata=file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: damaged or truncated safetensors file ({str(error)[:80]}); get it again"
        ) from None
