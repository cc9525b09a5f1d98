"""OpenCV's bilinear resizing, bit for bit, without OpenCV.

Some reference code resizes with cv2.resize(image, size, interpolation=INTER_LINEAR), which takes the two nearest pixels
a side whatever the scale. Pillow and torchvision average over all pixels that a new one covers: on two photographs the
results are 1 and 4 of 255 apart in the mean. OpenCV computes in whole numbers: weights of 11 bits, of a product 4 bits
are dropped after the first pass, 16 in the second and 2 in the end. Tried against its versions 4.7.0 and 5.0.0.
Letters: h, w the old sides, H, W the new ones.
"""

import numpy as np

ONE = 1 << 11  # a weight of 1: INTER_RESIZE_COEF_SCALE


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the uint8 `image` (h, w, C) as cv2.resize makes it (H, W, C) with INTER_LINEAR."""
    h, w = image.shape[:2]
    if (h, w) == (height, width):
        return image
    if (h, w) == (2 * height, 2 * width):
        return _halved(image)
    whole = image.astype(np.int32)
    first, right = _places(w, width)
    right[(first < 0) | (first >= w - 1)] = 0  # at an edge the pixel there alone
    first = first.clip(0, w - 1)
    left_weight, right_weight = (weight[:, None] for weight in _weights(right))
    rows = whole[:, first] * left_weight + whole[:, (first + 1).clip(max=w - 1)] * right_weight  # (h, W, C)
    first, lower = _places(h, height)
    upper_weight, lower_weight = (weight[:, None, None] for weight in _weights(lower))
    rows >>= 4
    upper = rows[first.clip(0, h - 1)] * upper_weight >> 16
    under = rows[(first + 1).clip(0, h - 1)] * lower_weight >> 16
    return (upper + under + 2 >> 2).astype(np.uint8)


def _places(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each new pixel of a side, the old pixel before its centre, and how far that lies behind it."""
    scale = 1.0 / (new / old)
    centre = ((np.arange(new) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(centre)
    return first.astype(np.int64), centre - first


def _weights(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the pixels before and behind a centre; each is rounded by itself."""
    before, behind = np.rint((1 - part) * ONE), np.rint(part * ONE)
    return before.astype(np.int32), behind.astype(np.int32)


def _halved(image: np.ndarray) -> np.ndarray:
    """Return the means of two by two pixels, which OpenCV takes at exactly half the size."""
    whole = image.astype(np.int32)
    four = whole[::2, ::2] + whole[::2, 1::2] + whole[1::2, ::2] + whole[1::2, 1::2]
    return (four + 2 >> 2).astype(np.uint8)
