"""Every mask decoded once, before anything trains: a number that is no class would end a training hours later."""

from collections.abc import Callable
from typing import cast

import numpy as np

from twinbench.data import hints
from twinbench.data.errors import DataError
from twinbench.data.pixels.split import IGNORED, PixelImages
from twinbench.data.sizes import in_order
from twinbench.data.source import Source

VERSION = "1"  # raised when more is asked: what passed once would pass for ever


def seen_classes(images: PixelImages, problem: Callable[[str], None]) -> np.ndarray:
    """Return which classes some mask shows, (classes,) bool; what is wrong with a mask is told to `problem`."""
    seen = np.zeros(IGNORED + 1, bool)
    for found in in_order(lambda index: _shown(images, index), len(images.paths)):
        if isinstance(found, str):
            problem(found)
        else:
            seen |= found
    return seen[: len(images.classes)]


def require_masks(source: Source, identity: str, split: str, images: PixelImages) -> list[str]:
    """Return what a reader must know of a split's masks; DataError for one that is not sound, or nothing to train on.

    Of data of an `identity` that passed once no mask is decoded again.
    """
    question = ["classes that masks show", VERSION, identity, split]
    kept = hints.recall(question) if identity else None
    if not isinstance(kept, list) or len(cast("list[bool]", kept)) != len(images.classes):
        began = hints.now()
        kept = seen_classes(images, _refuse).tolist()
        if identity:
            hints.keep(question, kept, (), began)
    seen = np.array(kept, bool)
    unseen = told_unseen(images, seen)
    if not seen.any():
        raise DataError(f"{source}: {unseen}; expected masks with classes to {split} on")
    if split == "train" and seen.sum() < 2:
        raise DataError(f"{source}: {unseen}; expected masks of two classes or more to train on")
    return [f"train: {unseen}"] if unseen and split == "train" else []  # of tests the evaluation tells


def told_unseen(images: PixelImages, seen: np.ndarray) -> str:
    """Return which classes no mask shows, in words; empty where all are seen."""
    unseen = [name for name, is_seen in zip(images.classes, seen, strict=True) if not is_seen]
    if not unseen:
        return ""
    shown = ", ".join(unseen[:5]) + (", ..." if len(unseen) > 5 else "")
    return f"no mask shows {len(unseen)} of {len(images.classes)} classes: {shown} ({IGNORED} is no label)"


def _shown(images: PixelImages, index: int) -> np.ndarray | str:
    """Return the classes in a mask as flags (256,), or what is wrong with it or its image's size."""
    try:
        images.record(index)
        return np.bincount(images.decode(images.masks.one(index)).ravel(), minlength=IGNORED + 1) > 0
    except DataError as error:
        return str(error)


def _refuse(problem: str) -> None:
    raise DataError(problem)
