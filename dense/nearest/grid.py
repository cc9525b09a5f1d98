"""CAPI's k-NN of patches: k and distance chosen on training images held out, then every test image counted.

Letters: P patches of an image, F features, L pixels of a patch, k neighbours, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor

from twinbench.data.objects.packed import Records
from twinbench.data.pixels.opened import PixelData
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.data.pixels.pictures import NOT_LABELLED
from twinbench.dense.counting import Counted
from twinbench.dense.images import labels_of
from twinbench.dense.nearest.bank import OpenBank, pieces_of
from twinbench.dense.nearest.faiss_search import keys_by
from twinbench.dense.nearest.fill import filled
from twinbench.dense.nearest.kept import See, Seen, seen
from twinbench.dense.nearest.patches import Patches
from twinbench.dense.nearest.search import Nearest
from twinbench.dense.nearest.trial import NO_LABEL, TOGETHER, require_rows
from twinbench.dense.places import DenseError
from twinbench.dense.trial import CHOOSING, COUNTS, PICTURE, Measured, Run
from twinbench.protocols.kinds.nearest_patches import NearestPatchesGridRecipe
from twinbench.runtime.confusion import Cells, scores_of, table_of
from twinbench.runtime.seeds import generator

VOTED = 256  # patches whose pixels' votes are counted at once

Cell = tuple[int, str]  # k and distance
Moments = tuple[Tensor, Tensor]  # mean and deviation (F,)


def measure_grid(run: Run) -> Measured | None:
    """Make the bank, choose k and distance, and count the pixels of each pair of true and predicted class."""
    recipe: NearestPatchesGridRecipe = run.recipe
    data, process = run.data, run.process
    keys_by(run.options.search, process.device)  # told before the bank is made
    patches = Patches(run)
    kept, held = split(len(data.train), recipe.held_out, run.trial.seed)
    first, second = (pieces_of([(0, index) for index in part], patches.count) for part in (kept, held))
    classes = len(data.classes)
    _require_labels(data, held, recipe.held_out)
    require_rows(len(kept) * patches.count, max(recipe.neighbors), "can have at most")
    bank = filled(
        run, patches, first + second, patches.count, lambda key, labels: labelled(labels, classes), moments=True
    )
    moments = bank.moments(len(first)) if recipe.standardize else None
    neighbours = bank.opened(process.device, len(first))
    tried = _Grid(run, patches, neighbours, moments, _cells(recipe)).tried(held)
    del neighbours  # on a GPU it may fill half of the memory
    best = max(tried, key=tried.__getitem__)
    last = _Grid(run, patches, bank.opened(process.device), moments, [best])
    counted = last.counted(data.test, seen(run, patches, "test"), "test images")
    cells = counted.cells(run.out / COUNTS, run.owner, process, run.workers)
    if not process.is_main:
        return None
    names, colours = (*data.classes, NO_LABEL), (*data.colours, NOT_LABELLED)
    counted.draw(cells, names, colours, run.out / PICTURE)
    details = {
        "neighbors": best[0],
        "distance": best[1],
        "chosen_on": f"{len(held)} training images",
        "patches": len(last.bank),
        "features": patches.width,
        "side": patches.squares.side,
    }
    scores = scores_of(table_of(cells, len(names)), names, 1)
    return Measured(scores, _curves(tried), details)


def _cells(recipe: NearestPatchesGridRecipe) -> list[Cell]:
    """Return the grid in the order in which the first of equals is chosen."""
    return list(product(recipe.neighbors, recipe.distances))


def _curves(tried: dict[Cell, float]) -> dict[str, list[list[float]]]:
    """Return [k, mIoU] on the images that chose, by distance."""
    found: dict[str, list[list[float]]] = {}
    for (k, distance), value in sorted(tried.items()):
        found.setdefault(f"mIoU by k, {distance}", []).append([k, value])
    return found


def split(images: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the training images that are neighbours, and those that choose, each in their order.

    DenseError where none would be left, or none chosen on.
    """
    count = int(images * share)
    if not 0 < count < images:
        raise DenseError(
            f"held_out={share}: {count} of {images} training images would choose k and distance; expected one at "
            "least, and one that is left; use --set held_out="
        )
    order = generator(seed).permutation(images)
    return sorted(order[count:].tolist()), sorted(order[:count].tolist())


def _require_labels(data: PixelData, held: Sequence[int], share: float) -> None:
    """Raise DenseError unless an image that chooses has a label: else no mIoU would be a number to choose by."""
    if not any((labels_of(data.train[index], data.decode) != UNLABELLED).any() for index in held):
        raise DenseError(
            f"held_out={share}: none of the {len(held)} training images that would choose k and distance shows a "
            "class; expected one that does; use --set held_out=, or another --seed"
        )


def labelled(labels: Tensor, classes: int) -> Tensor:
    """Return the numbers of the patches with labels (P, L) most of whose pixels have a label, or the most of a class.

    That there is no label, the number of classes, comes before all classes where both are as frequent.
    """
    return (_voted(labels[:, :, None], classes)[:, 0] != classes).nonzero()[:, 0]


def votes(labels: Tensor, classes: int) -> Tensor:
    """Return what most of the k neighbours' labels (P, k, L) say for each pixel, (P, L)."""
    parts = [_voted(part, classes) for part in labels.split(VOTED)]
    return torch.cat(parts)


def _voted(labels: Tensor, classes: int) -> Tensor:
    """Return the most frequent of labels (P, n, L) along n; of equal ones no label first, then the lower class."""
    here, pixels = len(labels), labels.shape[2]
    numbers = (labels.long() + 1) % (classes + 1)  # no label, the number of classes, is 0
    places = torch.arange(here * pixels, device=labels.device).view(here, 1, pixels) * (classes + 1)
    counts = torch.bincount((numbers + places).flatten(), minlength=here * pixels * (classes + 1))
    most = counts.view(here, pixels, classes + 1).argmax(2)
    return (most + classes) % (classes + 1)


@dataclass(frozen=True)
class _Grid:
    """A bank with some pairs of k and distance, by each of which images are predicted, in one search a distance."""

    run: Run
    patches: Patches
    bank: OpenBank
    moments: Moments | None
    cells: Sequence[Cell]

    def __post_init__(self) -> None:
        """Refuse more neighbours than there are patches."""
        require_rows(len(self.bank), max(k for k, _ in self.cells))

    @property
    def classes(self) -> int:
        """What may be predicted: a class, or that there is no label."""
        return len(self.run.data.classes) + 1

    def tried(self, held: Sequence[int]) -> dict[Cell, float]:
        """Return the mIoU of each pair on the training images that choose."""
        run = self.run
        records = run.data.train.where(np.array(held))
        counted = self.counted(records, seen(run, self.patches, "train", held), "images that choose")
        owner = run.owner | {"part": CHOOSING}
        cells = counted.cells(run.out / CHOOSING, owner, run.process, run.workers)
        return dict(zip(self.cells, self._mious(cells), strict=True))

    def _mious(self, cells: list[Cells]) -> Iterator[float]:
        """Yield each pair's mIoU of counts in which the pairs' classes stand one behind the other."""
        table, names = table_of(cells, self.classes * len(self.cells)), list(map(str, range(self.classes)))
        for place in range(len(self.cells)):
            own = slice(place * self.classes, (place + 1) * self.classes)
            yield scores_of(table[own, own], names).metrics["mIoU"]

    def counted(self, records: Records, images: Seen, what: str) -> Counted:
        """Return images with what predicts them: by the pairs one behind the other, each with classes of its own."""
        squares = self.patches.squares

        def truth(index: int) -> np.ndarray:
            labels = squares.labels(labels_of(records[index], self.run.data.decode))
            if len(self.cells) == 1:
                return labels
            return np.stack([np.where(labels == UNLABELLED, UNLABELLED, labels + first) for first in self._firsts])

        return Counted(
            images.images,
            records,
            truth,
            partial(self.predicted, images.patches),
            self.classes * len(self.cells),
            TOGETHER,
            what,
        )

    @property
    def _firsts(self) -> range:
        """The first class of each pair."""
        return range(0, self.classes * len(self.cells), self.classes)

    @torch.inference_mode()
    def predicted(
        self, patches: See, images: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]
    ) -> Iterator[np.ndarray]:
        """Yield the classes (pairs, side, side), of one pair (side, side), of images as `patches` takes them."""
        most: dict[str, int] = {}
        for k, distance in self.cells:
            most[distance] = max(k, most.get(distance, 0))
        queries = [self._standard(patches(image[None])[0]) for image in images]
        found = [{name: Nearest(rows, k, name) for name, k in most.items()} for rows in queries]
        keys_of = keys_by(self.run.options.search, self.run.process.device)
        for start, block in self.bank.blocks():
            rows = self._standard(block)
            for distance in most:
                keys = keys_of.of(rows, distance)
                for by_distance in found:
                    by_distance[distance].add(keys, start)
        for by_distance in found:
            yield self._answers(by_distance)

    def _answers(self, found: dict[str, Nearest]) -> np.ndarray:
        """Return the classes of one image by each pair."""
        labels = {name: self.bank.labels(nearest.rows).to(nearest.rows.device) for name, nearest in found.items()}
        answers: list[np.ndarray] = []
        for (k, distance), first in zip(self.cells, self._firsts, strict=True):
            by_patch = votes(labels[distance][:, :k], self.classes - 1).cpu().numpy()
            answers.append(self.patches.squares.from_patches(by_patch, self.patches.grain) + first)
        return answers[0] if len(answers) == 1 else np.stack(answers)

    def _standard(self, rows: Tensor) -> Tensor:
        """Return rows (N, F) less the mean, over the deviation."""
        if self.moments is None:
            return rows
        mean, deviation = (values.to(rows) for values in self.moments)
        return (rows - mean) / deviation
