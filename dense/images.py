"""What pairs of an image and its labels have in common: read, drawn from by a seed, cut to a part, made tensors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop, functional

from twinbench.data.decode import read_upright
from twinbench.data.objects.packed import Record
from twinbench.data.pixels.pairs import nearest, read_labels
from twinbench.data.pixels.split import Decode

RATIO = (3 / 4, 4 / 3)  # of the sides of a part of an image

Pair = tuple[Tensor, Tensor]  # RGB (3, h, w) uint8, and labels (h, w) int64


def image_of(record: Record) -> Image.Image:
    """Return a record's image, RGB and upright."""
    return read_upright(Path(record["file_name"]))


def labels_of(record: Record, decode: Decode) -> np.ndarray:
    """Return a record's labels (H, W) int64, UNLABELLED where there is none."""
    return read_labels(Path(record["sem_seg_file_name"]), decode)


def random_part(
    image: Image.Image, labels: np.ndarray, scale: Sequence[float], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random part of an image and of its labels, `side` pixels a side, as torchvision draws and resizes it.

    `scale` is the least and the largest area, of the image's.
    """
    top, left, height, width = RandomResizedCrop.get_params(image, list(scale), list(RATIO))  # type: ignore[arg-type]
    size = [side, side]
    part = functional.resized_crop(image, top, left, height, width, size, InterpolationMode.BILINEAR)  # type: ignore[arg-type]
    return np.asarray(part), nearest(labels[top : top + height, left : left + width], *size)


def as_tensor(pixels: np.ndarray) -> Tensor:
    """Return (H, W, 3) as (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
