"""The only module that calls `torch.save` and `torch.load`: twinbench's own files, written whole or not at all.

Foreign checkpoints are read by `convert.reader`, which needs no unpickler.
"""

import io
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from protocols.house import UserError, replacing


class CheckpointError(UserError):
    """A file that cannot be read as a checkpoint, or whose backbone cannot be proven complete."""


class Writer(io.FileIO):
    """A new file that tells after each write how many bytes it took."""

    def __init__(self, path: Path, written: Callable[[int], None] | None) -> None:
        super().__init__(path, "wb")
        self.written = written

    def write(self, data: Any, /) -> int:
        """Write all of `data`, any buffer."""
        view = memoryview(data).cast("B")
        size = len(view)
        while view:
            view = view[super().write(view) :]
        if self.written is not None:
            self.written(size)
        return size


def save(obj: object, path: Path | str, written: Callable[[int], None] | None = None) -> None:
    """Write `obj` with `torch.save`, beside `path` first and then over it: a kill leaves the old file or the new.

    `written` hears how many bytes each write took.
    """
    with replacing(path) as beside, Writer(beside, written) as file:
        torch.save(obj, file)  # to an open file: given a path, torch would put its name into the archive


def save_pickle(obj: dict[str, Any], path: Path | str, written: Callable[[int], None] | None = None) -> None:
    """Write `obj` as a pickle, the form of Detectron2's `.pkl`, with the same care as `save`."""
    with replacing(path) as beside, Writer(beside, written) as file:
        pickle.dump(obj, file)


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
    except OSError as error:
        raise CheckpointError(
            f"{path}: {error.strerror or error}; expected a checkpoint file, zoo:NAME or random"
        ) from None
    if stat.S_ISDIR(status.st_mode):
        raise CheckpointError(f"{path}: a folder; expected a checkpoint file: name one of the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path}: not a regular file; expected a checkpoint file")
    if status.st_size == 0:
        raise CheckpointError(f"{path}: 0 bytes; expected a checkpoint: was the download or the save interrupted?")
    return path


def _first_line(error: Exception) -> str:
    """Return the start of an error's message on one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120]
