"""Features on disk, found again by what they are features of.

The key hashes the backbone's identity (tensors, architecture, input convention), the images (their names below their
common folder and their sizes), the transform, the pooling and the precision, and but for fp32 the kind of device:
whatever shares them shares one extraction. Whole sets are memory-mapped.

While a set is incomplete it lies there in blocks of rows. Any number of processes and jobs, on any nodes that see the
folder, make what is missing side by side: each block is locked by the process that makes it, and the lock goes with
that process, however it ends, so a kill costs a block. The locks save work and no more: where a disk has none, or keeps
a dead node's (NFS version 3), some blocks are made twice, each file is still written in one step, and the set is right.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from twinbench.convert.backbone import Backbone
from twinbench.convert.files import ABANDONED, writing
from twinbench.data.items import ImageList
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.base import Features, Precision
from twinbench.runtime.process import Process
from twinbench.transfer.features import Rows, extract

# Images a block, about half a minute, which is what a kill costs: on a GPU at the 500 images/s that some cores decode,
# on a processor at 20. Each block starts loaders of its own, a second or so. Both are multiples of an extraction's
# batch, so that they change no batch and with it no digit.
BLOCK, CPU_BLOCK = 16384, 512
WIDE_BLOCK = 2048  # of what has thousands of rows of the network's width an image, and is in memory a block at a time
POLL = 1.0  # seconds between two looks at blocks that others make
PATIENCE = 600.0  # seconds after which a block that others make is made here, too
WHOLE, LOCK = "features.npy", "lock"


class CacheError(UserError):
    """A file of features that is damaged."""


def cache_key(backbone: Backbone, paths: ImageList, features: Features, device: str) -> str:
    """Return 32 hex digits that no other features have; of the `device` only its kind counts, see `_numbers`."""
    names = [paths.name(index) for index in range(len(paths))]
    root = os.path.commonpath({os.path.dirname(name) for name in names})
    numbers = _numbers(features.precision, device)
    what = [backbone.identity, dataclasses.asdict(features.transform), features.pooling, numbers]
    found = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for name, size in zip(names, paths.sizes(), strict=True):
        found.update(os.fsencode(f"\0{name.removeprefix(root).lstrip('/')}\0{size}"))
    return found.hexdigest()[:32]


def cached_features(
    cache: Path,
    backbone: Backbone,
    paths: ImageList,
    features: Features,
    *,
    process: Process,
    workers: int,
    what: str = "features",
    rows_of: Rows | None = None,
) -> np.ndarray:
    """Return the features (N, F), float32 and memory-mapped, extracting only what `cache` does not hold yet.

    The processes of a group share the work like any others; all return the whole set. `rows_of` is `extract`'s; the
    name of such features must say what it does.
    """
    folder = cache / cache_key(backbone, paths, features, process.device)

    def make(rows: range) -> np.ndarray:
        return extract(
            backbone,
            paths[rows.start : rows.stop],
            features,
            device=process.device,
            workers=workers,
            what=f"{what} {rows.start} to {rows.stop} of {len(paths)}",
            rows_of=rows_of,
        )

    if not (folder / WHOLE).exists():
        on_gpu = WIDE_BLOCK if features.places else BLOCK
        size = on_gpu if process.device.startswith("cuda") else CPU_BLOCK
        starts = range(0, len(paths), size)
        folder.mkdir(parents=True, exist_ok=True)
        _complete(folder, [range(start, min(start + size, len(paths))) for start in starts], make)
    found = _mapped(folder / WHOLE, len(paths))
    _tidy(folder)
    return found


def _numbers(precision: Precision, device: str) -> str:
    """Return the number format of features, and where that is not fp32 the kind of device that computed them.

    In fp32 a GPU's and a processor's differ in their last digits, and share an extraction. Their bf16 rounds at other
    places: a result that says bf16 on a processor would hold a GPU's features, or the other way round.
    """
    return precision if precision == "fp32" else f"{precision} on {device.partition(':')[0]}"


def _complete(folder: Path, blocks: Sequence[range], make: Callable[[range], np.ndarray]) -> None:
    """Make the set whole, beside all others who are at it; return when it is."""
    whole, left, since = folder / WHOLE, -1, 0.0  # so many blocks are missing, and since when
    with open(folder / LOCK, "w") as lock:
        while not whole.exists():
            missing = [rows for rows in blocks if not _block(folder, rows).exists()]
            if len(missing) == left:  # the others are at all of them
                time.sleep(POLL)
            else:
                left, since = len(missing), time.monotonic()
            impatient = time.monotonic() - since > PATIENCE
            for rows in missing:
                with _locked(lock, rows) as ours:
                    if (ours or impatient) and not (whole.exists() or _block(folder, rows).exists()):
                        _write(_block(folder, rows), [make(rows)], len(rows))
            if not missing:
                with _locked(lock, range(blocks[-1].stop)) as ours:
                    if (ours or impatient) and not whole.exists():
                        _join(folder, blocks)


def _mapped(path: Path, rows: int) -> np.ndarray:
    """Return the features (rows, F) of a file, memory-mapped; CacheError if it does not hold them."""
    expected = f"expected features of {rows} images; remove it and run again"
    try:
        # torch warns of arrays that cannot be written; the file is not
        found = np.lib.format.open_memmap(path, mode="c")
    except OSError:
        raise
    except Exception as error:  # numpy raises several kinds on damaged headers
        raise CacheError(f"{path}: damaged ({error}); {expected}") from None
    if found.dtype != np.float32 or found.ndim != 2 or len(found) != rows:
        raise CacheError(f"{path}: holds {found.dtype} {found.shape}; {expected}")
    return found


def _block(folder: Path, rows: range) -> Path:
    """Return the file of a block; its name says its rows, so that blocks of other sizes are other files."""
    return folder / f"{rows.start}-{rows.stop}.npy"


@contextmanager
def _locked(lock: IO[str], rows: range) -> Generator[bool]:
    """Lock the bytes `rows` of a file for the length of the block; yield False if another process holds any of them.

    Such locks, unlike flock's, do not live on in the loader processes of a parent that was killed. A disk without
    locks grants them all.
    """
    ours = True
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, len(rows), rows.start)
    except OSError as error:
        ours = error.errno not in (errno.EACCES, errno.EAGAIN)
    try:
        yield ours
    finally:
        with contextlib.suppress(OSError):
            fcntl.lockf(lock, fcntl.LOCK_UN, len(rows), rows.start)


def _join(folder: Path, blocks: Sequence[range]) -> None:
    """Write the blocks into one file, with one of them in memory at a time.

    Where locks failed, another process may have done so and removed them under our hands.
    """
    with contextlib.suppress(FileNotFoundError):
        _write(folder / WHOLE, (_mapped(_block(folder, rows), len(rows)) for rows in blocks), blocks[-1].stop)


def _write(path: Path, parts: Iterable[np.ndarray], rows: int) -> None:
    """Write `parts` (B, F) as one array of so many rows; np.save would not say that the disk is full."""
    with writing(path) as beside, beside.open("wb") as file:
        for at, part in enumerate(parts):
            if at == 0:
                header = {"descr": part.dtype.str, "fortran_order": False, "shape": (rows, part.shape[1])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(part.data)


def _tidy(folder: Path) -> None:
    """Remove what a whole set has no use for; what may still be in the writing stays for an hour."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # others tidy up, too; or the folder is not ours to change
            if path.name != WHOLE and (path.suffix != ".part" or time.time() - path.stat().st_mtime > ABANDONED):
                path.unlink()
