"""Pairs of an image and its labels for linear segmentation: resized, cropped, flipped and distorted together.

Random choices are from numpy's and torch's global generators, which a pair's place in the stream of images seeds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, functional

from twinbench.data.objects.packed import Records
from twinbench.data.pixels.distortion import HIGHEST, LOWEST, distorted, distorted_by
from twinbench.data.pixels.pairs import crop_place, nearest, new_size
from twinbench.data.pixels.split import Decode
from twinbench.data.resize import resized
from twinbench.dense.images import Pair, as_tensor, image_of, labels_of, random_part
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe
from twinbench.runtime.draws import seeded
from twinbench.runtime.seeds import draw_seed

HUE = 0.5  # torchvision's adjust_hue, either way: half of the circle (dinov3/eval/segmentation/transforms.py)


@dataclass(frozen=True)
class TrainPairs(Dataset[Pair]):
    """Training pairs by key (epoch, index): a function of seed, epoch and image, and of nothing else."""

    records: Records
    decode: Decode
    recipe: LinearSegmenterRecipe
    seed: int

    def __getitem__(self, key: tuple[int, int]) -> Pair:
        epoch, index = key
        record = self.records[index]
        image, labels = image_of(record), labels_of(record, self.decode)
        with seeded(draw_seed(self.seed, epoch, index)):
            pixels, labels = train_pair(image, labels, self.recipe)
        return as_tensor(pixels), torch.from_numpy(np.ascontiguousarray(labels))


@dataclass(frozen=True)
class TestImages(Dataset[Tensor]):
    """Test images (3, h, w) uint8 in the network's size, by their place among the records."""

    records: Records
    recipe: LinearSegmenterRecipe

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Tensor:
        image = image_of(self.records[index])
        return as_tensor(_to_size(image, test_size(image.size, self.recipe), self.recipe))


def train_pair(image: Image.Image, labels: np.ndarray, recipe: LinearSegmenterRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3), uint8, and its labels (H, W), augmented; sides are the crop's, or shorter."""
    if recipe.train_crop == "resized":
        pixels, labels = random_part(image, labels, recipe.scale, recipe.crop)
    else:
        low, high = recipe.scale
        size = test_size(image.size, recipe, np.random.random_sample() * (high - low) + low)
        pixels = _to_size(image, size, recipe)
        labels = nearest(labels, *size)
        place = crop_place(labels, recipe.crop, recipe.cat_max_ratio)
        pixels, labels = pixels[place], labels[place]
    if np.random.random_sample() < recipe.flip:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    return DISTORTIONS[recipe.distortion](pixels), labels


def test_size(size: tuple[int, int], recipe: LinearSegmenterRecipe, scale: float = 1.0) -> tuple[int, int]:
    """Return (height, width) of the network's image, of one of `size` (width, height); `scale` times as large."""
    width, height = size
    short = int(recipe.short_side * scale)
    if recipe.shape == "squash":
        return short, short
    if recipe.shape == "fit":
        return new_size((height, width), recipe.long_side, recipe.short_side, scale)
    if height > width:
        return int(short * height / width + 0.5), short
    return short, int(short * width / height + 0.5)


def _to_size(image: Image.Image, size: tuple[int, int], recipe: LinearSegmenterRecipe) -> np.ndarray:
    """Return an image at (height, width) as the recipe resizes."""
    if recipe.backend == "opencv":
        return resized(np.asarray(image), *size)
    return np.asarray(functional.resize(image, list(size), InterpolationMode.BILINEAR))  # type: ignore[arg-type]


def _by_torchvision(pixels: np.ndarray) -> np.ndarray:
    """Distort as DINOv3 does: saturation and hue are torchvision's."""
    return distorted_by(pixels, _other_saturation, _other_hue)


def _other_saturation(pixels: np.ndarray) -> np.ndarray:
    return _changed(pixels, functional.adjust_saturation, np.random.uniform(LOWEST, HIGHEST))


def _other_hue(pixels: np.ndarray) -> np.ndarray:
    return _changed(pixels, functional.adjust_hue, np.random.uniform(-HUE, HUE))


def _changed(pixels: np.ndarray, change: Callable[[Tensor, float], Tensor], by: float) -> np.ndarray:
    """Return pixels (H, W, 3) changed by a function of torchvision's."""
    return change(as_tensor(pixels), by).permute(1, 2, 0).numpy()


def _as_it_is(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as they are."""
    return pixels


DISTORTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": _as_it_is,
    "opencv": distorted,
    "torchvision": _by_torchvision,
}
