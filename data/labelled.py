"""What a reader returns: the images of one split with their labels, and what two splits owe each other."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.items import ImageList
from twinbench.data.source import Source


@dataclass(frozen=True)
class LabelledImages:
    """One split. `targets` is (N,) int64 class indices, or (N, K) int8 in {1, 0, -1} with -1 = ignore (VOC)."""

    paths: ImageList
    targets: np.ndarray
    classes: tuple[str, ...]
    root: Path = Path("/")  # that an identity's names of files start from: equal names in every copy of the data set
    sources: tuple[Path, ...] = ()  # the lists and folders, apart from the images' own, that say what is in the split
    left_out: dict[str, int] = field(default_factory=dict)  # what else lies there: why it is no image, how many


def told_left_out(images: LabelledImages) -> str:
    """Return what a reader has left out, in words; empty if nothing."""
    return ", ".join(f"{count:,} {why}" for why, count in sorted(images.left_out.items()) if count)


def as_targets(labels: list[int]) -> np.ndarray:
    """Return class indices as (N,) int64."""
    return np.asarray(labels, dtype=np.int64).reshape(len(labels))


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
            " --partial to go on with a row that is marked"
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
    """Raise DataError for a class with several-label targets that has no positive or no negative.

    Every ranking of its images is perfect, or none has a value. Lists of 1 and 0 or of 1 and -1 are about whose 0 or -1
    was meant as absent and reads as ignored: with nothing but positives left, each class had an AP of 100.
    """
    if images.targets.ndim == 1:
        return
    for column, name in enumerate(images.classes):
        targets = images.targets[:, column]
        counts = {code: int((targets == code).sum()) for code in (1, 0, -1)}
        if not counts[1] or not counts[0]:
            raise DataError(
                f"{source}: class '{name}' has {counts[1]} positive, {counts[0]} negative and {counts[-1]} ignored"
                f" {split} images; expected at least one positive and one negative; correct its labels, or leave it out"
                " by a list of the classes to keep: DATA?classes=FILE"
            )
