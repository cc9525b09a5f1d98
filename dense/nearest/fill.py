"""A trial's bank, made of its training images or gone on with."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial, reduce

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.images import Pair
from twinbench.dense.nearest.bank import Bank, Chosen, Piece, cut, joined, moments_of
from twinbench.dense.nearest.images import BankPairs
from twinbench.dense.nearest.kept import KeptPairs, found_in_cache, kept_patches, plan
from twinbench.dense.nearest.patches import BATCH, Patches
from twinbench.dense.nearest.shards import KeptPatches
from twinbench.dense.trial import BANK, Run
from twinbench.runtime.distributed import from_main
from twinbench.runtime.loading import batches_of
from twinbench.runtime.progress import bar
from twinbench.runtime.stopping import ignore_signals

log = logging.getLogger(__name__)
ROW = np.dtype(np.int64)  # of a number of a row in a cache


def filled(
    run: Run, patches: Patches, pieces: Sequence[Piece], most: int, chosen: Chosen, *, moments: bool = False
) -> Bank:
    """Return the bank of these pieces, each image of which gives the patches that are `chosen`, `most` at most.

    What it takes on the disk is told before, and DenseError where there is no room. Features of images that are not
    augmented are those of the cache, if there is one, and the bank holds which rows there they are.
    """
    process, folder = run.process, run.out / BANK
    kept = None
    if run.options.cache:
        from_main(process, partial(plan, run, patches))
        kept = None if run.recipe.augments else found_in_cache(run, patches, "train")
    bank = Bank(folder / kept.folder.name if kept else folder, len(pieces), kept)
    bank.own(run.trial.description, process)
    rows = most * sum(map(len, pieces))
    labels = patches.grain**2 * label_type(len(run.data.classes)).itemsize
    planned = rows * (labels + (ROW.itemsize if kept else 4 * patches.width))
    words = f"bank of at most {rows:,} patches of {patches.width} numbers: {planned / 1e9:.2f} GB in {bank.folder}"
    log.info("%s", words)
    own = ", or a smaller memory_size" if run.recipe.augments else ", or keep features elsewhere, with --cache"
    from_main(process, partial(bank.require_room, planned, f"choose another OUT{'' if kept else own}"))
    if kept:
        kept_patches(run, patches, "train")
    missing = bank.missing(process)
    made = _made(run, patches, kept, [pieces[number] for number in missing], chosen, moments=moments)
    for number, arrays in zip(missing, made, strict=True):
        bank.write(number, arrays)
    bank.complete(process)
    return bank


def label_type(classes: int) -> np.dtype:
    """Return the type that holds every class and, one number higher, that there is none."""
    return np.min_scalar_type(classes)


def _made(
    run: Run, patches: Patches, kept: KeptPatches | None, pieces: Sequence[Piece], chosen: Chosen, *, moments: bool
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the arrays of each piece; of an image no more is kept than is taken."""
    batches = [batch for piece in pieces for batch in cut(piece, BATCH)]
    data = run.data
    own = BankPairs(data.train, data.decode, patches.squares, run.trial.seed)
    loader = DataLoader(
        KeptPairs(data.train, data.decode, patches.squares, kept) if kept else own,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=list,
        num_workers=run.workers,
        worker_init_fn=ignore_signals,
    )
    classes = len(data.classes)
    with bar(batches_of(loader), what="bank of patches", total=len(loader), unit="batch") as shown:
        left: Iterator[list[Pair]] = iter(shown)
        for piece in pieces:
            features: list[np.ndarray] = []
            labels: list[np.ndarray] = []
            seen: list[np.ndarray] = []
            for keys in cut(piece, BATCH):
                pairs = next(left)
                images = torch.stack([image for image, _ in pairs])
                found = images.to(run.process.device) if kept else patches(images)
                if moments:
                    seen.append(moments_of(found.flatten(0, 1)))
                for key, rows, (_, square) in zip(keys, found, pairs, strict=True):
                    by_patch = numbered(patches.squares.by_patch(square.numpy(), patches.grain), classes)
                    taken = chosen(key, by_patch)
                    if kept:
                        features.append(key[1] * patches.count + taken.numpy().astype(ROW))
                    else:
                        features.append(rows[taken.to(rows.device)].cpu().numpy())
                    labels.append(by_patch[taken].numpy().astype(label_type(classes)))
            arrays = {"moments": reduce(joined, seen)} if moments else {}
            yield arrays | {"rows" if kept else "features": np.concatenate(features), "labels": np.concatenate(labels)}


def numbered(labels: np.ndarray, classes: int) -> Tensor:
    """Return labels with the number of classes in place of UNLABELLED."""
    return torch.from_numpy(np.where(labels == UNLABELLED, classes, labels))
