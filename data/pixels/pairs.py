"""An image and its labels, a class a pixel, resized and cropped together as MMSegmentation does it.

Images are resized as OpenCV does it, labels to the nearest pixel. Random choices are from numpy's global generator,
which who calls has seeded: a run that was killed sees the same pixels.
"""

from pathlib import Path

import numpy as np

from twinbench.data.pixels.split import Decode

UNLABELLED = -1  # of pixels that no loss and no count knows: without a label, or padded
TRIES = 10  # crops that are looked at for one class too many


def read_labels(path: Path, decode: Decode) -> np.ndarray:
    """Return the class of each pixel of a mask, (H, W) int64, UNLABELLED where there is none."""
    found = decode(path)
    return np.where(found == np.iinfo(found.dtype).max, UNLABELLED, found.astype(np.int64))


def new_size(size: tuple[int, ...], long_side: int, short_side: int, scale: float) -> tuple[int, int]:
    """Return (height, width) of an image of `size` (height, width) after it is resized with its ratio of sides kept.

    It is as large as fits into `scale` times long x short pixels; without those, `scale` times itself.
    """
    height, width = size
    if not long_side:
        factor = scale
    else:
        most_long, most_short = int(long_side * scale), int(short_side * scale)
        factor = min(most_long / max(height, width), most_short / min(height, width))
    return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)


def nearest(labels: np.ndarray, height: int, width: int, point: float = 0.0) -> np.ndarray:
    """Return labels (h, w) as (height, width), each new pixel the old one that its upper left corner lies in.

    With `point` 0.5 that in which its centre lies, as Pillow has it.
    """
    rows = np.floor((np.arange(height) + point) * (labels.shape[0] / height)).astype(int).clip(max=labels.shape[0] - 1)
    columns = np.floor((np.arange(width) + point) * (labels.shape[1] / width)).astype(int)
    return labels[rows[:, None], columns.clip(max=labels.shape[1] - 1)]


def crop_place(labels: np.ndarray, crop: int, most: float) -> tuple[slice, slice]:
    """Return rows and columns of a random crop of `crop` pixels a side, of a shorter side all.

    One that shows a single class, or more than `most` of one among its labelled pixels, is drawn anew, TRIES times.
    """
    place = _random_place(labels, crop)
    if most >= 1:
        return place
    for _ in range(TRIES):
        if _is_mixed(labels[place], most):
            break
        place = _random_place(labels, crop)
    return place


def _random_place(labels: np.ndarray, crop: int) -> tuple[slice, slice]:
    """Return a random crop's rows and columns."""
    top, left = (np.random.randint(0, max(side - crop, 0) + 1) for side in labels.shape)
    return slice(top, top + crop), slice(left, left + crop)


def _is_mixed(labels: np.ndarray, most: float) -> bool:
    """Say whether labels show several classes, none of them on `most` of the labelled pixels or more."""
    counts = np.bincount(labels[labels != UNLABELLED].ravel())
    counts = counts[counts > 0]
    return len(counts) > 1 and counts.max() / counts.sum() < most
