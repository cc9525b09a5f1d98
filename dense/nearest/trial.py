"""Hummingbird's retrieval from a frozen backbone to its counts.

Letters: P patches of an image, F features, L pixels of a patch, k neighbours, C classes.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from twinbench.data.pixels.pictures import NOT_LABELLED
from twinbench.dense.counting import Counted
from twinbench.dense.images import labels_of
from twinbench.dense.nearest.bank import Key, OpenBank, pieces_of
from twinbench.dense.nearest.faiss_search import keys_by
from twinbench.dense.nearest.fill import filled
from twinbench.dense.nearest.kept import See, seen
from twinbench.dense.nearest.patches import Patches
from twinbench.dense.nearest.search import Keys, Nearest
from twinbench.dense.places import DenseError
from twinbench.dense.trial import COUNTS, PICTURE, Measured, Run, segmented
from twinbench.protocols.kinds.nearest_patches import NearestPatchesRecipe, Unlabelled
from twinbench.runtime.confusion import matched_iou, scores_of, table_of
from twinbench.runtime.seeds import draw_seed

TOGETHER = 16  # images that one pass over the bank is for
NO_LABEL = "no label"  # the name of the class of pixels that have none
NOISE = 1  # what a draw is for, beside those of an image's augmentation


def measure_nearest(run: Run) -> Measured | None:
    """Make the bank and count the pixels of each pair of true and predicted class."""
    recipe: NearestPatchesRecipe = run.recipe
    data, process = run.data, run.process
    keys_of = keys_by(run.options.search, process.device)
    patches, classes = Patches(run), len(data.classes)
    keys = [(epoch, index) for epoch in range(recipe.augmentation_epochs) for index in range(len(data.train))]
    most = patches.count
    if recipe.memory_size:
        most = min(most, max(1, recipe.memory_size // len(keys)))
    require_rows(most * len(keys), recipe.neighbors, "can have at most")
    choose = partial(chosen, classes=classes, recipe=recipe, most=most, seed=run.trial.seed)
    bank = filled(run, patches, pieces_of(keys, most), most, choose).opened(process.device)
    require_rows(len(bank), recipe.neighbors)
    test = seen(run, patches, "test")
    retrieval = Retrieval(patches.across, test.patches, bank, classes, recipe, keys_of)
    counted = Counted(
        test.images,
        data.test,
        lambda index: patches.squares.labels(labels_of(data.test[index], data.decode)),
        retrieval.predicted,
        TOGETHER,
        classes=retrieval.classes,
    )
    cells = counted.cells(run.out / COUNTS, run.owner, process, run.workers)
    if not process.is_main:
        return None
    extra = retrieval.classes - classes
    names, colours = (*data.classes, *[NO_LABEL] * extra), (*data.colours, *[NOT_LABELLED] * extra)
    counted.draw(cells, names, colours, run.out / PICTURE)
    table = table_of(cells, retrieval.classes)
    scores = scores_of(table, names, extra)
    scores.metrics["mIoU-matched"] = matched_iou(table)
    details = {"patches": len(bank), "features": patches.width, "side": patches.squares.side}
    return segmented(run, scores, {}, details)


def require_rows(rows: int, neighbors: int, words: str = "has") -> None:
    """Raise DenseError where a bank has, or before it is made can have, fewer patches than there are neighbours."""
    if rows < neighbors:
        raise DenseError(
            f"neighbors={neighbors}: the bank {words} {rows} labelled patches; expected at least as many; "
            "use --set neighbors=, or more training images"
        )


def chosen(key: Key, labels: Tensor, *, classes: int, recipe: NearestPatchesRecipe, most: int, seed: int) -> Tensor:
    """Return the numbers of `most` patches of an image with labels (P, L): those whose classes are rare in it.

    A class's frequency is the number of patches that show it. A patch's score is the sum over its classes, times a
    number from 0 to 1 that is drawn for it; the lowest scores are taken.
    """
    present = torch.zeros(len(labels), classes + 1, dtype=torch.float64)
    present.scatter_(1, merged(labels, recipe.unlabelled, classes), 1.0)
    if recipe.unlabelled == "left-out":
        present[:, classes] = 0
    score = present @ present.sum(0)
    generator = torch.Generator().manual_seed(draw_seed(seed, *key, NOISE))
    score *= torch.rand(len(labels), generator=generator)
    labelled = present.any(1)
    order = score.masked_fill_(~labelled, torch.inf).argsort(stable=True)
    return order[: min(most, int(labelled.sum()))].sort().values


def merged(labels: Tensor, unlabelled: Unlabelled, classes: int) -> Tensor:
    """Return labels, whose number of classes says that there is none, with the first class in its place if asked."""
    return torch.where(labels == classes, 0, labels) if unlabelled == "class-0" else labels


def shares(labels: Tensor, unlabelled: Unlabelled, classes: int) -> Tensor:
    """Return the shares of classes (N, C), or (N, C + 1) with a class of its own, in patches with labels (N, L)."""
    numbers = merged(labels.long(), unlabelled, classes)
    places = torch.arange(len(numbers), device=numbers.device)[:, None] * (classes + 1)
    counts = torch.bincount((numbers + places).flatten(), minlength=len(numbers) * (classes + 1))
    counts = counts.view(len(numbers), classes + 1).float()
    if unlabelled != "own-class":
        counts = counts[:, :classes]
    return counts / counts.sum(1, keepdim=True)


class Retrieval:
    """A bank that images' patches are looked up in."""

    def __init__(
        self,
        across: int,
        patches: See,
        bank: OpenBank,
        labels: int,
        recipe: NearestPatchesRecipe,
        keys: type[Keys],
    ) -> None:
        """Take a bank whose labels are of so many classes, and what gives the patches of images, `across` a side."""
        self.across, self.patches, self.bank, self.labels, self.recipe = across, patches, bank, labels, recipe
        self.keys = keys
        self.classes = labels + (recipe.unlabelled == "own-class")  # what may be predicted

    @torch.inference_mode()
    def predicted(self, images: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> Iterator[np.ndarray]:
        """Yield the classes (side, side) of images as `patches` takes them.

        Each image is a matrix product of its own with each block, so that no bit of it depends on the others.
        """
        found = [Nearest(self.patches(image[None])[0], self.recipe.neighbors, "cosine") for image in images]
        for start, block in self.bank.blocks():
            keys = self.keys.of(block, "cosine")
            for one in found:
                one.add(keys, start)
        for one, size in zip(found, sizes, strict=True):
            scores = self.scores(one).T.reshape(1, -1, self.across, self.across)
            large = functional.interpolate(scores, (size[0], size[1]), mode="bilinear", align_corners=False)
            yield large[0].argmax(0).cpu().numpy()

    def scores(self, found: Nearest) -> Tensor:
        """Return the scores (P, C) of patches whose nearest were found."""
        labels = self.bank.labels(found.rows).to(found.rows.device)  # (P, k, L)
        values = shares(labels.flatten(0, 1), self.recipe.unlabelled, self.labels)  # (P k, C)
        weights = (found.similarity / self.recipe.temperature).softmax(1)  # (P, k)
        return (weights[:, None] @ values.view(*found.rows.shape, -1))[:, 0]
