"""CAPI's k-NN of patches: k and distance chosen on training images held out, then every test image counted.

Letters: P patches of an image, F features, L pixels of a patch, k neighbours, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from twinbench.data.pixels.pictures import NOT_LABELLED
from twinbench.dense.held_out import SideBySide, require_labels, split
from twinbench.dense.nearest.bank import Moments, OpenBank, pieces_of, standardized
from twinbench.dense.nearest.faiss_search import keys_by
from twinbench.dense.nearest.fill import filled
from twinbench.dense.nearest.patches import Patches
from twinbench.dense.nearest.search import Nearest
from twinbench.dense.nearest.trial import NO_LABEL, TOGETHER, require_rows
from twinbench.dense.nearest.votes import labelled, votes
from twinbench.dense.trial import COUNTS, PICTURE, Measured, Run, segmented
from twinbench.protocols.kinds.nearest_patches import NearestPatchesGridRecipe
from twinbench.runtime.confusion import scores_of, table_of

CHOSEN = "k and distance"

Cell = tuple[int, str]  # k and distance


def measure_grid(run: Run) -> Measured | None:
    """Make the bank, choose k and distance, and count the pixels of each pair of true and predicted class."""
    recipe: NearestPatchesGridRecipe = run.recipe
    data, process = run.data, run.process
    keys_by(run.options.search, process.device)  # told before the bank is made
    patches = Patches(run)
    kept, held = split(len(data.train), recipe.held_out, run.trial.seed, CHOSEN)
    first, second = (pieces_of([(0, index) for index in part], patches.count) for part in (kept, held))
    classes = len(data.classes)
    require_labels(data, held, recipe.held_out, CHOSEN)
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
    counted = last.side_by_side.counted("test")
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
    return segmented(run, scores, _curves(tried), details)


def _cells(recipe: NearestPatchesGridRecipe) -> list[Cell]:
    """Return the grid in the order in which the first of equals is chosen."""
    return list(product(recipe.neighbors, recipe.distances))


def _curves(tried: dict[Cell, float]) -> dict[str, list[list[float]]]:
    """Return [k, mIoU] on the images that chose, by distance."""
    found: dict[str, list[list[float]]] = {}
    for (k, distance), value in sorted(tried.items()):
        found.setdefault(f"mIoU by k, {distance}", []).append([k, value])
    return found


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
        return dict(zip(self.cells, self.side_by_side.tried(held), strict=True))

    @property
    def side_by_side(self) -> SideBySide:
        """The pairs as settings whose answers are counted."""
        return SideBySide(self.run, self.patches, len(self.cells), self.classes, self.predicted, TOGETHER)

    @torch.inference_mode()
    def predicted(self, images: Sequence[Tensor]) -> Iterator[list[np.ndarray]]:
        """Yield the classes (side, side) by each pair of images, given by their patches (P, F)."""
        most: dict[str, int] = {}
        for k, distance in self.cells:
            most[distance] = max(k, most.get(distance, 0))
        queries = [self._standard(rows) for rows in images]
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

    def _answers(self, found: dict[str, Nearest]) -> list[np.ndarray]:
        """Return the classes of one image by each pair."""
        labels = {name: self.bank.labels(nearest.rows).to(nearest.rows.device) for name, nearest in found.items()}
        answers: list[np.ndarray] = []
        for k, distance in self.cells:
            by_patch = votes(labels[distance][:, :k], self.classes - 1).cpu().numpy()
            answers.append(self.patches.squares.from_patches(by_patch, self.patches.grain))
        return answers

    def _standard(self, rows: Tensor) -> Tensor:
        """Return rows (N, F) as they are compared."""
        return rows if self.moments is None else standardized(rows, self.moments)
