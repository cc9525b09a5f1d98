"""The labelled images of a classification data set, read from its usual folder layout.

| layout   | DATA is the folder that holds                                                              |
|----------|--------------------------------------------------------------------------------------------|
| imagenet | train/<class>/*.JPEG, val/<class>/*.JPEG; for 1 % and 10 %: 1percent.txt, 10percent.txt    |
| voc      | VOC2007/ (or VOCdevkit/VOC2007/) with Annotations, ImageSets/Main, JPEGImages              |
| inat     | train2018.json, val2018.json, train_val2018/<supercategory>/<category id>/*.jpg            |
| places   | train_places205.csv, val_places205.csv and the images; or train/<class>/, val/<class>/     |

The `test` split is the one that papers report on: val of ImageNet, iNaturalist 2018 and Places205, test of VOC2007.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinbench.protocols.house import UserError, unknown

LAYOUTS = ("imagenet", "voc", "inat", "places")


class DataError(UserError):
    """A data set that is missing, incomplete, damaged, or not in the layout it was said to be in."""


@dataclass(frozen=True)
class LabelledImages:
    """One split. `targets` is (N,) int64 class indices, or (N, K) int8 in {1, 0, -1} with -1 = ignore (VOC)."""

    paths: Sequence[Path]
    targets: np.ndarray
    classes: tuple[str, ...]


def read_labelled(
    layout: str, root: Path, split: str, fraction: str = "100%", subset: Path | None = None
) -> LabelledImages:
    """Return the `train` or `test` split of the data set at `root`.

    `fraction` is `100%`, or `10%` or `1%` of ImageNet's training images by the list `subset`, by default the one in
    `root`. The order is the same on every machine: VOC by image id, the others by path or by their list. DataError
    names what does not fit.
    """
    if layout not in LAYOUTS:
        raise DataError(unknown("layout", layout, LAYOUTS))
    if split not in ("train", "test"):
        raise DataError(unknown("split", split, ("train", "test")))
    if fraction != "100%" and (layout, split) != ("imagenet", "train"):
        raise DataError(f"{fraction} of {layout} {split}: only the training images of imagenet have subset lists")
    try:
        return _read(layout, root, split, fraction, subset)
    except OSError as error:
        raise unreadable(error) from None


def unreadable(error: OSError) -> DataError:
    """Return the DataError for what the operating system refuses: a folder closed to us, a disk that fails."""
    return DataError(
        f"{error.filename}: cannot be read ({error.strerror}); expected to be let in; check who may read it"
    )


def _read(layout: str, root: Path, split: str, fraction: str, subset: Path | None) -> LabelledImages:
    """Hand over to the reader of the layout, imported only now."""
    if layout == "imagenet":
        from twinbench.data.imagenet import read_imagenet

        return read_imagenet(root, split, fraction, subset)
    if layout == "voc":
        from twinbench.data.voc import read_voc07

        return read_voc07(root, split)
    if layout == "inat":
        from twinbench.data.inat import read_inat

        return read_inat(root, split)
    from twinbench.data.places import read_places

    return read_places(root, split)


def require_counts(
    root: Path, train: LabelledImages, test: LabelledImages, images: tuple[int, int], classes: int
) -> None:
    """Raise DataError unless the splits hold `images` (training, test) and `classes`, as a protocol expects them.

    Splits of different classes are never right; they raise too.
    """
    require_same_classes(root, train, test)
    found = (len(train.paths), len(test.paths), len(train.classes))
    if found != (*images, classes):
        raise DataError(
            f"{root}: {found[0]} training and {found[1]} test images of {found[2]} classes; the protocol expects"
            f" {images[0]}, {images[1]} and {classes}; run `twinbench data check` to see what is missing, or add"
            " --partial to go on with a row that is marked"
        )


def require_same_classes(root: Path, train: LabelledImages, test: LabelledImages) -> None:
    """Raise DataError if the two splits do not have the same classes in the same order."""
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        first = f"'{odd[0]}' is in one only" if odd else "their order differs"
        raise DataError(
            f"{root}: {len(train.classes)} training and {len(test.classes)} test classes; {first}; expected the same"
            " list; are these two data sets?"
        )


def require_folder(root: Path, needs: str, holds: str) -> None:
    """Raise DataError unless `root` is a folder with the entry `needs`; `holds` says what belongs there."""
    if not root.is_dir():
        found = "not a folder" if root.exists() else "no such folder"
        raise DataError(f"{root}: {found}; expected the folder that holds {holds}; check the path")
    entries = sorted(os.listdir(root))
    if needs in entries:
        return
    if not entries:
        raise DataError(f"{root}: the folder is empty; expected {holds}; unpack the data set there")
    shown = ", ".join(entries[:3]) + (", ..." if len(entries) > 3 else "")
    hint = _nearby(root, needs) or "give the data set's root folder"
    raise DataError(f"{root}: no {needs} in it, but {shown}; expected {holds}; {hint}")


def _nearby(root: Path, needs: str) -> str:
    """Return where `needs` can be found instead: above `root`, where somebody gave a folder of the data set."""
    for above in list(root.resolve().parents)[:2]:
        if (above / needs).exists():
            return f"this looks like a folder inside the data set: give {above}"
    return ""


def read_text(path: Path, advice: str, at_most: int = 500_000_000) -> str:
    """Return a text file of up to `at_most` bytes; DataError, which ends in `advice`, if there is none to be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{path}: not a file; {advice}")
        if status.st_size > at_most:
            raise DataError(f"{path}: {status.st_size} bytes, too many: such files have {at_most} at most; {advice}")
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {advice}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {advice}") from None


def as_targets(labels: list[int]) -> np.ndarray:
    """Return class indices as (N,) int64."""
    return np.asarray(labels, dtype=np.int64).reshape(len(labels))
