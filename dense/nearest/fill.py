"""A trial's bank, made of its training images or gone on with."""

import logging
from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.images import Pair
from twinbench.dense.nearest.bank import Bank, Chosen, Piece, cut, joined, moments_of
from twinbench.dense.nearest.images import BankPairs
from twinbench.dense.nearest.patches import Patches
from twinbench.dense.trial import BANK, Run
from twinbench.runtime.distributed import from_main
from twinbench.runtime.loading import batches_of
from twinbench.runtime.progress import bar
from twinbench.runtime.stopping import ignore_signals

log = logging.getLogger(__name__)
BATCH = 16  # images that the network sees at once


def filled(
    run: Run, patches: Patches, pieces: Sequence[Piece], most: int, chosen: Chosen, *, moments: bool = False
) -> Bank:
    """Return the bank of these pieces, each image of which gives the patches that are `chosen`, `most` at most.

    What it takes on the disk is told before, and DenseError where there is no room.
    """
    process, bank = run.process, Bank(run.out / BANK, len(pieces))
    bank.own(run.trial.description, process)
    rows = most * sum(map(len, pieces))
    labels = patches.grain**2 * label_type(len(run.data.classes)).itemsize
    planned = rows * (4 * patches.width + labels)
    words = f"bank of at most {rows:,} patches of {patches.width} numbers: {planned / 1e9:.2f} GB in {bank.folder}"
    log.info("%s", words)
    from_main(process, lambda: bank.require_room(planned))
    missing = bank.missing(process)
    made = _made(run, patches, [pieces[number] for number in missing], chosen, moments=moments)
    for number, arrays in zip(missing, made, strict=True):
        bank.write(number, arrays)
    bank.complete(process)
    return bank


def label_type(classes: int) -> np.dtype:
    """Return the type that holds every class and, one number higher, that there is none."""
    return np.min_scalar_type(classes)


def _made(
    run: Run, patches: Patches, pieces: Sequence[Piece], chosen: Chosen, *, moments: bool
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the arrays of each piece; of an image no more is kept than is taken."""
    batches = [batch for piece in pieces for batch in cut(piece, BATCH)]
    loader = DataLoader(
        BankPairs(run.data.train, run.data.decode, patches.squares, run.trial.seed),
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=list,
        num_workers=run.workers,
        worker_init_fn=ignore_signals,
    )
    classes = len(run.data.classes)
    with bar(batches_of(loader), what="bank of patches", total=len(loader), unit="batch") as shown:
        left: Iterator[list[Pair]] = iter(shown)
        for piece in pieces:
            features: list[np.ndarray] = []
            labels: list[np.ndarray] = []
            seen: list[np.ndarray] = []
            for keys in cut(piece, BATCH):
                pairs = next(left)
                found = patches(torch.stack([image for image, _ in pairs]))
                if moments:
                    seen.append(moments_of(found.flatten(0, 1)))
                for key, rows, (_, square) in zip(keys, found, pairs, strict=True):
                    by_patch = numbered(patches.squares.by_patch(square.numpy(), patches.grain), classes)
                    taken = chosen(key, by_patch)
                    features.append(rows[taken.to(rows.device)].cpu().numpy())
                    labels.append(by_patch[taken].numpy().astype(label_type(classes)))
            arrays = {"moments": reduce(joined, seen)} if moments else {}
            yield arrays | {"features": np.concatenate(features), "labels": np.concatenate(labels)}


def numbered(labels: np.ndarray, classes: int) -> Tensor:
    """Return labels with the number of classes in place of UNLABELLED."""
    return torch.from_numpy(np.where(labels == UNLABELLED, classes, labels))
