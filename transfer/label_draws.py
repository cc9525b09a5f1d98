"""The training images of which labels are taken, draw by draw.

A draw is a permutation of the training images. Of each class its first ones are taken: k of them, or a share. So a
larger size of one draw holds the smaller, and what is compared along a curve differs by what was added.
Letters: N rows, K classes.
"""

import numpy as np

from twinbench.protocols.kinds.labels import LabelsRecipe, Size
from twinbench.runtime.seeds import generator

DRAW, CHOOSE = 1, 2  # what random numbers are for: draws by their number, and training images that choose
ROUNDING = 1e-9  # 1 % of 300 images are 3


def images_of(size: Size, images: int) -> int:
    """Return how many of so many images a size that is a share of all takes."""
    return int(images * size.value / 100 + ROUNDING)


def drawn(targets: np.ndarray, size: Size, recipe: LabelsRecipe, seed: int, number: int) -> np.ndarray:
    """Return the rows of a draw of class indices (N,), in the draw's order."""
    draw = generator(seed, DRAW, number)
    order = draw.permutation(len(targets))
    counts = np.bincount(targets)
    if size.of == "class":
        wanted = np.full(len(counts), int(size.value))
    elif recipe.share_of == "each-class":
        wanted = np.maximum(1, np.floor(counts * size.value / 100 + 0.5).astype(np.int64))
    else:
        wanted = _equal_counts(images_of(size, len(targets)), len(counts), draw)
    return _first_of_each(targets, order, wanted)


def equally_many(targets: np.ndarray, images: int, draw: np.random.Generator) -> np.ndarray:
    """Return the rows of so many images, equally many of each class."""
    order = draw.permutation(len(targets))
    return _first_of_each(targets, order, _equal_counts(images, len(np.bincount(targets)), draw))


def _equal_counts(images: int, classes: int, draw: np.random.Generator) -> np.ndarray:
    """Return how many images each class (K,) has: equally many, and one more for as many as are left over."""
    each, more = divmod(images, classes)
    wanted = np.full(classes, each)
    wanted[draw.permutation(classes)[:more]] += 1
    return wanted


def _first_of_each(targets: np.ndarray, order: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the rows of an `order` (N,) that are among the first `wanted` (K,) of their class; all of a smaller."""
    labels = targets[order]
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    place = np.empty(len(order), np.int64)  # of each row among those of its class
    place[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[place < wanted[labels]]
