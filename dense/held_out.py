"""Training images that are held out to choose a setting, and the settings that are tried on them side by side."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from twinbench.data.pixels.opened import PixelData
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.counting import Counted
from twinbench.dense.images import labels_of
from twinbench.dense.nearest.kept import See, Split, seen
from twinbench.dense.nearest.patches import Patches
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
    patches: Patches
    settings: int
    classes: int  # what each may predict
    # images' patches (P, F) to the answers (side, side) by each setting, image by image
    answers: Callable[[Sequence[Tensor]], Iterable[Sequence[np.ndarray]]]
    together: int = 1  # images that are given to `answers` at once

    def tried(self, held: Sequence[int]) -> list[float]:
        """Return the mIoU of each setting on the training images that choose."""
        run = self.run
        counted = self.counted("train", held, "images that choose")
        owner = run.owner | {"part": CHOOSING}
        table = table_of(
            counted.cells(run.out / CHOOSING, owner, run.process, run.workers), self.classes * self.settings
        )
        names = list(map(str, range(self.classes)))
        own = [slice(first, first + self.classes) for first in self._firsts]
        return [scores_of(table[part, part], names).metrics["mIoU"] for part in own]

    def counted(self, name: Split, chosen: Sequence[int] | None = None, what: str = "test images") -> Counted:
        """Return the images of a split, or those at the `chosen` places, with what predicts them."""
        records, images = self.run.data.split(name), seen(self.run, self.patches, name, chosen)
        records = records if chosen is None else records.where(np.array(chosen))

        def truth(index: int) -> np.ndarray:
            labels = self.patches.squares.labels(labels_of(records[index], self.run.data.decode))
            if self.settings == 1:
                return labels
            return np.stack([np.where(labels == UNLABELLED, UNLABELLED, labels + first) for first in self._firsts])

        predict = partial(self._predicted, images.patches)
        classes = self.classes * self.settings
        return Counted(images.images, records, truth, predict, self.together, what, classes=classes)

    @torch.inference_mode()
    def _predicted(self, see: See, images: Sequence[Tensor], _: Sequence[tuple[int, ...]]) -> Iterator[np.ndarray]:
        """Yield the classes (settings, side, side), of one setting (side, side), of images as `see` takes them."""
        for answers in self.answers([see(image[None])[0] for image in images]):
            if self.settings == 1:
                yield answers[0]
            else:
                yield np.stack([answer + first for answer, first in zip(answers, self._firsts, strict=True)])

    @property
    def _firsts(self) -> range:
        """The first class of each setting."""
        return range(0, self.classes * self.settings, self.classes)
