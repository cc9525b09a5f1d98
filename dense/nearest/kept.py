"""Patches on disk, found again by what they are patches of: one pass of the network for all trials that share them.

    CACHE/KEY/00000.npy, or .zlib    the patches of the first images, in their order, and so on; see shards.py

The key hashes the backbone's identity (tensors, architecture, input convention), the images (their names below their
common folder and their sizes), the squares (side, interpolation), the blocks, how many images the network saw at once
and how many a shard has, and the precision, but for fp32 with the kind of device. So the patches are a function of the
images alone, whichever trials made them and whichever of them died on the way.

Any number of processes and jobs make the shards side by side (runtime/side_by_side.py), a stretch of them at a time;
a kill costs a shard.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from twinbench.convert.files import remove_abandoned
from twinbench.data.objects.packed import Records
from twinbench.data.pixels.split import Decode
from twinbench.data.sizes import in_order, size
from twinbench.dense.images import Pair, labels_of
from twinbench.dense.nearest.bank import cut, images_of_a_piece, require_room
from twinbench.dense.nearest.images import SquareImages, Squares
from twinbench.dense.nearest.patches import BATCH, Patches
from twinbench.dense.nearest.shards import KeptPatches, write_shard
from twinbench.dense.trial import Run
from twinbench.runtime.cache import images_key, number_format
from twinbench.runtime.loading import batches_of
from twinbench.runtime.progress import bar
from twinbench.runtime.side_by_side import Part, do_side_by_side
from twinbench.runtime.stopping import ignore_signals

log = logging.getLogger(__name__)
# Images whose shards one process makes before it looks what the others have left: some seconds on a GPU, to which the
# start of loaders, a second, is little; half a minute on a processor.
STRETCH, CPU_STRETCH = 4096, 512
LOCK = "lock"

Split = Literal["train", "test"]
See = Callable[[Tensor], Tensor]  # images as a loader reads them, stacked, to their patches (N, P, F) on the device


@dataclass(frozen=True)
class Seen:
    """Images as they are looked up."""

    images: Dataset[Tensor]  # what a loader reads: squares (3, side, side), or patches (P, F)
    patches: See


def seen(run: Run, patches: Patches, split: Split, chosen: Sequence[int] | None = None) -> Seen:
    """Return the images of a split, or those at the `chosen` places; the cache, if there is one, has their patches."""
    if run.options.cache:
        kept = kept_patches(run, patches, split)
        return Seen(kept if chosen is None else Subset(kept, chosen), partial(Tensor.to, device=run.process.device))
    records = run.data.split(split)
    return Seen(SquareImages(records if chosen is None else records.where(np.array(chosen)), patches.squares), patches)


def plan(run: Run, patches: Patches) -> None:
    """Tell what the cache will take of a trial's images, before any is looked at; DenseError where there is no room.

    How much less it takes compressed shows when it is there: a third of it, or hardly less.
    """
    cache = run.options.cache
    assert cache
    cache.mkdir(parents=True, exist_ok=True)
    planned, there, most = 0, 0, "at most " if run.options.compress else ""
    for split in _kept_splits(run):
        kept = found_in_cache(run, patches, split)
        missing = sum(len(kept.images_of(shard)) for shard in range(kept.shards) if not kept.is_there(shard))
        image = 4 * patches.count * patches.width
        planned, there = planned + image * kept.images, there + image * (kept.images - missing)
        what = f"{patches.count} patches, of {patches.width} numbers, of each of {kept.images:,} {split} images"
        log.info(
            "cache of %s: %s%.2f GB in %s, %d images are missing", what, most, image * kept.images / 1e9, cache, missing
        )
    if not run.options.compress:
        require_room(cache, "the cache of patches", planned, there, "choose another --cache, or leave it out")


def _kept_splits(run: Run) -> tuple[Split, ...]:
    """Return the splits whose images a recipe takes as they are."""
    return ("test",) if run.recipe.augments else ("train", "test")


def kept_patches(run: Run, patches: Patches, split: Split) -> KeptPatches:
    """Return the patches of a split's images, as they are, making what the cache does not hold yet."""
    kept = found_in_cache(run, patches, split)
    _complete(kept, SquareImages(run.data.split(split), patches.squares), patches, _together(split), run)
    return kept


def found_in_cache(run: Run, patches: Patches, split: Split) -> KeptPatches:
    """Return the patches of a split's images as the cache has them, or will."""
    cache = run.options.cache
    assert cache
    names = [record["file_name"] for record in run.data.split(split)]
    images = images_of_a_piece(patches.count)
    squares = [patches.squares.side, run.recipe.interpolation]
    numbers = number_format(run.recipe.precision, run.process.device)
    what = ["patches", run.backbone.identity, *squares, run.recipe.blocks, numbers, _together(split), images]
    key = images_key(what, names, in_order(lambda index: size(names[index]), len(names)))
    return KeptPatches(cache / key, len(names), images, (patches.count, patches.width))


def _together(split: Split) -> int:
    """Return how many images the network sees at once: as a trial without a cache has it."""
    return BATCH if split == "train" else 1


def _complete(kept: KeptPatches, squares: SquareImages, patches: Patches, batch: int, run: Run) -> None:
    """Make the shards that are missing, beside all others who are at it; return when all are there."""
    images = STRETCH if run.process.device.startswith("cuda") else CPU_STRETCH
    stretches = cut(range(kept.shards), max(1, images // kept.size))

    def missing(stretch: Sequence[int]) -> list[int]:
        return [shard for shard in stretch if not kept.is_there(shard)]

    def make(stretch: Sequence[int]) -> None:
        shards = missing(stretch)
        for shard, found in zip(shards, _made(kept, shards, squares, patches, batch, run.workers), strict=True):
            write_shard(kept.path(shard), found, compress=run.options.compress)

    parts: list[Part] = []
    for each in stretches:
        shards = range(each[0], each[-1] + 1)
        parts.append(Part(str(shards), shards, lambda shards=shards: not missing(shards), partial(make, shards)))
    do_side_by_side(kept.folder / LOCK, lambda: [part for part in parts if not part.is_done()])
    remove_abandoned(kept.folder)


def _made(
    kept: KeptPatches, shards: Sequence[int], squares: SquareImages, patches: Patches, batch: int, workers: int
) -> Iterator[list[np.ndarray]]:
    """Yield the patches of each image of each shard."""
    batches = [cut(kept.images_of(shard), batch) for shard in shards]
    loader = DataLoader(
        squares,
        batch_sampler=list(chain(*batches)),  # type: ignore[arg-type]
        num_workers=workers,
        worker_init_fn=ignore_signals,
    )
    last = kept.images_of(shards[-1]).stop
    what = f"patches of images {kept.images_of(shards[0]).start} to {last} of {kept.images}"
    with bar(batches_of(loader), what=what, total=len(loader), unit="batch") as shown:
        left = iter(shown)
        for parts in batches:
            found: list[np.ndarray] = []
            for _ in parts:
                found.extend(patches(next(left)).cpu().numpy())
            yield found


@dataclass(frozen=True)
class KeptPairs(Dataset[Pair]):
    """Training images' patches (P, F) and labels (side, side) by key (pass, index)."""

    records: Records
    decode: Decode
    squares: Squares
    kept: KeptPatches

    def __getitem__(self, key: tuple[int, int]) -> Pair:
        labels = self.squares.labels(labels_of(self.records[key[1]], self.decode))
        return self.kept[key[1]], torch.from_numpy(labels)
