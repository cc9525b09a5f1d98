"""The only module that calls `torch.save` and `torch.load`: twinbench's own files, written whole or not at all.

Foreign checkpoints are read by `convert.reading.reader`, which needs no unpickler.
"""

import contextlib
import glob
import json
import os
import pickle
import re
import stat
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from twinbench.protocols.house import UserError, replacing

ABANDONED = 3600  # seconds without a byte


class CheckpointError(UserError):
    """A file that cannot be read as a checkpoint, or whose backbone cannot be proven complete."""


def save(obj: object, path: Path | str) -> None:
    """Write `obj` with `torch.save`, beside `path` first and then over it: a kill leaves the old file or the new."""
    with writing(path) as beside, beside.open("wb") as file:
        try:
            torch.save(obj, file)  # to an open file: given a path, torch would put its name into the archive
        except RuntimeError as error:  # how torch tells of a write that failed under it
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def save_pickle(obj: dict[str, Any], path: Path | str) -> None:
    """Write `obj` as a pickle, the form of Detectron2's `.pkl`, with the same care as `save`."""
    with writing(path) as beside, beside.open("wb") as file:
        pickle.dump(obj, file)


def save_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path | str) -> None:
    """Write `tensors` as safetensors, with the same care as `save`; the same ones give the same bytes."""
    with writing(path) as beside:
        try:
            save_file(dict(tensors), beside, dict(metadata))
        except SafetensorError as error:  # `... I/O error: No space left on device (os error 28)`
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error from None
        _sort_metadata(beside)


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in order: the library writes them in another one each time."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, path
        file.seek(8)
        file.write(text.ljust(length))


def save_array(parts: Iterable[np.ndarray | bytes], shape: Sequence[int], dtype: np.dtype, path: Path | str) -> None:
    """Write `parts` one behind the other as one array in numpy's form, whose header says shape and type.

    What np.save writes to a full disk it loses without a word.
    """
    with writing(path) as beside, beside.open("wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part if isinstance(part, bytes) else part.data)


@contextmanager
def writing(path: Path | str) -> Generator[Path]:
    """Yield the path of a file to write that takes the place of `path` in the end (`replacing`).

    What a kill left of such a file is removed by the next writer, an hour after the last byte that went into it.
    """
    path = Path(path)
    remove_abandoned(path.parent, glob.escape(path.name))
    with replacing(path) as beside:
        yield beside


def remove_abandoned(folder: Path, name: str = "*") -> None:
    """Remove what kills have left of files of this name (a pattern); what may still be in the writing stays."""
    for left in folder.glob(f".{name}.*.part"):
        with contextlib.suppress(OSError):  # others tidy up, too; or the folder is not ours to change
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()


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
