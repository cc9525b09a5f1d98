"""A small VOC 2012 with masks: a bright shape on dark noise in each image, its border unlabelled."""

from pathlib import Path

import numpy as np
from PIL import Image

TRAIN, TEST, SIDE = 24, 6, 64
COLOURS = {3: (220, 60, 40), 8: (40, 80, 220)}  # bird and cat


def make_voc(root: Path) -> Path:
    """Write it below `root`, half of its training images with SBD's masks; return the devkit's folder."""
    base, rng = root / "VOCdevkit" / "VOC2012", np.random.default_rng(0)
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    for name, count, folder in (
        ("train", TRAIN // 2, "SegmentationClass"),
        ("aug", TRAIN // 2, "SegmentationClassAug"),
        ("val", TEST, "SegmentationClass"),
    ):
        names = [f"{name}{number:03d}" for number in range(count)]
        (base / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(names) + "\n")
        for number, image in enumerate(names):
            pixels = rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            label = (3, 8)[number % 2]
            top, left = rng.integers(4, 28, 2)
            mask[top - 2 : top + 30, left - 2 : left + 30] = 255
            mask[top : top + 28, left : left + 28] = label
            pixels[top : top + 28, left : left + 28] = COLOURS[label]
            Image.fromarray(pixels).save(base / "JPEGImages" / f"{image}.jpg", quality=95)
            Image.fromarray(mask).save(base / folder / f"{image}.png")
    return root / "VOCdevkit"
