"""Images with a class a pixel, read and augmented in MMSegmentation's order: resize, crop, flip, distort.

Images are resized as OpenCV does it, labels to the nearest pixel. Random choices are from numpy's global generator,
which the position in the stream seeds (see stream.py): a run that was killed sees the same pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode

from twinbench.data.decode import read_upright
from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record
from twinbench.data.resize import resized
from twinbench.detection.semantic.distortion import distorted
from twinbench.detection.semantic.model import UNLABELLED

TRIES = 10  # crops that are looked at for one class too many
Decode = Callable[
    [Path], np.ndarray
]  # a file of labels to class numbers (H, W), the type's highest where there is none


@dataclass(frozen=True)
class TrainImages:
    """Makes training examples of records: `image` (3, h, w) uint8 and `sem_seg` (h, w) int64, sides up to the crop."""

    config: CfgNode
    decode: Decode

    def __call__(self, record: Record) -> Record | DataError:
        """Return the example, or as a value the DataError of what cannot be read."""
        try:
            image, labels = _pixels(record), labels_of(record, self.decode)
        except DataError as error:
            return error
        keys = self.config.INPUT.SEGMENTER
        low, high = keys.SCALE
        scale = np.random.random_sample() * (high - low) + low
        height, width = new_size(image.shape[:2], keys.LONG_SIDE, keys.SHORT_SIDE, scale)
        image, labels = resized(image, height, width), nearest(labels, height, width)
        rows, columns = crop_place(labels, keys.CROP, keys.CAT_MAX_RATIO)
        image, labels = image[rows, columns], labels[rows, columns]
        if np.random.random_sample() < keys.FLIP:
            image, labels = image[:, ::-1], labels[:, ::-1]
        if keys.DISTORTION:
            image = distorted(image)
        return {"image": _tensor(image, self.config), "sem_seg": torch.from_numpy(np.ascontiguousarray(labels))}


@dataclass(frozen=True)
class TestImages:
    """Makes test images of records: `image` (3, h, w) uint8 in the network's size, and `height` and `width` before."""

    config: CfgNode

    def __call__(self, record: Record) -> Record | DataError:
        """Return the image, or as a value the DataError of what cannot be read."""
        try:
            return test_example(_pixels(record), self.config)
        except DataError as error:
            return error


def test_example(image: np.ndarray, config: CfgNode) -> Record:
    """Return what the network is given of an RGB image (H, W, 3) to test it."""
    keys = config.INPUT.SEGMENTER
    height, width = image.shape[:2]
    image = resized(image, *new_size((height, width), keys.LONG_SIDE, keys.SHORT_SIDE, 1.0))
    return {"image": _tensor(image, config), "height": height, "width": width}


def _pixels(record: Record) -> np.ndarray:
    """Return the image as RGB (H, W, 3) uint8, upright: OpenCV turns it as EXIF says where MMSegmentation reads it."""
    return np.asarray(read_upright(Path(record["file_name"])))


def labels_of(record: Record, decode: Decode) -> np.ndarray:
    """Return the class of each pixel, (H, W) int64, UNLABELLED where there is none."""
    found = decode(Path(record["sem_seg_file_name"]))
    return np.where(found == np.iinfo(found.dtype).max, UNLABELLED, found.astype(np.int64))


def _tensor(image: np.ndarray, config: CfgNode) -> torch.Tensor:
    """Return RGB (H, W, 3) as (3, H, W) in the order of channels that the backbone knows."""
    if config.INPUT.FORMAT == "BGR":
        image = image[:, :, ::-1]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


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


def nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return labels (h, w) as (height, width), each new pixel the old one that its upper left corner lies in."""
    rows = np.floor(np.arange(height) * (labels.shape[0] / height)).astype(int).clip(max=labels.shape[0] - 1)
    columns = np.floor(np.arange(width) * (labels.shape[1] / width)).astype(int).clip(max=labels.shape[1] - 1)
    return labels[rows[:, None], columns]


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
