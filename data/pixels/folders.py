"""Masks of one's own: a folder of images and one of masks for each split, and a list of classes beside them.

    images/{train,val}/   beside  masks/{train,val}/, annotations/ or labels/
    {train,val}/images/   beside  {train,val}/masks/, annotations/ or labels/
    {train,val}/NAME.jpg  beside  {train,val}/NAME_mask.png, as Roboflow exports them

A mask is called like its image, or NAME_mask, and has one number of 8 or 16 bits a pixel. What the numbers mean is said
by classes.txt, a name a line from number 0 on, or classes.csv (Roboflow's _classes.csv), lines of `number,name`; a
number without a name has no label. Neither has 255, unless the list names it: masks of 0 and 255 lose half of what they
say where it does not.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from twinbench.data.decode import SIXTEEN_BITS, read_numbers
from twinbench.data.errors import DataError, read_lines, read_text
from twinbench.data.folders.walk import Walk
from twinbench.data.paths import PathList
from twinbench.data.pixels.colours import palette
from twinbench.data.pixels.split import IGNORED, PixelImages
from twinbench.data.source import Source

SPLIT_FOLDERS = {"train": ("train", "training"), "test": ("val", "valid", "validation", "test")}
MASK_FOLDERS = ("masks", "annotations", "labels")
BESIDE = "_mask"  # what a mask's name may have after its image's
LISTS = ("classes.txt", "classes.csv", "_classes.csv")
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".pgm")
MOST_CLASSES = IGNORED  # numbers 0 to 254 are classes, once they are decoded
NUMBERS = 1 << 16
UNKNOWN = 256  # in a table of numbers: not on the list
EXPECTED_LIST = "expected the classes, a name a line"
EXPECTED = "images/train beside masks/train, or train/images beside train/masks, or NAME.jpg beside NAME_mask.png"


@dataclass(frozen=True)
class Folders:
    """Where a split's images and masks lie; one folder where masks lie beside their images."""

    images: Path
    masks: Path


def find_folders(source: Source, split: str) -> Folders | None:
    """Return the folders of a split; None where there are none."""
    root, given = source.path, source.named(split)
    for name in (given,) if given else SPLIT_FOLDERS[split]:
        for masks in MASK_FOLDERS:
            for found in (
                Folders(root / "images" / name, root / masks / name),
                Folders(root / name / "images", root / name / masks),
            ):
                if found.images.is_dir() and _holds_a_mask(found.masks):
                    return found
        if (root / name).is_dir() and any((root / name).glob(f"*{BESIDE}.png")):
            return Folders(root / name, root / name)
    return None


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
    numbers, classes = read_classes(path)
    image_root, mask_root = (folder.relative_to(root).as_posix() for folder in (folders.images, folders.masks))
    return PixelImages(
        root,
        PathList(root, (f"{image_root}/{image}" for image, _ in names)),
        PathList(root, (f"{mask_root}/{mask}" for _, mask in names)),
        classes,
        palette(len(classes)),
        partial(_decode, _table(numbers), path),
        lists=(path,),
    )


def read_classes(path: Path) -> tuple[list[int], tuple[str, ...]]:
    """Return what each number means, as a list of (number -> class or IGNORED), and the classes' names.

    The first list has a place for every number up to the largest that is named, UNKNOWN between them.
    """
    entries = _numbered(path, read_lines(path, EXPECTED_LIST)) if path.suffix == ".csv" else _named(path)
    numbers = [number for number, _ in entries]
    if len(set(numbers)) < len(numbers):
        twice = next(number for place, number in enumerate(numbers) if number in numbers[:place])
        raise DataError(f"{path}: number {twice} twice; expected each once; correct the list")
    classes = tuple(name for _, name in entries if name)
    if not 1 < len(classes) <= MOST_CLASSES:
        raise DataError(
            f"{path}: {len(classes)} classes; expected 2 to {MOST_CLASSES}, the background among them if it is one; "
            "correct the list"
        )
    if len(set(classes)) < len(classes):
        twice = next(name for place, name in enumerate(classes) if name in classes[:place])
        raise DataError(f"{path}: class '{twice}' twice; expected each once; correct the list")
    places = iter(range(len(classes)))
    meaning = [UNKNOWN] * (max(numbers) + 1)
    for number, name in entries:
        meaning[number] = next(places) if name else IGNORED
    return meaning, classes


def _named(path: Path) -> list[tuple[int, str]]:
    """Return the names of a list with their numbers; DataError for an empty line, which would shift the rest."""
    names = [line.strip() for line in read_text(path, EXPECTED_LIST).rstrip().split("\n")]
    if "" in names:
        raise DataError(
            f"{path}, line {names.index('') + 1}: empty; expected a name a line, from number 0 on; numbers without a "
            "name stand in a classes.csv, as `3,`"
        )
    return list(enumerate(names))


def _numbered(path: Path, lines: list[str]) -> list[tuple[int, str]]:
    """Return the numbers and names of a list that has both, in the order of the numbers; a header is left out."""
    entries: list[tuple[int, str]] = []
    for place, row in enumerate(csv.reader(lines)):
        number = row[0].strip() if row else ""
        if not place and not number.isdecimal():
            continue
        if len(row) != 2 or not (number.isascii() and number.isdecimal()) or int(number) >= NUMBERS:
            raise DataError(
                f"{path}, line {place + 1}: '{','.join(row)[:80]}'; expected a number from 0 to {NUMBERS - 1} and a "
                "name: 0,background"
            )
        entries.append((int(number), row[1].strip()))
    if not entries:
        raise DataError(f"{path}: an empty list; expected a number and a name a line: 0,background")
    return sorted(entries)


def _list(source: Source, folders: Folders) -> Path:
    """Return the list of classes: beside the folders of both splits, or in that of training."""
    train = find_folders(source, "train") or folders
    places = [source.path, train.images, train.images.parent]
    found = [place / name for place in places for name in LISTS if (place / name).is_file()]
    if not found:
        raise DataError(
            f"{source.path}: no {' or '.join(LISTS[:2])}; expected what the numbers in the masks mean: a name a line "
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


def _table(meaning: list[int]) -> np.ndarray:
    """Return what each number of 16 bits stands for: a class, IGNORED or UNKNOWN, (65536,) int16."""
    table = np.full(NUMBERS, UNKNOWN, np.int16)
    table[IGNORED] = IGNORED
    named = np.array(meaning, np.int16)
    places = np.flatnonzero(named != UNKNOWN)
    table[places] = named[places]
    return table


def _decode(table: np.ndarray, path_of_list: Path, path: Path) -> np.ndarray:
    """Return the classes of a mask, (H, W) uint8; DataError names a number that is not on the list."""
    numbers = read_numbers(path, ("L", "P", "1", *SIXTEEN_BITS))
    found = table[numbers.astype(np.uint16)]
    strange = found == UNKNOWN
    if strange.any():
        raise DataError(
            f"{path}: number {numbers[strange].min()} in a mask; expected one that {path_of_list.name} has, or "
            f"{IGNORED} for no label; add it there, without a name if it is no class"
        )
    return found.astype(np.uint8)
