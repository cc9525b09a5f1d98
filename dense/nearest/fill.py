"""A trial's bank, made of its training images or gone on with."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.images import Pair
from twinbench.dense.nearest.bank import BANK, Bank, Chosen, Key, Piece, cut, moments_of
from twinbench.dense.nearest.images import BankPairs
from twinbench.dense.nearest.patches import Patches
from twinbench.dense.trial import Run
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
    seen = _seen(run, patches, [pieces[number] for number in missing])
    for number, found in zip(missing, seen, strict=True):
        bank.write(number, _piece(pieces[number], found, len(run.data.classes), patches, chosen, moments=moments))
    bank.complete(process)
    return bank


def label_type(classes: int) -> np.dtype:
    """Return the type that holds every class and, one number higher, that there is none."""
    return np.min_scalar_type(classes)


def _seen(run: Run, patches: Patches, pieces: Sequence[Piece]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yield for each piece the patches (P, F) and labels (side, side) of its images."""
    batches = [batch for piece in pieces for batch in cut(piece, BATCH)]
    pairs = BankPairs(run.data.train, run.data.decode, patches.squares, run.trial.seed)
    loader = DataLoader(
        pairs,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=list,
        num_workers=run.workers,
        worker_init_fn=ignore_signals,
    )
    with bar(batches_of(loader), what="bank of patches", total=len(loader), unit="batch") as shown:
        left: Iterator[list[Pair]] = iter(shown)
        for piece in pieces:
            found: list[tuple[Tensor, Tensor]] = []
            while len(found) < len(piece):
                batch = next(left)
                features = patches(torch.stack([image for image, _ in batch]))
                found += zip(features, (labels for _, labels in batch), strict=True)
            yield found


def _piece(
    piece: Sequence[Key],
    found: list[tuple[Tensor, Tensor]],
    classes: int,
    patches: Patches,
    chosen: Chosen,
    *,
    moments: bool,
) -> dict[str, np.ndarray]:
    """Return the arrays of a piece."""
    features: list[Tensor] = []
    labels: list[Tensor] = []
    for key, (rows, square) in zip(piece, found, strict=True):
        by_patch = numbered(torch.from_numpy(patches.squares.by_patch(square.numpy(), patches.grain)), classes)
        taken = chosen(key, by_patch)
        features.append(rows[taken.to(rows.device)].cpu())
        labels.append(by_patch[taken])
    arrays = {"features": torch.cat(features).numpy()}
    if moments:
        arrays["moments"] = moments_of(torch.cat([rows for rows, _ in found]))
    return arrays | {"labels": torch.cat(labels).numpy().astype(label_type(classes))}


def numbered(labels: Tensor, classes: int) -> Tensor:
    """Return labels with the number of classes in place of UNLABELLED."""
    return torch.where(labels == UNLABELLED, classes, labels)
