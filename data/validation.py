"""The part of the training images that a setting is chosen on: an official split among them, or a draw."""

from dataclasses import replace

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.items import ImageList
from twinbench.data.labelled import LabelledImages
from twinbench.data.layouts import read_labelled
from twinbench.data.paths import PathList
from twinbench.data.source import VALIDATION, Source
from twinbench.protocols.datasets import DataSet


def with_validation(source: Source, data_set: DataSet, *, wanted: bool) -> Source:
    """Return the source with the name of its validation split, by default the data set's, if that is `wanted`."""
    options = {name: value for name, value in source.options.items() if name != VALIDATION}
    name = source.named(VALIDATION) or data_set.validation
    if wanted and name:
        options[VALIDATION] = name
    return replace(source, options=options)


def validation_images(layout: str, source: Source) -> LabelledImages:
    """Return the split that a source's `validation` names, whole; it is read as another training split would be."""
    split = source.named(VALIDATION)
    options = {name: value for name, value in source.options.items() if name != VALIDATION}
    options["train"] = split
    try:
        return read_labelled(layout, replace(source, options=options, limit=0), "train")
    except DataError as error:
        raise DataError(f"validation split {split}: {error}") from None


def official(layout: str, source: Source, train: LabelledImages) -> np.ndarray | None:
    """Return which of the training images are those of the split that `?validation=` names, (N,) bool; None without.

    DataError where there is no such split, where it is not among the training images, or where it is all of them.
    """
    split = source.named(VALIDATION)
    if not split:
        return None
    wanted = set(_keys(source, validation_images(layout, source).paths))
    if source.limit:
        wanted &= set(_keys(source, train.paths))
    if not wanted:
        raise DataError(f"{source}: none of the {len(train.paths)} training images is of {split}; raise the limit")
    found = np.array([key in wanted for key in _keys(source, train.paths)], bool)
    if found.sum() < len(wanted):
        raise DataError(
            f"{source}: {len(wanted) - int(found.sum())} of the {len(wanted)} images of {split} are not among the "
            f"{len(found)} training images; expected all of them there, as in ?train=train+{split}, or ?train=trainval"
        )
    if found.all():
        raise DataError(
            f"{source}: {split} is all of the {len(found)} training images; expected a part to choose a setting on; "
            f"give ?train=train+{split}, or ?train=trainval"
        )
    return found


def drawn_by_class(targets: np.ndarray, share: float, order: np.ndarray) -> np.ndarray:
    """Return the first images of each class in an `order`, a permutation, as (N,) bool, for class indices (N,).

    They are the same `share` of each class, at least one image of a class that has two or more, none of a class of one.
    """
    held = np.zeros(len(targets), bool)
    for label in np.unique(targets):
        rows = order[targets[order] == label]
        count = max(1, int(share * len(rows))) if len(rows) > 1 else 0
        held[rows[:count]] = True
    return held


def drawn(images: int, count: int, order: np.ndarray) -> np.ndarray:
    """Return the first `count` of `images` in an `order`, a permutation, (images,) bool; DataError for all or none."""
    if not 0 < count < images:
        raise DataError(
            f"{images} training images: {count} to choose a setting on, {images - count} to train; expected some of "
            "each; add images, or give a split: DATA?validation=NAME"
        )
    held = np.zeros(images, bool)
    held[order[:count]] = True
    return held


def _keys(source: Source, paths: ImageList) -> list[str]:
    """Return what tells the images apart, whichever split they were read in."""
    if not isinstance(paths, PathList):
        raise DataError(
            f"{source}: images that are no files, of which none says whose split it is; expected a folder of files"
        )
    return [f"{paths.root}/{paths.name(index)}" for index in range(len(paths))]
