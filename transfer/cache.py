"""Features on disk, found again by what they are features of.

The key hashes the backbone's tensors and input convention, the images (their names below their common folder and their
sizes), the transform, the pooling and the precision: whatever shares them shares one extraction. Blocks of rows are
written in one step each, so any number of processes and jobs may work on a set at once and a kill costs one block.
Whole sets are memory-mapped.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import distributed

from convert.load import Backbone
from protocols.house import replacing
from protocols.schema import ImageTransform
from slurm.process import Process
from transfer.features import Precision, extract

BLOCK = 4096  # images a file while a set is incomplete


def cache_key(
    backbone: Backbone, paths: Sequence[Path], transform: ImageTransform, pooling: str, precision: Precision
) -> str:
    """Return 32 hex digits that no other features have."""
    root = Path(os.path.commonpath([path.parent for path in paths]))
    what = [backbone.sha256, backbone.convention.as_dict(), dataclasses.asdict(transform), pooling, precision]
    found = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for path in paths:
        found.update(f"\0{path.relative_to(root)}\0{path.stat().st_size}".encode())
    return found.hexdigest()[:32]


def cached_features(
    cache: Path,
    backbone: Backbone,
    paths: Sequence[Path],
    transform: ImageTransform,
    pooling: str,
    *,
    process: Process,
    workers: int,
    what: str = "features",
    precision: Precision = "fp32",
) -> np.ndarray:
    """Return the features (N, F), float32 and memory-mapped, extracting only what `cache` does not hold yet.

    In a group of processes each takes its share of the blocks; all return the whole set.
    """
    folder = cache / cache_key(backbone, paths, transform, pooling, precision)
    whole, blocks = folder / "features.npy", range(0, len(paths), BLOCK)
    if not whole.exists():
        for number, start in list(enumerate(blocks))[process.rank :: process.world]:
            if (folder / f"{number}.npy").exists() or whole.exists():
                continue
            label = f"{what} {number + 1}/{len(blocks)}"
            rows = extract(
                backbone,
                paths[start : start + BLOCK],
                transform,
                pooling,
                device=process.device,
                workers=workers,
                what=label,
                precision=precision,
            )
            with replacing(folder / f"{number}.npy") as beside, open(beside, "wb") as file:
                np.save(file, rows)
        wait(process)
        if process.is_main and not whole.exists():
            _assemble(folder, [folder / f"{number}.npy" for number in range(len(blocks))], len(paths))
    wait(process)
    return np.load(whole, mmap_mode="r")


def _assemble(folder: Path, blocks: list[Path], rows: int) -> None:
    """Join the blocks into one file and remove them."""
    parts = [np.load(block, mmap_mode="r") for block in blocks]
    with replacing(folder / "features.npy") as beside:
        joined = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=(rows, parts[0].shape[1]))
        for number, part in enumerate(parts):
            joined[number * BLOCK : number * BLOCK + len(part)] = part
        joined.flush()
    for block in blocks:
        block.unlink(missing_ok=True)


def wait(process: Process) -> None:
    """Return when every process of the group has come here."""
    if process.world > 1:
        distributed.barrier()
