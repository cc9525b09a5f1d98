"""Training images that are held out to choose a setting, and the settings that are tried on them side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from twinbench.data.objects.packed import Records
from twinbench.data.pixels.opened import PixelData
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.counting import Counted
from twinbench.dense.images import labels_of
from twinbench.dense.nearest.images import SquareImages, Squares
from twinbench.dense.places import DenseError
from twinbench.dense.trial import CHOOSING, Run
from twinbench.runtime.confusion import scores_of, table_of
from twinbench.runtime.seeds import generator


def split(images: int, share: float, seed: int, what: str) -> tuple[list[int], list[int]]:
    """Return the training images that are not held out, and those that choose `what`, each in their order.

    DenseError where none would be left, or none chosen on.
    """
    count = int(images * share)
    if not 0 < count < images:
        raise DenseError(
            f"held_out={share}: {count} of {images} training images would choose {what}; expected one at least, and "
            "one that is left; use --set held_out="
        )
    order = generator(seed).permutation(images)
    return sorted(order[count:].tolist()), sorted(order[:count].tolist())


def require_labels(data: PixelData, held: Sequence[int], share: float, what: str) -> None:
    """Raise DenseError unless an image that chooses has a label: else no mIoU would be a number to choose by."""
    if not any((labels_of(data.train[index], data.decode) != UNLABELLED).any() for index in held):
        raise DenseError(
            f"held_out={share}: none of the {len(held)} training images that would choose {what} shows a class; "
            "expected one that does; use --set held_out=, or another --seed"
        )


@dataclass(frozen=True)
class SideBySide:
    """Images that several settings predict at once, each with as many classes of its own in one table of counts."""

    run: Run
    squares: Squares
    settings: int
    classes: int  # what each may predict
    answers: Callable[[Sequence[Tensor]], Iterable[Sequence[np.ndarray]]]  # of each image (side, side) by each setting
    together: int = 1  # images that are given to `answers` at once

    def tried(self, records: Records) -> list[float]:
        """Return the mIoU of each setting on the images that choose."""
        run = self.run
        counted = self.counted(records, "images that choose")
        owner = run.owner | {"part": CHOOSING}
        table = table_of(
            counted.cells(run.out / CHOOSING, owner, run.process, run.workers), self.classes * self.settings
        )
        names = list(map(str, range(self.classes)))
        own = [slice(first, first + self.classes) for first in self._firsts]
        return [scores_of(table[part, part], names).metrics["mIoU"] for part in own]

    def counted(self, records: Records, what: str = "test images") -> Counted:
        """Return images with what predicts them."""

        def truth(index: int) -> np.ndarray:
            labels = self.squares.labels(labels_of(records[index], self.run.data.decode))
            if self.settings == 1:
                return labels
            return np.stack([np.where(labels == UNLABELLED, UNLABELLED, labels + first) for first in self._firsts])

        images = SquareImages(records, self.squares)
        return Counted(images, records, truth, self._predicted, self.classes * self.settings, self.together, what)

    def _predicted(self, images: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> Iterator[np.ndarray]:
        """Yield the classes (settings, side, side), of one setting (side, side), of images (3, side, side) uint8."""
        for answers in self.answers(images):
            if self.settings == 1:
                yield answers[0]
            else:
                yield np.stack([answer + first for answer, first in zip(answers, self._firsts, strict=True)])

    @property
    def _firsts(self) -> range:
        """The first class of each setting."""
        return range(0, self.classes * self.settings, self.classes)
