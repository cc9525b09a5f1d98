"""Small images of squares whose colours tell their depth, as own data with maps of depth."""

import numpy as np
from PIL import Image

from tests.patch_colours import GRAIN, Colours

SIDES, SQUARE = (64, 96), 32
NEAR, FAR = 1.0, 6.0  # metres


class Patches(Colours):
    """In place of a backbone: mean colours of patches, with what they cover."""

    def __init__(self, trunk, blocks, padding="end"):
        super().__init__(trunk, blocks)

    def covered(self, height, width):
        return -(-height // GRAIN) * GRAIN, -(-width // GRAIN) * GRAIN


def scene(draw):
    """Return an image of squares, the redder the nearer, and its depth in metres; some of it is not known."""
    shares = draw.random((SIDES[0] // SQUARE, SIDES[1] // SQUARE)).repeat(SQUARE, 0).repeat(SQUARE, 1)
    pixels = np.stack([200 * (1 - shares) + 20, 200 * shares + 20, np.full(SIDES, 120)], -1)
    depth = NEAR + (FAR - NEAR) * shares
    depth[draw.random(SIDES) < 0.05] = 0
    return (pixels + draw.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8), depth


def write_depth(root, train=12, test=4):
    draw = np.random.default_rng(0)
    for split, count in (("train", train), ("val", test)):
        for number in range(count):
            pixels, depth = scene(draw)
            for folder in ("images", "depth"):
                (root / folder / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "images" / split / f"{number}.png")
            millimetres = np.round(depth * 1000).astype(np.uint16)
            Image.fromarray(millimetres).save(root / "depth" / split / f"{number}.png")
    return root
