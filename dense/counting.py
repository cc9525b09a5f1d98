"""Images that a recipe predicts, counted one by one so that a kill loses nothing, and the best and the worst drawn."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from twinbench.data.objects.packed import Records
from twinbench.data.pixels.pictures import Colours, Shown, best_and_worst, draw_sheet
from twinbench.dense.images import image_of
from twinbench.runtime.confusion import Cells, cells_of, confusion, image_scores
from twinbench.runtime.kept import Counts, KeptCounts
from twinbench.runtime.loading import batches_of
from twinbench.runtime.process import Process
from twinbench.runtime.progress import bar
from twinbench.runtime.stopping import ignore_signals

# Images (3, h, w) uint8, and the (H, W) of each one's labels, to as many predictions (H, W).
Predict = Callable[[Sequence[Tensor], Sequence[tuple[int, ...]]], Iterable[np.ndarray]]
Count = Callable[[np.ndarray, np.ndarray], Counts]  # of an image: its truth and its prediction


@dataclass(frozen=True)
class Predicted:
    """Images with what predicts them. What is predicted of one must not depend on those that come with it."""

    images: Dataset[Tensor]  # (3, h, w) uint8, in the network's size, in the order of the records
    records: Records
    truth: Callable[[int], np.ndarray]  # an image's labels (H, W)
    predict: Predict
    together: int = 1  # images that are given to `predict` at once
    what: str = "test images"

    def counts(self, count: Count, folder: Path, owner: dict[str, Any], process: Process, workers: int) -> list[Counts]:
        """Return the counts of every image, of which those that `owner` has in the folder are not counted again."""
        kept = KeptCounts(folder, owner, len(self.records), process)
        return kept.complete(self._counts(count, kept.share, workers))

    def _counts(self, count: Count, share: list[int], workers: int) -> Iterator[tuple[int, Counts]]:
        """Yield the images of a share with their counts."""
        loader = DataLoader(
            Subset(self.images, share),
            self.together,
            collate_fn=list,
            num_workers=workers,
            worker_init_fn=ignore_signals,
        )
        left = iter(share)
        shown = bar(
            batches_of(loader), what=self.what, total=len(loader), unit="image" if self.together == 1 else "group"
        )
        with shown as groups:
            for images in groups:
                indices = [next(left) for _ in images]
                truths = [self.truth(index) for index in indices]
                predictions = self.predict(images, [truth.shape for truth in truths])
                for index, truth, predicted in zip(indices, truths, predictions, strict=True):
                    yield index, count(truth, predicted)

    def best_and_worst(self, scores: Sequence[float]) -> list[Shown]:
        """Return the images of the highest and of the lowest `scores` with what is predicted of them."""
        chosen = best_and_worst(scores)
        truths = [self.truth(index) for index in chosen]
        images = [self.images[index] for index in chosen]
        predictions = self.predict(images, [truth.shape for truth in truths])
        rows: list[Shown] = []
        for index, truth, predicted in zip(chosen, truths, predictions, strict=True):
            record = self.records[index]
            rows.append(Shown(str(record["image_id"]), image_of(record), truth, predicted, scores[index]))
        return rows


@dataclass(frozen=True, kw_only=True)
class Counted(Predicted):
    """Images of which classes are predicted; labels are UNLABELLED where there are none."""

    classes: int

    def cells(self, folder: Path, owner: dict[str, Any], process: Process, workers: int) -> list[Cells]:
        """Return how often each class was taken for which one, of every image."""

        def count(truth: np.ndarray, predicted: np.ndarray) -> Cells:
            return cells_of(confusion(truth, predicted, self.classes))

        return self.counts(count, folder, owner, process, workers)

    def draw(self, cells: list[Cells], names: Sequence[str], colours: Colours, path: Path) -> None:
        """Write a picture of the best and the worst images."""
        draw_sheet(self.best_and_worst(image_scores(cells, names)), names, colours, path)
