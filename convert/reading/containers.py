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
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from twinbench.convert.files import CheckpointError
from twinbench.convert.reading import pickles
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.stored import SAFE_DTYPES, Storage, Stored, storage_dtype

MAX_MEMBER = 4 << 30  # bytes; the largest published checkpoint of a ResNet-50 has 1.4 GB
MAX_RATIO = 20  # weights do not compress; a member that does is a bomb
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


class Window:
    """A file-like view of mapped bytes; long reads are views, not copies."""

    def __init__(self, view: memoryview) -> None:
        self.view, self.place = view, 0

    def read(self, size: int) -> Any:
        """Return the next `size` bytes, fewer at the end."""
        part = self.view[self.place : self.place + max(size, 0)]
        self.place += len(part)
        return part if len(part) > 4096 else bytes(part)

    def readline(self) -> bytes:
        """Return the bytes up to the next newline; names in pickles are short."""
        line = io.BytesIO(bytes(self.view[self.place : self.place + 4096])).readline()
        self.place += len(line)
        return line


def torch_zip(name: str, view: memoryview) -> Contents | None:
    """Read torch's zip archive, in which every member lies uncompressed; None for a zip archive of another kind."""
    try:
        with zipfile.ZipFile(_Seekable(view)) as archive:
            members = {info.filename: info for info in archive.infolist()}
            root = next((member[: -len("data.pkl")] for member in members if member.endswith("data.pkl")), None)
            if root is None:
                return None
    except DAMAGED as error:
        raise CheckpointError(f"{name}: damaged or truncated zip archive ({str(error)[:80]}); get it again") from None

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
    return Contents(name, "torch-zip", pickles.read(Window(program.data), name), len(view), storage)


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


def _storage_key(name: str, key: Any) -> tuple[Any, Any, int]:
    """Return dtype, index and number of values of ("storage", type, index, device, count, ...)."""
    if isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage" and key[5:] in ((), (None,)):
        dtype = storage_dtype(key[1])
        if dtype is not None and isinstance(key[2], str) and type(key[4]) is int and key[4] >= 0:
            return dtype, key[2], key[4]
    raise CheckpointError(
        f"{name}: a tensor of an unknown kind (quantized, sparse or a whole module); save the state dict"
    )


def torch_legacy(name: str, view: memoryview) -> Contents:
    """Read the container of torch before 1.6: five pickles, then each storage behind its number of values."""
    window = Window(view)
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


def safetensors(path: Path, size: int) -> Contents:
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
