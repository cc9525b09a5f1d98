"""What is done to each image of a batch to make a view of it: drawn here, applied by augment.py or reference.py.

All draws are pure functions of (seed, what for, step, place in the batch). A run that is killed and started again, on
any number of processes and loader workers, makes the same views.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from twinbench.protocols.pretraining import PretrainRecipe

RATIO = (3 / 4, 4 / 3)  # width / height of a crop, torchvision's RandomResizedCrop
ATTEMPTS = 10  # at a crop that fits, then the centre; the same source
ORDER, BATCH, IMAGE = range(3)  # what a random stream is for


@dataclass(frozen=True)
class _Columns:
    """Arrays with one row per image."""

    def __getitem__(self, rows: slice) -> Self:
        """Return the parameters of some of the images."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True)
class Crops(_Columns):
    """The part of each image that is kept, in pixels (n,), and whether it is mirrored."""

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    flip: np.ndarray


@dataclass(frozen=True)
class Colors(_Columns):
    """What happens to each image's colours (n,); `order` (n, 4) are the places of the four jitter operations."""

    jittered: np.ndarray
    order: np.ndarray  # which operation comes first, second, ...: indices into JITTER
    factors: np.ndarray  # (n, 4) by operation, as JITTER lists them
    gray: np.ndarray
    blurred: np.ndarray
    sigma: np.ndarray  # of the blur, pixels
    solarized: np.ndarray


JITTER = ("brightness", "contrast", "saturation", "hue")  # factors: 1 +- the setting; for hue a shift in turns


def draw_crops(recipe: PretrainRecipe, random: np.random.Generator, n: int, height: int, width: int) -> Crops:
    """Draw n random resized crops of (height, width) images: area uniform, log aspect ratio uniform, place uniform.

    As torchvision's RandomResizedCrop: ten attempts at a crop that lies inside, then a centred one.
    """
    area = height * width * random.uniform(recipe.min_scale, 1, (n, ATTEMPTS))
    ratio = np.exp(random.uniform(np.log(RATIO[0]), np.log(RATIO[1]), (n, ATTEMPTS)))
    w, h = np.rint(np.sqrt(area * ratio)).astype(np.int64), np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first, any_fits, rows = fits.argmax(1), fits.any(1), np.arange(n)
    h_centre, w_centre = _central(height, width)
    h = np.where(any_fits, h[rows, first], h_centre)
    w = np.where(any_fits, w[rows, first], w_centre)
    top = np.where(any_fits, random.integers(0, height - h + 1), (height - h) // 2)
    left = np.where(any_fits, random.integers(0, width - w + 1), (width - w) // 2)
    return Crops(top, left, h, w, random.random(n) < recipe.flip)


def _central(height: int, width: int) -> tuple[int, int]:
    """Return the size of the largest crop whose aspect ratio is allowed."""
    if width / height < RATIO[0]:
        return round(width / RATIO[0]), width
    if width / height > RATIO[1]:
        return height, round(height * RATIO[1])
    return height, width


def draw_colors(recipe: PretrainRecipe, random: np.random.Generator, n: int, view: int) -> Colors:
    """Draw the colour operations of n images in view 0 or 1."""
    spread = (recipe.brightness, recipe.contrast, recipe.saturation)
    low = [max(0.0, 1 - part) for part in spread] + [-recipe.hue]
    high = [1 + part for part in spread] + [recipe.hue]
    return Colors(
        jittered=random.random(n) < recipe.jitter,
        order=random.permuted(np.tile(np.arange(4), (n, 1)), axis=1),
        factors=random.uniform(low, high, (n, 4)).astype(np.float32),
        gray=random.random(n) < recipe.gray,
        blurred=random.random(n) < recipe.blur[view],
        sigma=random.uniform(recipe.blur_sigma[0], recipe.blur_sigma[1], n).astype(np.float32),
        solarized=random.random(n) < recipe.solarize[view],
    )
