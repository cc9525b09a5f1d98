"""Pairs of an image and its depth: cut, rotated, flipped and cropped together, the image coloured.

Random choices are from numpy's and torch's global generators, which a pair's place in the stream of images seeds.
Colours are not rounded to bytes, as in the source of the recipe.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, functional

from twinbench.data.objects.packed import Record, Records
from twinbench.data.pixels.split import Decode
from twinbench.dense.images import Pair, as_tensor, image_of
from twinbench.protocols.kinds.linear_depth import FRAME, LinearDepthRecipe
from twinbench.runtime.draws import seeded
from twinbench.runtime.seeds import draw_seed

WHITE = 255.0


def depth_of(record: Record, decode: Decode) -> np.ndarray:
    """Return a record's depth (H, W) in metres, 0 where it is not known."""
    return decode(Path(record["sem_seg_file_name"]))


@dataclass(frozen=True)
class TrainPairs(Dataset[Pair]):
    """Training pairs by key (epoch, index): a function of seed, epoch and image, and of nothing else."""

    records: Records
    decode: Decode
    recipe: LinearDepthRecipe
    seed: int

    def __getitem__(self, key: tuple[int, int]) -> Pair:
        epoch, index = key
        record = self.records[index]
        image, depth = image_of(record), depth_of(record, self.decode)
        with seeded(draw_seed(self.seed, epoch, index)):
            return train_pair(image, depth, self.recipe)


@dataclass(frozen=True)
class TestImages(Dataset[Tensor]):
    """Test images (3, h, w) uint8 as they are, by their place among the records."""

    records: Records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Tensor:
        return as_tensor(np.asarray(image_of(self.records[index])))


def train_pair(image: Image.Image, depth: np.ndarray, recipe: LinearDepthRecipe) -> Pair:
    """Return an image (3, h, w), float32 from 0 to 255, and its depth (h, w); sides are the crop's, or shorter."""
    place = area_of(recipe.train_area, depth.shape)
    pixels = as_tensor(np.asarray(image)[place]).float()
    metres = torch.from_numpy(np.ascontiguousarray(depth[place]))
    if np.random.random_sample() < recipe.rotated:
        angle = np.random.uniform(-recipe.rotation, recipe.rotation)
        pixels = functional.rotate(pixels, angle, InterpolationMode.BILINEAR)
        metres = functional.rotate(metres[None], angle, InterpolationMode.NEAREST)[0]
    if np.random.random_sample() < recipe.flip:
        pixels, metres = pixels.flip(2), metres.flip(1)
    height, width = recipe.crop
    top, left = (
        np.random.randint(0, max(side - crop, 0) + 1) for side, crop in zip(metres.shape, recipe.crop, strict=True)
    )
    pixels = pixels[:, top : top + height, left : left + width]
    metres = metres[top : top + height, left : left + width]
    if np.random.random_sample() < recipe.coloured:
        pixels = _coloured(pixels, recipe)
    return pixels.contiguous(), metres.contiguous()


def area_of(area: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns of an area of FRAME in an image of `size` (height, width); of no area all."""
    if not area:
        return slice(None), slice(None)
    (height, width), (tall, wide) = size, FRAME
    top, bottom, left, right = area
    rows = slice(int(top / tall * height), int(bottom / tall * height))
    return rows, slice(int(left / wide * width), int(right / wide * width))


def _coloured(pixels: Tensor, recipe: LinearDepthRecipe) -> Tensor:
    """Return an image (3, h, w), from 0 to 255, with another gamma, brightness and balance of its colours."""
    gamma, brightness = _factor(recipe.gamma), _factor(recipe.brightness)
    balance = torch.tensor([_factor(recipe.colours) for _ in range(3)])
    pixels = pixels**gamma * brightness
    return (pixels * balance[:, None, None]).clamp(0, WHITE)


def _factor(between: tuple[float, ...]) -> float:
    """Return a number from the least to the largest one."""
    least, largest = between
    return np.random.uniform(least, largest)
