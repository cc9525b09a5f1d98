"""The only module that calls `torch.save` and `torch.load`: twinbench's own files, written whole or not at all.

Foreign checkpoints are read by `convert.reading.reader`, which needs no unpickler.
"""

import contextlib
import glob
import io
import json
import os
import pickle
import stat
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from twinbench.protocols.house import UserError, replacing

ABANDONED = 3600  # seconds without a byte
_SAFETENSORS_DTYPES = {torch.float32: "F32", torch.int64: "I64"}  # all that a backbone has


class CheckpointError(UserError):
    """A file that cannot be read as a checkpoint, or whose backbone cannot be proven complete."""


class Writer(io.FileIO):
    """A new file that tells after each write how many bytes it took."""

    def __init__(self, path: Path, written: Callable[[int], None] | None) -> None:
        super().__init__(path, "wb")
        self.written = written
        self.failed: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write all of `data`, any buffer."""
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while view:
                view = view[super().write(view) :]
        except OSError as error:
            self.failed = error
            raise
        if self.written is not None:
            self.written(size)
        return size


def save(obj: object, path: Path | str, written: Callable[[int], None] | None = None) -> None:
    """Write `obj` with `torch.save`, beside `path` first and then over it: a kill leaves the old file or the new.

    `written` hears how many bytes each write took.
    """
    with writing(path, written) as file:
        torch.save(obj, file)  # to an open file: given a path, torch would put its name into the archive


def save_pickle(obj: dict[str, Any], path: Path | str, written: Callable[[int], None] | None = None) -> None:
    """Write `obj` as a pickle, the form of Detectron2's `.pkl`, with the same care as `save`."""
    with writing(path, written) as file:
        pickler = pickle.Pickler(file)
        pickler.fast = True  # no memo, which would hold a copy of every array until the end
        pickler.dump(obj)


def save_safetensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path | str, written: Callable[[int], None] | None
) -> None:
    """Write `tensors` as safetensors, one after the other, with the same care as `save`.

    The file is an 8-byte little-endian length, a JSON header padded to 8 bytes, and the tensors' bytes. The library's
    own writer holds all of them until the end, and orders the metadata anew each time.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    at = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):  # so that all are aligned
        size = tensors[name].nbytes
        dtype, shape = _SAFETENSORS_DTYPES[tensors[name].dtype], list(tensors[name].shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with writing(path, written) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in list(header)[1:]:
            file.write(tensors[name].numpy())


@contextmanager
def writing(path: Path | str, written: Callable[[int], None] | None = None) -> Generator[Writer]:
    """Yield a file to write that takes the place of `path` in the end (`replacing`).

    What a kill left of such a file is removed by the next writer, an hour after the last byte that went into it.
    """
    path = Path(path)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
    with replacing(path) as beside, Writer(beside, written) as file:
        try:
            yield file
        except RuntimeError as error:  # torch's own, when a write failed under it
            raise file.failed or error from None


def load(path: Path | str, **keywords: Any) -> Any:
    """Return what `save` wrote; tensors and plain data only (`weights_only=True`), on the CPU unless said otherwise.

    Any failure is a CheckpointError.
    """
    path = regular_file(path)
    try:
        return torch.load(path, weights_only=True, **{"map_location": "cpu", **keywords})
    except Exception as error:  # torch names no exception for a damaged file: RuntimeError, EOFError, KeyError, ...
        raise CheckpointError(
            f"{path}: not a whole file of twinbench ({_first_line(error)}); remove it or write it again"
        ) from error


def regular_file(path: Path | str) -> Path:
    """Return `path` if it is a file with something in it; links are followed, devices and pipes are refused."""
    path = Path(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte in it
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(
            f"{path}: {reason}; expected a checkpoint file or folder, zoo:NAME, hf:ORG/MODEL or random"
        ) from None
    if stat.S_ISDIR(status.st_mode):
        raise CheckpointError(f"{path}: a folder; expected a file of a checkpoint")
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path}: not a regular file; expected a checkpoint file")
    if status.st_size == 0:
        raise CheckpointError(f"{path}: 0 bytes; expected a checkpoint: was the download or the save interrupted?")
    return path


def _first_line(error: Exception) -> str:
    """Return the start of an error's message on one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120]
