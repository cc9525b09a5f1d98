"""Images with a class a pixel, read and augmented in MMSegmentation's order: resize, crop, flip, distort.

Random choices are from numpy's global generator, which the position in the stream seeds (see stream.py).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode

from twinbench.data.decode import read_upright
from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record
from twinbench.data.pixels.distortion import distorted
from twinbench.data.pixels.pairs import crop_place, nearest, new_size, read_labels
from twinbench.data.pixels.split import Decode
from twinbench.data.resize import resized


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
    """Return the class of each pixel of a record, (H, W) int64, UNLABELLED where there is none."""
    return read_labels(Path(record["sem_seg_file_name"]), decode)


def _tensor(image: np.ndarray, config: CfgNode) -> torch.Tensor:
    """Return RGB (H, W, 3) as (3, H, W) in the order of channels that the backbone knows."""
    if config.INPUT.FORMAT == "BGR":
        image = image[:, :, ::-1]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
