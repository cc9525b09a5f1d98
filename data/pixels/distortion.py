"""Photometric distortion: brightness, contrast, saturation and hue, each at random in half of the images.

After SSD (Liu et al., arXiv:1512.02325) with the ranges of MMSegmentation: brightness up to 32 of 255, contrast and
saturation by 0.5 to 1.5, hue up to 18 of OpenCV's 180 degrees. Contrast comes before saturation and hue, or last.
Draws are from numpy's global generator, which the position in the stream seeds.
"""

from collections.abc import Callable

import numpy as np

BRIGHTNESS, HUE = 32, 18
LOWEST, HIGHEST = 0.5, 1.5  # of contrast and saturation
SHIFT = 12  # OpenCV's 8-bit HSV divides by tables of whole numbers of this many bits


Change = Callable[[np.ndarray], np.ndarray]  # of an image (H, W, 3), at random


def distorted(image: np.ndarray) -> np.ndarray:
    """Return the RGB `image` (H, W, 3), uint8, distorted at random."""
    return distorted_by(image, _other_saturation, _other_hue)


def distorted_by(image: np.ndarray, other_saturation: Change, other_hue: Change) -> np.ndarray:
    """Return what `distorted` does, with another library's saturation and hue."""
    if _coin():
        image = _scaled(image, 1.0, np.random.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast_first = _coin()
    if contrast_first:
        image = _contrast(image)
    if _coin():
        image = other_saturation(image)
    if _coin():
        image = other_hue(image)
    return image if contrast_first else _contrast(image)


def _other_saturation(image: np.ndarray) -> np.ndarray:
    """Return the image with another saturation, as OpenCV has it."""
    hsv = to_hsv(image)
    hsv[..., 1] = _scaled(hsv[..., 1], np.random.uniform(LOWEST, HIGHEST), 0.0)
    return to_rgb(hsv)


def _other_hue(image: np.ndarray) -> np.ndarray:
    """Return the image with another hue, as OpenCV has it."""
    hsv = to_hsv(image)
    hsv[..., 0] = (hsv[..., 0].astype(int) + np.random.randint(-HUE, HUE)) % 180
    return to_rgb(hsv)


def _coin() -> bool:
    """Return true in half of all cases."""
    return bool(np.random.randint(2))


def _contrast(image: np.ndarray) -> np.ndarray:
    """Return the image with another contrast, in half of all cases."""
    return _scaled(image, np.random.uniform(LOWEST, HIGHEST), 0.0) if _coin() else image


def _scaled(values: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """Return factor * values + offset within 0..255, cut to whole numbers."""
    found = values.astype(np.float32) * np.float32(factor) + np.float32(offset)
    return np.clip(found, 0, 255).astype(np.uint8)


def to_hsv(image: np.ndarray) -> np.ndarray:
    """Return RGB (..., 3) uint8 as OpenCV's 8-bit HSV: hue in 0..179, saturation and value in 0..255."""
    red, green, blue = np.moveaxis(image.astype(np.int32), -1, 0)
    value = np.maximum(np.maximum(red, green), blue)
    spread = value - np.minimum(np.minimum(red, green), blue)
    saturation = (spread * _SATURATIONS[value] + (1 << SHIFT - 1)) >> SHIFT
    sixths = np.where(
        value == red,
        green - blue,
        np.where(value == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    hue = (sixths * _HUES[spread] + (1 << SHIFT - 1)) >> SHIFT
    hue += np.where(hue < 0, 180, 0)
    return np.stack([hue, saturation, value], axis=-1).astype(np.uint8)


def _table(whole: float) -> np.ndarray:
    """Return whole / i in fixed point for i from 0 to 255; 0 for 0."""
    numbers = np.arange(1, 256)
    return np.concatenate([[0], np.rint((whole * (1 << SHIFT)) / numbers)]).astype(np.int32)


_SATURATIONS, _HUES = _table(255.0), _table(30.0)


def to_rgb(hsv: np.ndarray) -> np.ndarray:
    """Return OpenCV's 8-bit HSV as RGB (..., 3) uint8; within 1 of OpenCV."""
    hue, saturation, value = np.moveaxis(hsv.astype(np.float32), -1, 0)
    saturation, sixths = saturation / 255, hue / 30
    sector = np.floor(sixths).astype(int) % 6
    part = sixths - np.floor(sixths)
    low = value * (1 - saturation)
    falling = value * (1 - saturation * part)
    rising = value * (1 - saturation * (1 - part))
    red = np.choose(sector, [value, falling, low, low, rising, value])
    green = np.choose(sector, [rising, value, value, falling, low, low])
    blue = np.choose(sector, [low, low, rising, value, value, falling])
    return np.rint(np.stack([red, green, blue], axis=-1)).astype(np.uint8)
