"""Masks in the layout of PASCAL VOC 2012: SegmentationClass/*.png, listed in ImageSets/Segmentation.

"VOC12aug" trains on the masks of SBD (Hariharan et al., ICCV 2011), too, which circulate as a folder
SegmentationClassAug beside VOC's own. Images of train.txt keep VOC's masks, whose borders have no label; the others
have SBD's. This is MMSegmentation's rule, whose list aug.txt holds the others alone.
"""

from functools import partial
from pathlib import Path

import numpy as np

from twinbench.data.errors import DataError, read_text
from twinbench.data.paths import PathList
from twinbench.data.pixels.colours import palette
from twinbench.data.pixels.split import PixelImages, read_mask, require_known
from twinbench.data.source import Source

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
OWN_CLASSES = "classes.txt"  # of masks with other classes than VOC's: their names, the first that of number 0
YEAR, LISTS, OWN, SBD = "VOC2012", Path("ImageSets", "Segmentation"), "SegmentationClass", "SegmentationClassAug"
AUG_LISTS = ("aug.txt", "trainaug.txt", "train_aug.txt")


def read_voc(source: Source, split: str) -> PixelImages:
    """Return VOC's train or val."""
    root = _root(source)
    names = _names(root / LISTS / ("train.txt" if split == "train" else "val.txt"))
    return _images(root, [(name, OWN) for name in names])


def read_voc_aug(source: Source, split: str) -> PixelImages:
    """Return VOC's train with the images of SBD, or VOC's val."""
    if split != "train":
        return read_voc(source, split)
    root = _root(source)
    own = _names(root / LISTS / "train.txt")
    lists = [root / LISTS / name for name in AUG_LISTS if (root / LISTS / name).is_file()]
    if not lists or not (root / SBD).is_dir():
        raise DataError(
            f"{root}: no SBD masks; expected {SBD}/*.png and {LISTS}/{' or '.join(AUG_LISTS)}; SBD's own release has "
            ".mat files (GTcls.Segmentation): write each as a PNG of class numbers"
        )
    more = sorted(set(_names(lists[0])) - set(own))
    return _images(root, [(name, OWN) for name in own] + [(name, SBD) for name in more])


def decode_voc(classes: int, path: Path) -> np.ndarray:
    """Return the classes of a mask, (H, W) uint8, which has one of `classes` numbers a pixel, or IGNORED."""
    return require_known(path, read_mask(path), classes)


def find_lists(source: Source) -> Path | None:
    """Return the folder VOC2012 of a devkit, or the folder itself if it holds the lists; None where neither does."""
    places = (source.path / YEAR, source.path / "VOCdevkit" / YEAR, source.path)
    return next((place for place in places if (place / LISTS).is_dir()), None)


def _root(source: Source) -> Path:
    """Return the folder with the lists of masks; DataError where there is none."""
    found = find_lists(source)
    if found is None:
        missing = source.path / YEAR
        raise DataError(f"{missing}: no {LISTS}; expected VOC 2012 with its lists of masks; give VOCdevkit")
    return found


def _names(path: Path) -> list[str]:
    """Return the images that a list names."""
    return read_text(path, "expected a list of images, one a line; unpack the data set again").split()


def _lines(path: Path) -> list[str]:
    """Return the lines of a list of classes."""
    return read_text(path, "expected the names of the classes, one a line").split("\n")[:-1]


def _images(root: Path, chosen: list[tuple[str, str]]) -> PixelImages:
    """Return images with the masks of one of two folders."""
    own = root / OWN_CLASSES
    classes = tuple(_lines(own)) if own.is_file() else CLASSES
    return PixelImages(
        root,
        PathList(root, (f"JPEGImages/{name}.jpg" for name, _ in chosen)),
        PathList(root, (f"{folder}/{name}.png" for name, folder in chosen)),
        classes,
        palette(len(classes)),
        partial(decode_voc, len(classes)),
        lists=(own,) if own.is_file() else (),
    )
