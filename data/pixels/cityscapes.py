"""Masks in the layout of Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png beside gtFine/.../*_labelIds.png.

Of its 34 labels 19 are evaluated; numbers and colours as in cityscapesScripts, helpers/labels.py.
"""

from pathlib import Path

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.paths import PathList
from twinbench.data.pixels.split import IGNORED, PixelImages, read_mask
from twinbench.data.source import Source

# name: the number in a mask, the colour in pictures
LABELS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
IMAGE, MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"
_CLASS_OF = np.full(256, IGNORED, np.uint8)
_CLASS_OF[[number for number, _ in LABELS.values()]] = np.arange(len(LABELS))


def read_cityscapes(source: Source, split: str) -> PixelImages:
    """Return Cityscapes' train or val, in the order of the names."""
    root, part = source.path, "train" if split == "train" else "val"
    images = sorted((root / "leftImg8bit" / part).glob(f"*/*{IMAGE}"))
    if not images:
        raise DataError(
            f"{root / 'leftImg8bit' / part}: no CITY/*{IMAGE}; expected Cityscapes' leftImg8bit and gtFine; unpack both"
        )
    stems = [f"{path.parent.name}/{path.name.removesuffix(IMAGE)}" for path in images]
    return PixelImages(
        root,
        PathList(root, (f"leftImg8bit/{part}/{stem}{IMAGE}" for stem in stems)),
        PathList(root, (f"gtFine/{part}/{stem}{MASK}" for stem in stems)),
        tuple(LABELS),
        tuple(colour for _, colour in LABELS.values()),
        decode_cityscapes,
    )


def decode_cityscapes(path: Path) -> np.ndarray:
    """Return the evaluated classes of a mask, (H, W) uint8; IGNORED for the other labels."""
    return _CLASS_OF[read_mask(path)]
