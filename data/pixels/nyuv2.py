"""Masks of NYU Depth v2 with 40 classes, in the two forms in which its .mat is passed around.

    RGB/NAME.jpg, Label/NAME.png, with train.txt and test.txt   as for SA-Gate, CMX and DFormer
    {train,test}/rgb/NAME.png, {train,test}/labels_40/NAME.png  as ESANet's prepare_dataset.py writes them

In both a mask has the numbers 1 to 40, and 0 where there is no class. A line of train.txt begins with an image,
RGB/NAME.jpg. The names of the classes are those of FCN's data/nyud/classes.txt.
"""

from pathlib import Path, PurePosixPath

from twinbench.data.errors import DataError, read_lines
from twinbench.data.paths import PathList
from twinbench.data.pixels.colours import palette
from twinbench.data.pixels.numbers import decode_from_1
from twinbench.data.pixels.split import PixelImages
from twinbench.data.source import Source

CLASSES = (
    "wall",
    "floor",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "door",
    "window",
    "bookshelf",
    "picture",
    "counter",
    "blinds",
    "desk",
    "shelves",
    "curtain",
    "dresser",
    "pillow",
    "mirror",
    "floor mat",
    "clothes",
    "ceiling",
    "books",
    "refridgerator",  # sic
    "television",
    "paper",
    "towel",
    "shower curtain",
    "box",
    "whiteboard",
    "person",
    "night stand",
    "toilet",
    "sink",
    "lamp",
    "bathtub",
    "bag",
    "otherstructure",
    "otherfurniture",
    "otherprop",
)
IMAGES, MASKS = "RGB", "Label"
SPLIT_IMAGES, SPLIT_MASKS = "rgb", "labels_40"


def is_nyuv2(source: Source) -> bool:
    """Say whether a folder holds it in one of its forms."""
    return _is_listed(source.path) or _is_split(source.path, "train")


def read_nyuv2(source: Source, split: str) -> PixelImages:
    """Return NYUv2's train or test, in the order of the list or of the names; DataError where it is neither."""
    root = source.path
    if _is_listed(root):
        names = _listed(root / f"{split}.txt")
        images, masks = ([f"{folder}/{name}" for name in names] for folder in (IMAGES, MASKS))
        suffix = ".jpg"
    elif _is_split(root, split):
        names = sorted(path.stem for path in (root / split / SPLIT_IMAGES).glob("*.png"))
        images, masks = ([f"{split}/{folder}/{name}" for name in names] for folder in (SPLIT_IMAGES, SPLIT_MASKS))
        suffix = ".png"
    else:
        raise DataError(
            f"{root}: neither {IMAGES}/ beside {MASKS}/ with {split}.txt, nor {split}/{SPLIT_IMAGES} beside "
            f"{split}/{SPLIT_MASKS}; expected NYUv2 with its 40 classes; convert nyu_depth_v2_labeled.mat"
        )
    if not names:
        raise DataError(f"{root}: no images to {split} on; expected those of NYUv2; convert them again")
    return PixelImages(
        root,
        PathList(root, (f"{name}{suffix}" for name in images)),
        PathList(root, (f"{name}.png" for name in masks)),
        CLASSES,
        palette(len(CLASSES)),
        decode_from_1(len(CLASSES)),
    )


def _is_listed(root: Path) -> bool:
    """Say whether images of both splits lie together, with lists of them."""
    return all((root / folder).is_dir() for folder in (IMAGES, MASKS)) and (root / "train.txt").is_file()


def _is_split(root: Path, split: str) -> bool:
    """Say whether a split has its own folders."""
    return all((root / split / folder).is_dir() for folder in (SPLIT_IMAGES, SPLIT_MASKS))


def _listed(path: Path) -> list[str]:
    """Return the names of a list without folder and suffix."""
    lines = read_lines(path, f"expected a list of images, {IMAGES}/NAME.jpg a line")
    return [PurePosixPath(line.split()[0]).stem for line in lines]
