"""What a reader returns: the images of one split with their labels, and what two splits owe each other."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.items import ImageList
from twinbench.data.source import Source

UNLABELLED = ("",)  # the classes of images whose labels are not known: one, for all of them
BLOCK = 1024  # images counted at a time
MAX_TARGETS = 1_000_000_000  # of several labels, a byte each; Open Images' 1.7 million images have 601 classes


@dataclass(frozen=True)
class LabelledImages:
    """One split. `targets` is (N,) int64 class indices, or (N, K) int8 in {1, 0, -1} with -1 = ignore (VOC)."""

    paths: ImageList
    targets: np.ndarray
    classes: tuple[str, ...]
    root: Path = Path("/")  # that an identity's names of files start from: equal names in every copy of the data set
    sources: tuple[Path, ...] = ()  # the lists and folders, apart from the images' own, that say what is in the split
    left_out: dict[str, int] = field(default_factory=dict)  # what else lies there: why it is no image, how many

    def part(self, chosen: np.ndarray) -> "LabelledImages":
        """Return the split with the images that are `chosen`, (N,) bool, in their order."""
        if chosen.all():
            return self
        places = np.flatnonzero(chosen)
        return replace(self, paths=self.paths.select(places.tolist()), targets=self.targets[places])


def no_images(like: LabelledImages) -> LabelledImages:
    """Return a split of the same classes with no image: what a set that only tests trains on."""
    return replace(like, paths=like.paths.select([]), targets=like.targets[:0], sources=(), left_out={})


def told_left_out(images: LabelledImages) -> str:
    """Return what a reader has left out, in words; empty if nothing."""
    return ", ".join(f"{count:,} {why}" for why, count in sorted(images.left_out.items()) if count)


def as_targets(labels: list[int]) -> np.ndarray:
    """Return class indices as (N,) int64."""
    return np.asarray(labels, dtype=np.int64).reshape(len(labels))


def absent(where: Path | Source, images: int, classes: int) -> np.ndarray:
    """Return targets of several labels, (images, classes) int8, all 0; DataError for more than a machine should hold.

    A column of remarks taken for labels has a class for each image: a list of a few megabytes would ask for terabytes.
    """
    if images * classes > MAX_TARGETS:
        raise DataError(
            f"{where}: {images:,} images by {classes:,} classes; expected {MAX_TARGETS:,} labels at most; are these"
            " the labels?"
        )
    return np.zeros((images, classes), dtype=np.int8)


def require_counts(
    root: Path | Source, train: LabelledImages, test: LabelledImages, images: tuple[int, int], classes: int
) -> None:
    """Raise DataError unless the splits hold `images` (training, test) and `classes`, as a protocol expects them.

    Any number is right where 0 is expected. Splits of different classes are never right; they raise too.
    """
    require_same_classes(root, train, test)
    found = (len(train.paths), len(test.paths), len(train.classes))
    expected = (*images, classes)
    wrong = [wanted and wanted != number for wanted, number in zip(expected, found, strict=True)]
    if any(wrong):
        words = [str(wanted) if wanted else "any number" for wanted in expected]
        raise DataError(
            f"{root}: {found[0]} training and {found[1]} test images of {found[2]} classes; the protocol expects"
            f" {words[0]}, {words[1]} and {words[2]}; run `twinbench data check` to see what is missing, or add"
            " --partial (in a suite `partial: true`) to go on with a row that is marked"
        )


def require_same_classes(root: Path | Source, train: LabelledImages, test: LabelledImages) -> None:
    """Raise DataError if the two splits do not have the same classes in the same order."""
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        first = f"'{odd[0]}' is in one only" if odd else "their order differs"
        raise DataError(
            f"{root}: {len(train.classes)} training and {len(test.classes)} test classes; {first}; expected the same"
            " list; are these two data sets?"
        )


def require_both_sides(source: Path | Source, split: str, images: LabelledImages) -> None:
    """Raise DataError for images without labels, and for one of several classes without a positive or a negative.

    Every ranking of its images is perfect, or none has a value. Lists of 1 and 0 or of 1 and -1 are about whose 0 or -1
    was meant as absent and reads as ignored: with nothing but positives left, each class had an AP of 100.
    """
    if images.classes == UNLABELLED:
        raise DataError(f"{source}: {split} images without labels; expected some; only pretraining goes without")
    if images.targets.ndim == 1:
        return
    counts = _counted(images.targets)
    for name, (positive, negative, ignored) in zip(images.classes, counts.tolist(), strict=True):
        if not positive or not negative:
            raise DataError(
                f"{source}: class '{name}' has {positive} positive, {negative} negative and {ignored} ignored"
                f" {split} images; expected at least one positive and one negative; correct its labels, or leave it out"
                " by a list of the classes to keep: DATA?classes=FILE"
            )


def _counted(targets: np.ndarray) -> np.ndarray:
    """Return how many images are positive, negative and ignored, (K, 3), of targets (N, K)."""
    counts = np.zeros((3, targets.shape[1]), dtype=np.int64)
    for start in range(0, len(targets), BLOCK):  # whole rows: column by column takes minutes for many classes
        block = targets[start : start + BLOCK]
        counts += [np.count_nonzero(block == code, axis=0) for code in (1, 0, -1)]
    return counts.T
