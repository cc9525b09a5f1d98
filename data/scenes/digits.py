"""Pictures of handwritten digits: one large digit on plain ground, or several small ones on a photograph.

The digits are scikit-learn's bundled 8 x 8 scans, the photographs its two sample images. Training and test pictures
share neither a scan nor a part of a photograph. Everything is a function of a numpy Generator.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZE = 96  # side of a picture in pixels
TEST_SHARE = 0.3  # of the scans
LARGE = (60, 90)  # side of the one digit on plain ground, pixels, padding included
SMALL = (40, 56)  # side of a digit among several
SEVERAL = (2, 3)  # digits in a photograph, where there is room
OVERLAP = 0.25  # of its side, that a small digit may cover of another
FAINT_SHARE = 0.08  # of the small digits that are painted thinly: VOC's `difficult`, COCO's `iscrowd`
FAINT = 0.35  # opacity of those
PLAIN_CONTRAST = 0.5  # least difference in luma between the digit and plain ground, range [0, 1]
PLAIN_SATURATION = 0.15  # most; vivid grounds are told apart by color alone, and Barlow Twins then learns no shapes
PHOTO_CONTRAST = 0.5  # as PLAIN_CONTRAST, on a photograph
PHOTO_SATURATION = 0.15  # as PLAIN_SATURATION: the backbone was pretrained on muted digits
ROTATION = 12.0  # degrees to either side
NOISE = 0.02  # standard deviation of the sensor's noise on plain ground, range [0, 1]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Source:
    """What one split is painted from. `scans` is (N, 8, 8) float32 in [0, 1]; `photographs` are (H, W, 3) likewise."""

    scans: np.ndarray
    digits: np.ndarray  # (N,) int64, 0 to 9
    photographs: tuple[np.ndarray, ...]

    def scans_of(self, digit: int) -> np.ndarray:
        """Return the indices of the scans of `digit`."""
        return np.flatnonzero(self.digits == digit)


@dataclass(frozen=True)
class Placed:
    """One digit in a photograph. `mask` is (SIZE, SIZE) bool: the pixels where it is on top."""

    digit: int
    mask: np.ndarray
    faint: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The smallest box around the mask: left, top, right, bottom in pixels, right and bottom exclusive."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        columns = np.flatnonzero(self.mask.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def sources() -> tuple[Source, Source]:
    """Return what the training and the test pictures are painted from."""
    from sklearn.datasets import load_digits, load_sample_image  # seconds to import, and only making scenes needs it

    pixels, digits = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(digits))  # one split for all seeds
    test, train = np.split(order, [round(len(order) * TEST_SHARE)])
    scans = pixels.astype(np.float32).reshape(-1, 8, 8) / 16  # (N, 64) -> (N, 8, 8)
    lefts: list[np.ndarray] = []
    rights: list[np.ndarray] = []
    for name in ("china.jpg", "flower.jpg"):
        photograph = load_sample_image(name).astype(np.float32) / 255
        middle = photograph.shape[1] // 2
        lefts.append(photograph[:, :middle])
        rights.append(photograph[:, middle:])
    return (
        Source(scans[train], digits[train], tuple(lefts)),
        Source(scans[test], digits[test], tuple(rights)),
    )


def plain_pictures(rng: np.random.Generator, source: Source, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield `count` pictures (SIZE, SIZE, 3) uint8 of one digit each, with the digit: 0, 1, ... 9, 0, 1, ..."""
    grain = NOISE * rng.standard_normal((2 * SIZE, 2 * SIZE, 3), np.float32)  # one sheet, cut anew for each picture
    for number in range(count):
        digit = number % 10
        ground = random_colors(rng, 1, PLAIN_SATURATION)[0]
        color = contrasting_color(rng, ground, PLAIN_CONTRAST, PLAIN_SATURATION)
        side = int(rng.integers(LARGE[0], LARGE[1] + 1))
        left, top = rng.integers(0, SIZE - side + 1, 2)
        opacity = np.zeros((SIZE, SIZE, 1), np.float32)
        scan = source.scans[rng.choice(source.scans_of(digit))]
        opacity[top : top + side, left : left + side, 0] = digit_opacity(rng, scan, side)
        picture = ground + opacity * (color - ground)  # (SIZE, SIZE, 3)
        row, column = rng.integers(0, SIZE, 2)
        picture += grain[row : row + SIZE, column : column + SIZE]
        yield to_bytes(picture), digit


def photo_pictures(rng: np.random.Generator, source: Source, count: int) -> Iterator[tuple[np.ndarray, list[Placed]]]:
    """Yield `count` pictures (SIZE, SIZE, 3) uint8 of several digits on a crop of a photograph, with the digits.

    The first digit of each picture is never faint, and these go 0, 1, ... 9, 0, 1, ...: every class occurs in any ten.
    """
    for number in range(count):
        photograph = source.photographs[rng.integers(len(source.photographs))]
        top, left = (rng.integers(0, side - SIZE + 1) for side in photograph.shape[:2])
        picture = photograph[top : top + SIZE, left : left + SIZE].copy()
        squares = _free_squares(rng, int(rng.integers(SEVERAL[0], SEVERAL[1] + 1)))
        placed: list[Placed] = []
        for square in squares:
            digit = int(rng.integers(10)) if placed else number % 10
            faint = bool(placed) and rng.random() < FAINT_SHARE
            new = _paint(rng, picture, source.scans[rng.choice(source.scans_of(digit))], square, digit, faint)
            placed = [Placed(old.digit, old.mask & ~new.mask, old.faint) for old in placed] + [new]
        yield to_bytes(picture), placed


def _free_squares(rng: np.random.Generator, count: int) -> list[tuple[int, int, int]]:
    """Return up to `count` squares (left, top, side) that overlap little; fewer where 30 tries find no place."""
    squares: list[tuple[int, int, int]] = []
    for _ in range(count):
        for _ in range(30):
            side = int(rng.integers(SMALL[0], SMALL[1] + 1))
            left, top = (int(value) for value in rng.integers(0, SIZE - side + 1, 2))
            square = (left, top, side)
            if all(_lie_apart(square, other) for other in squares):
                squares.append(square)
                break
    return squares


def _lie_apart(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    """Say whether two squares (left, top, side) overlap little, along one axis at least."""
    left, top, side = one
    other_left, other_top, other_side = other
    most = OVERLAP * min(side, other_side)
    across = min(left + side, other_left + other_side) - max(left, other_left)
    down = min(top + side, other_top + other_side) - max(top, other_top)
    return across < most or down < most


def _paint(
    rng: np.random.Generator,
    picture: np.ndarray,
    scan: np.ndarray,
    square: tuple[int, int, int],
    digit: int,
    faint: bool,
) -> Placed:
    """Paint one digit into `picture` in place and return where it is."""
    left, top, side = square
    window = picture[top : top + side, left : left + side]  # a view
    opacity = digit_opacity(rng, scan, side)
    color = contrasting_color(rng, window.mean(axis=(0, 1)), PHOTO_CONTRAST, PHOTO_SATURATION)
    window += (FAINT if faint else 1.0) * opacity[..., None] * (color - window)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top : top + side, left : left + side] = opacity > 0.5
    return Placed(digit, mask, faint)


def digit_opacity(rng: np.random.Generator, scan: np.ndarray, side: int) -> np.ndarray:
    """Return the scan (8, 8) enlarged to (side, side), turned a little, with soft edges; float32 in [0, 1]."""
    large = Image.fromarray(np.pad(scan, 1)).resize((side, side), Image.Resampling.BICUBIC)
    turned = large.rotate(rng.uniform(-ROTATION, ROTATION), Image.Resampling.BILINEAR)
    return np.clip((np.asarray(turned) - 0.25) / 0.35, 0, 1)


def random_colors(rng: np.random.Generator, count: int, saturation: float) -> np.ndarray:
    """Return (count, 3) RGB colors in [0, 1]: uniform in hue, saturation up to the given one, value from 0.1 to 1."""
    hue, saturated, value = rng.random((3, count, 1), np.float32)
    saturated, value = saturation * saturated, 0.1 + 0.9 * value
    sector = (np.array([5, 3, 1], np.float32) + 6 * hue) % 6  # (count, 3): HSV to RGB without branches
    return value * (1 - saturated * np.clip(np.minimum(sector, 4 - sector), 0, 1))


def contrasting_color(rng: np.random.Generator, ground: np.ndarray, contrast: float, saturation: float) -> np.ndarray:
    """Return a random color that differs from `ground` (3,) by `contrast` in luma; if none of 60 does, the best one."""
    colors = random_colors(rng, 60, saturation)
    distance = np.abs(colors @ LUMA - ground @ LUMA)  # (60,)
    enough = distance >= contrast
    return colors[enough.argmax() if enough.any() else distance.argmax()]


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Return a picture in [0, 1], clipped, as uint8."""
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)
