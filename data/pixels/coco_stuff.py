"""Masks in the layout of COCO-Stuff: its 164k pixel maps (stuffthingmaps_trainval2017.zip) beside COCO's images.

    images/{train,val}2017/  or  {train,val}2017/            NAME.jpg
    annotations/{train,val}2017/  or  stuffthingmaps/...     NAME.png

The first of each is how MMSegmentation and PiCIE have them, the second how the archives unpack. A mask has the numbers
0 to 181, one below the ids of labels.txt, and 255 where there is no class (nightrome/cocostuff, README.md). Eleven of
the 182 are things that COCO has taken back, and no image has them: 171 are classes, as in MMSegmentation's
coco_stuff164k.py. coco_stuff.csv names them, and says which of 27 groups each is in: 12 of things and 15 of stuff,
numbered as in PiCIE's fine_to_coarse_dict.pickle, which is what unsupervised segmentation is measured by.
"""

import csv
from dataclasses import replace
from pathlib import Path

from twinbench.data.errors import DataError
from twinbench.data.paths import PathList
from twinbench.data.pixels.colours import palette
from twinbench.data.pixels.numbers import decode_with
from twinbench.data.pixels.split import IGNORED, PixelImages
from twinbench.data.source import Source

GROUPS = (
    "electronic-things",
    "appliance-things",
    "food-things",
    "furniture-things",
    "indoor-things",
    "kitchen-things",
    "accessory-things",
    "animal-things",
    "outdoor-things",
    "person-things",
    "sports-things",
    "vehicle-things",
    "ceiling-stuff",
    "floor-stuff",
    "food-stuff",
    "furniture-stuff",
    "rawmaterial-stuff",
    "textile-stuff",
    "wall-stuff",
    "window-stuff",
    "building-stuff",
    "ground-stuff",
    "plant-stuff",
    "sky-stuff",
    "solid-stuff",
    "structural-stuff",
    "water-stuff",
)
IMAGES, MASKS = ("images/", ""), ("annotations/", "stuffthingmaps/")
SPLITS = {"train": "train2017", "test": "val2017"}
EXPECTED = f"0 to 181 without the eleven that COCO has taken back, or {IGNORED} for no class"


def is_coco_stuff(source: Source) -> bool:
    """Say whether a folder holds it, rather than masks whose splits the user names."""
    return not source.named("train") and find_folders(source.path, "train") is not None


def find_folders(root: Path, split: str) -> tuple[str, str] | None:
    """Return the folders of a split's images and masks below the root; None where they are not."""
    part = SPLITS[split]
    images = [f"{folder}{part}" for folder in IMAGES if (root / f"{folder}{part}").is_dir()]
    masks = [f"{folder}{part}" for folder in MASKS if (root / f"{folder}{part}").is_dir()]
    return (images[0], masks[0]) if images and masks else None


def read_coco_stuff(source: Source, split: str) -> PixelImages:
    """Return COCO-Stuff's train or val with its 171 classes, in the order of the names."""
    rows = _rows()
    meaning = {int(row["number"]): place for place, row in enumerate(rows)}
    return _read(source, split, meaning, tuple(row["name"] for row in rows))


def read_coco_stuff27(source: Source, split: str) -> PixelImages:
    """Return the same images with the 27 groups as classes."""
    meaning = {int(row["number"]): int(row["group"]) for row in _rows()}
    return replace(_read(source, split, meaning, GROUPS), meaning=tuple(meaning.items()))


def _rows() -> list[dict[str, str]]:
    """Return the classes in their order: number, name, group."""
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read(source: Source, split: str, meaning: dict[int, int], classes: tuple[str, ...]) -> PixelImages:
    """Return a split whose numbers have a `meaning`; DataError where it is not there."""
    root, part = source.path, SPLITS[split]
    folders = find_folders(root, split)
    if folders is None:
        raise DataError(
            f"{root}: no images/{part} or {part} beside annotations/{part} or stuffthingmaps/{part}; expected COCO's "
            "images and COCO-Stuff's stuffthingmaps; unpack both"
        )
    images, masks = folders
    stems = sorted(path.stem for path in (root / images).glob("*.jpg"))
    if not stems:
        raise DataError(f"{root / images}: no *.jpg; expected the images of COCO; unpack them again")
    return PixelImages(
        root,
        PathList(root, (f"{images}/{stem}.jpg" for stem in stems)),
        PathList(root, (f"{masks}/{stem}.png" for stem in stems)),
        classes,
        palette(len(classes)),
        decode_with({IGNORED: IGNORED} | meaning, EXPECTED),
    )
