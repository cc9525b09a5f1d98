"""Masks of one's own: a folder of images and one of masks for each split, and a list of classes beside them.

    images/{train,val}/   beside  masks/{train,val}/, annotations/ or labels/
    {train,val}/images/   beside  {train,val}/masks/, annotations/ or labels/
    {train,val}/NAME.jpg  beside  {train,val}/NAME_mask.png, as Roboflow exports them

A mask is called like its image, or NAME_mask, and has one number of 8 or 16 bits a pixel. What the numbers mean is said
by classes.txt, classes.csv (Roboflow's _classes.csv) or labels.csv, whose forms `numbers.py` reads. 255 has no label
unless the list names it: masks of 0 and 255 lose half of what they say where it does not.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from twinbench.data.errors import DataError
from twinbench.data.folders.walk import Walk
from twinbench.data.paths import PathList
from twinbench.data.pixels.colours import palette
from twinbench.data.pixels.numbers import decode_with, read_classes
from twinbench.data.pixels.split import IGNORED, PixelImages
from twinbench.data.source import Source

SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("val", "valid", "validation", "test")}
MASK_FOLDERS = ("masks", "annotations", "labels")
BESIDE = "_mask"  # what a mask's name may have after its image's
LISTS = ("labels.csv", "classes.txt", "classes.csv", "_classes.csv")  # the first that is there
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".pgm")
EXPECTED = "images/train beside masks/train, or train/images beside train/masks, or NAME.jpg beside NAME_mask.png"


@dataclass(frozen=True)
class Folders:
    """Where a split's images and masks lie; one folder where masks lie beside their images."""

    images: Path
    masks: Path


def find_folders(source: Source, split: str) -> Folders | None:
    """Return the folders of a split; None where there are none."""
    found = pair_of_folders(source, split, MASK_FOLDERS, _holds_a_mask)
    if found:
        return found
    for name in _names(source, split):
        folder = source.path / name
        if folder.is_dir() and any(folder.glob(f"*{BESIDE}.png")):
            return Folders(folder, folder)
    return None


def pair_of_folders(source: Source, split: str, names: Sequence[str], is_one: Callable[[Path], bool]) -> Folders | None:
    """Return a split's folder of images with one of `names` beside it that `is_one` of masks; None without."""
    root = source.path
    for name, masks in itertools.product(_names(source, split), names):
        for found in (
            Folders(root / "images" / name, root / masks / name),
            Folders(root / name / "images", root / name / masks),
        ):
            if found.images.is_dir() and is_one(found.masks):
                return found
    return None


def _names(source: Source, split: str) -> tuple[str, ...]:
    """Return what a split's folder may be called."""
    given = source.named(split)
    return (given,) if given else SPLIT_FOLDERS[split]


def _holds_a_mask(folder: Path) -> bool:
    """Say whether a folder has a file that may be a mask, at any depth: labels/ may be of boxes, a text an image."""
    return folder.is_dir() and any(path.suffix.lower() in LOSSLESS for path in folder.rglob("*"))


def read_folders(source: Source, split: str) -> PixelImages:
    """Return a split of a user's own images and masks, in the order of the names."""
    root = source.path
    folders = find_folders(source, split)
    if folders is None:
        raise DataError(f"{root}: no images with masks to {split} on; expected {EXPECTED}")
    names = list(_pairs(folders))
    if not names:
        raise DataError(f"{folders.images}: no image in it; expected .jpg, .png or the like; check the path")
    path = _list(source, folders)
    meaning, classes = read_classes(path)
    expected = f"one that {path.name} has, or {IGNORED} for no label; add it there, without a name if it is no class"
    image_root, mask_root = (folder.relative_to(root).as_posix() for folder in (folders.images, folders.masks))
    return PixelImages(
        root,
        PathList(root, (f"{image_root}/{image}" for image, _ in names)),
        PathList(root, (f"{mask_root}/{mask}" for _, mask in names)),
        classes,
        palette(len(classes)),
        decode_with(meaning, expected),
        lists=(path,),
    )


def _list(source: Source, folders: Folders) -> Path:
    """Return the list of classes: beside the folders of both splits, or in that of training."""
    train = find_folders(source, "train") or folders
    places = [source.path, train.images, train.images.parent]
    found = [place / name for place in places for name in LISTS if (place / name).is_file()]
    if not found:
        raise DataError(
            f"{source.path}: no classes.txt or classes.csv; expected what the numbers in the masks mean: a name a line "
            "from number 0 on, or lines of `number,name`; write one"
        )
    return found[0]


def _pairs(folders: Folders) -> Iterator[tuple[str, str]]:
    """Yield the names of each image and its mask, relative to their folders; a mask that is missing as NAME.png."""
    masks = {
        PurePosixPath(name).with_suffix("").as_posix(): name
        for name in Walk(folders.masks).images(folders.masks)
        if PurePosixPath(name).suffix.lower() in LOSSLESS
    }
    for image in Walk(folders.images).images(folders.images):
        stem = PurePosixPath(image).with_suffix("").as_posix()
        beside = masks.get(f"{stem}{BESIDE}")
        if folders.images == folders.masks:
            if not stem.endswith(BESIDE):
                yield image, beside or f"{stem}{BESIDE}.png"
        else:
            yield image, masks.get(stem) or beside or f"{stem}.png"
