"""Features on disk, found again by what they are features of.

The key hashes the backbone's identity (tensors, architecture, input convention), the images (their names below their
common folder and their sizes), the transform, the pooling and the precision, and but for fp32 the kind of device:
whatever shares them shares one extraction. Whole sets are memory-mapped.

While a set is incomplete it lies there in blocks of rows, which any number of processes and jobs make side by side
(runtime/side_by_side.py): a kill costs a block.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import cache as once
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from twinbench.convert.backbone import Backbone
from twinbench.convert.files import ABANDONED, save_array
from twinbench.data.items import ImageList
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.base import Features
from twinbench.runtime.cache import images_key, number_format
from twinbench.runtime.process import Process
from twinbench.runtime.side_by_side import Part, do_side_by_side
from twinbench.transfer.features import Rows, extract, network_on

# Images a block, about half a minute, which is what a kill costs: on a GPU at the 500 images/s that some cores decode,
# on a processor at 20. Each block starts loaders of its own, a second or so. Both are multiples of an extraction's
# batch, so that they change no batch and with it no digit.
BLOCK, CPU_BLOCK = 16384, 512
WIDE_BLOCK = 2048  # of what has thousands of rows of the network's width an image, and is in memory a block at a time
WHOLE, LOCK = "features.npy", "lock"


class CacheError(UserError):
    """A file of features that is damaged."""


def cache_key(backbone: Backbone, paths: ImageList, features: Features, device: str) -> str:
    """Return 32 hex digits that no other features have; of the `device` only its kind counts, see `number_format`."""
    names = [paths.name(index) for index in range(len(paths))]
    numbers = number_format(features.precision, device)
    what = [backbone.identity, dataclasses.asdict(features.transform), features.pooling, numbers]
    return images_key(what, names, paths.sizes())


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
    # once for all blocks: of a ViT-L it takes seconds, and a block half a minute
    network = once(partial(network_on, backbone, process.device))

    def make(rows: range) -> np.ndarray:
        return extract(
            backbone,
            paths[rows.start : rows.stop],
            features,
            device=process.device,
            workers=workers,
            what=f"{what} {rows.start} to {rows.stop} of {len(paths)}",
            rows_of=rows_of,
            model=network(),
        )

    if not (folder / WHOLE).exists():
        on_gpu = WIDE_BLOCK if features.places else BLOCK
        size = on_gpu if process.device.startswith("cuda") else CPU_BLOCK
        starts = range(0, len(paths), size)
        _complete(folder, [range(start, min(start + size, len(paths))) for start in starts], make)
    found = _mapped(folder / WHOLE, len(paths))
    _tidy(folder)
    return found


def _complete(folder: Path, blocks: Sequence[range], make: Callable[[range], np.ndarray]) -> None:
    """Make the set whole, beside all others who are at it; return when it is."""
    whole, rows = folder / WHOLE, blocks[-1].stop

    def is_done(block: range) -> bool:  # where all are joined, each is removed
        return whole.exists() or _block(folder, block).exists()

    def write(block: range) -> None:
        found = make(block)
        save_array([found], found.shape, found.dtype, _block(folder, block))

    parts = [Part(_block(folder, each).name, each, partial(is_done, each), partial(write, each)) for each in blocks]
    join = Part(WHOLE, range(rows), whole.exists, lambda: _join(folder, blocks))

    def left() -> list[Part]:
        if whole.exists():
            return []
        return [part for part in parts if not part.is_done()] or [join]

    do_side_by_side(folder / LOCK, left)


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


def _join(folder: Path, blocks: Sequence[range]) -> None:
    """Write the blocks into one file, with one of them in memory at a time.

    Where locks failed, another process may have done so and removed them under our hands.
    """
    with contextlib.suppress(FileNotFoundError):
        parts = (_mapped(_block(folder, rows), len(rows)) for rows in blocks)  # not at once: each is an open file
        first = next(parts)
        save_array(chain([first], parts), (blocks[-1].stop, first.shape[1]), first.dtype, folder / WHOLE)


def _tidy(folder: Path) -> None:
    """Remove what a whole set has no use for; what may still be in the writing stays for an hour."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # others tidy up, too; or the folder is not ours to change
            if path.name != WHOLE and (path.suffix != ".part" or time.time() - path.stat().st_mtime > ABANDONED):
                path.unlink()
