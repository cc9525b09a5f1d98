"""The containers of checkpoints: torch's zip archive, what torch wrote before 1.6, safetensors, a plain zip archive.

Each reader takes a mapped file and touches only its table of contents; nothing of a file is run.
"""

import io
import mmap
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading import pickles
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.nodes import Object, Persistent
from twinbench.convert.reading.stored import SAFE_DTYPES, Region, Storage, Stored, whole
from twinbench.convert.reading.tensors import encoded, raw_data, storage_dtype
from twinbench.convert.reading.window import Window

MAX_MEMBER = 4 << 30  # bytes; the largest published checkpoint of a ResNet-50 has 1.4 GB
MAX_RATIO = 20  # weights do not compress; a member that does is a bomb
EMBEDDED = "torch.storage._load_from_bytes"
ENDINGS = (".pth", ".pt", ".tar", ".torch", ".pkl", ".ckpt", "feature_extractor")
# What a damaged archive makes zipfile raise.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    OSError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
)


def torch_zip(name: str, view: memoryview) -> Contents | None:
    """Read torch's zip archive, in which every member lies uncompressed; None for a zip archive of another kind."""
    try:
        with zipfile.ZipFile(_Seekable(view)) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except DAMAGED as error:
        raise CheckpointError(f"{name}: damaged or truncated zip archive ({str(error)[:80]}); get it again") from None
    programs = [member for member in members if member.rpartition("/")[2] == "data.pkl"]
    if not programs:
        return None
    root = min(programs, key=len).removesuffix("data.pkl")
    regions: dict[str, Region] = {}

    def region(key: str) -> Region | None:
        info = members.get(f"{root}{key}")
        if key not in regions and info is not None:
            regions[key] = _member(name, view, info)
        return regions.get(key)

    def storage(key: Any) -> Storage:
        asked = _storage_key(name, key)
        held = region(f"data/{asked.index}")
        if held is None:
            raise CheckpointError(
                f"{name}: the values of a tensor (data/{asked.index[:20]}) are missing from the archive"
            )
        return asked.of(held)

    order = region("byteorder")
    if order is not None and bytes(order.data) != b"little":
        raise CheckpointError(f"{name}: written on a big-endian machine; load and save it there as safetensors")
    program = region("data.pkl")
    assert program is not None
    # torch.jit.save writes the same archive with code beside it, which nobody here looks at.
    container = "torchscript" if f"{root}constants.pkl" in members else "torch-zip"
    return Contents(name, container, pickles.read(Window(program.data), name), len(view), storage)


def _member(name: str, view: memoryview, info: zipfile.ZipInfo) -> Region:
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
    return Region(data, name, info.filename, info.CRC or None)


def unzipped(name: str, view: memoryview) -> tuple[str, memoryview]:
    """Return name and bytes of the one checkpoint in a plain zip archive (OBoW), unpacked into a nameless file."""
    with zipfile.ZipFile(_Seekable(view)) as archive:  # torch_zip has opened it before
        found = [info for info in archive.infolist() if info.filename.endswith(ENDINGS)]
        if len(found) != 1:
            inside = ", ".join(info.filename[:60] for info in archive.infolist()[:5])
            raise CheckpointError(
                f"{name}: a zip archive with {len(found)} checkpoints in it ({inside}); unpack it and name one"
            )
        info = found[0]
        if info.file_size > min(MAX_MEMBER, MAX_RATIO * max(info.compress_size, 1)):
            raise CheckpointError(
                f"{name}: member {info.filename[:60]!r} declares {info.file_size:,} bytes but takes "
                f"{info.compress_size:,} in the archive; refused"
            )
        if not info.file_size:
            raise CheckpointError(f"{name}: member {info.filename[:60]!r} is empty")
        with tempfile.TemporaryFile() as unpacked:
            try:
                with archive.open(info) as member:
                    shutil.copyfileobj(member, unpacked, 1 << 20)
            except DAMAGED as error:
                raise CheckpointError(f"{name}: damaged zip archive ({str(error)[:80]}); get it again") from None
            unpacked.flush()
            mapped = mmap.mmap(unpacked.fileno(), 0, access=mmap.ACCESS_COPY)
    return f"{name}:{info.filename[:60]}", memoryview(mapped)


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


@dataclass(frozen=True)
class _Key:
    """What a pickle says of a storage, ("storage", type, index, device, count, part): `part` is what it sees of one.

    Torch up to 0.4 wrote storages that lie in others, as (index, first value, number of values) of the outer one.
    """

    index: str
    dtype: torch.dtype
    total: int  # values in all
    first: int
    count: int

    def of(self, region: Region) -> Storage:
        """Return the storage as it lies in its region; without a part, all that is there."""
        if (self.first, self.count) == (0, self.total):
            return whole(region, self.dtype)
        return Storage(region, self.dtype, self.first, self.count)


def _storage_key(name: str, key: Any) -> _Key:
    """Return what a persistent reference says of a storage."""
    try:
        word, kind, index, _device, total, *more = key
        first, count = more[0][1:] if more and more[0] is not None else (0, total)
    except (TypeError, ValueError):
        raise CheckpointError(f"{name}: a tensor that torch did not write; refused") from None
    dtype = storage_dtype(kind)
    if dtype is None:
        raise CheckpointError(
            f"{name}: a tensor of an unknown kind (storage {getattr(kind, 'path', kind)!r:.60}); save the state dict"
        )
    numbers = (total, first, count)
    is_whole = all(type(number) is int and number >= 0 for number in numbers) and first + count <= total
    if word != "storage" or not isinstance(index, str) or not is_whole:
        raise CheckpointError(f"{name}: a tensor that torch did not write; refused")
    return _Key(index, dtype, total, first, count)


def torch_legacy(name: str, view: memoryview) -> Contents:
    """Read the container of torch before 1.6: five pickles, then each storage behind its number of values."""
    window = Window(view)
    _, _, system = (pickles.read(window, name) for _ in range(3))
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"{name}: written on a big-endian machine; load and save it there as safetensors")
    references: list[Any] = []
    tree = pickles.read(window, name, references)
    wanted = {key.index: key for key in (_storage_key(name, reference) for reference in references)}
    keys = pickles.read(window, name)
    if not isinstance(keys, list) or not set(wanted) <= {key for key in keys if isinstance(key, str)}:
        raise CheckpointError(f"{name}: damaged or truncated: its list of storages is not whole; get it again")
    regions: dict[str, Region] = {}
    for key in keys:
        if key not in wanted:
            raise CheckpointError(f"{name}: damaged or truncated: a storage that no tensor names; get it again")
        size = wanted[key].total * wanted[key].dtype.itemsize
        place = window.place + 8
        data = view[place : place + size]
        written = int.from_bytes(view[window.place : place], "little")
        if written != wanted[key].total or len(data) != size:
            raise CheckpointError(
                f"{name}: damaged or truncated: the values of storage {key[:20]} are missing; get it again"
            )
        regions[key] = Region(data, name, key)
        window.place = place + size

    def storage(key: Any) -> Storage:
        asked = _storage_key(name, key)
        return asked.of(regions[asked.index])

    return Contents(name, "torch-legacy", tree, len(view), storage)


def embedded(name: str) -> Callable[[Any], Storage]:
    """Return what finds the storages of a pickle that torch did not write: each is a whole file of torch, as bytes."""
    opened: dict[int, Storage] = {}

    def storage(node: Any) -> Storage:
        is_file = isinstance(node, Object) and node.path == EMBEDDED and len(node.arguments) == 1
        data = raw_data(node.arguments[0]) if is_file else None
        if data is None:
            raise CheckpointError(f"{name}: a torch tensor without its storage; save it with torch.save")
        if id(node) not in opened:
            inner = torch_legacy(name, memoryview(bytearray(encoded(data, name))))
            if not isinstance(inner.tree, Persistent) or inner.storage is None:
                raise CheckpointError(f"{name}: a tensor that torch did not write; refused")
            opened[id(node)] = inner.storage(inner.tree.key)
            opened[id(node)].region.key = id(node)  # each calls its own storage by the same number
        return opened[id(node)]

    return storage


def safetensors(path: Path, size: int) -> Contents:
    """Read the header of a safetensors file with the library of that name; tensors follow when fetched."""
    try:
        file = safe_open(path, framework="pt")
        tree: dict[str, Any] = {}
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part = file.get_slice(key)
            dtype = SAFE_DTYPES.get(part.get_dtype())
            if dtype is not None:
                tree[key] = Stored(tuple(part.get_shape()), dtype, partial(file.get_tensor, key), (key,))
        return Contents(str(path), "safetensors", tree, size, metadata=file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: damaged or truncated safetensors file ({str(error)[:80]}); get it again"
        ) from None
