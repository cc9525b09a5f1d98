"""The PASCAL VOC devkit: VOC2007 and VOC2012 with their image lists, class lists and box annotations.

A class list, ImageSets/Main/<class>_<split>.txt, says for each image of the split 1 (the class is there), -1 (it is
not) or 0 (only in a form that the annotators called difficult).
"""

import glob
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import DataError, read_lines, read_text, require_folder
from twinbench.data.folders.leavings import is_leaving
from twinbench.data.paths import PathList

HOLDS = "VOC2007/ with Annotations, ImageSets/Main and JPEGImages"
RECODED = {"1": 1, "-1": 0, "0": -1}  # VISSL's label files: present, absent, ignore (difficult only)
EVALUATED_YEAR = 2007  # VOC2012 is only trained on: its test annotations are not public
MAX_XML_BYTES = 1_000_000  # VOC's largest has under 20,000


def year_folder(root: Path, year: int) -> Path:
    """Return the folder VOC<year> in `root` or in its VOCdevkit; DataError says what is there instead."""
    for devkit in (root, root / "VOCdevkit"):
        if (devkit / f"VOC{year}" / "ImageSets" / "Main").is_dir():
            return devkit / f"VOC{year}"
    require_folder(root, f"VOC{year}", HOLDS.replace("2007", str(year)))
    raise DataError(f"{root}/VOC{year}: no ImageSets/Main in it; expected image lists; unpack the devkit again")


def image_ids(root: Path, year: int, split: str) -> tuple[str, ...]:
    """Return the image ids of `split` (trainval, test, ...), sorted, the order that cross-validation folds rely on."""
    return listed_ids(year_folder(root, year), split)


def listed_ids(folder: Path, split: str) -> tuple[str, ...]:
    """Return the image ids of `split`, sorted, for the folder that holds ImageSets."""
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    archive = ", which come in an archive of their own" if split == "test" else ""
    advice = f"expected the image ids of {split}{archive}; unpack them there"
    ids = read_lines(path, f"{advice}, or name the lists: DATA?train=NAME&test=NAME")
    if not ids or len(set(ids)) != len(ids):
        raise DataError(f"{path}: {len(ids)} ids, {len(set(ids))} different ones; expected one image id a line")
    return tuple(sorted(ids))


def detection_parts(root: Path) -> dict[str, tuple[tuple[int, str], ...]]:
    """Return (year, list) of what detectors train on and are tested on: VOC2012 is optional."""
    train = ((2007, "trainval"),)
    if (year_folder(root, 2007).parent / "VOC2012").exists():
        train = (*train, (2012, "trainval"))
    return {"train": train, "test": ((2007, "test"),)}


def is_flat(folder: Path) -> bool:
    """Say whether a folder holds images with XML files beside them, as labelling tools write them."""
    return folder.is_dir() and next(folder.glob("*.xml"), None) is not None


def image_files(root: Path, year: int, ids: Sequence[str]) -> PathList:
    """Return the image file of each id."""
    return files_of(year_folder(root, year), ids)


def files_of(folder: Path, ids: Sequence[str]) -> PathList:
    """Return the image file of each id in JPEGImages: a .jpg where there is one, as in VOC, or one of SUFFIXES.

    An id without a file is given as .jpg, for whoever says what is missing.
    """
    found: dict[str, str] = {}
    for name in sorted(os.listdir(folder / "JPEGImages")) if (folder / "JPEGImages").is_dir() else ():
        stem, dot, suffix = name.rpartition(".")
        if f".{suffix.lower()}" in SUFFIXES and not is_leaving(name) and (suffix == "jpg" or stem not in found):
            found[stem] = name
    return PathList(folder / "JPEGImages", (found.get(name, f"{name}.jpg") for name in ids))


def class_names(root: Path, year: int, split: str = "trainval") -> tuple[str, ...]:
    """Return the classes that have a list for `split`, in alphabetical order, which is VOC's."""
    folder = year_folder(root, year)
    names = listed_classes(folder, split)
    if not names:
        raise DataError(
            f"{folder}/ImageSets/Main: no class lists <class>_{split}.txt; expected one for each class; unpack them"
            " there"
        )
    return names


def listed_classes(folder: Path, split: str) -> tuple[str, ...]:
    """Return the classes that have a list for `split`, sorted; none where there are no class lists.

    A class list is known by its lines, an image and 1, -1 or 0, not by its name: a class may be called `red_cell`, and
    `old_test.txt` may be a list of images.
    """
    suffix = f"_{split}.txt"
    paths = [path for path in (folder / "ImageSets" / "Main").glob(f"*{glob.escape(suffix)}") if path.is_file()]
    return tuple(sorted(path.name.removesuffix(suffix) for path in paths if _is_class_list(path)))


def _is_class_list(path: Path) -> bool:
    """Say whether the first line of a list, which is no leaving, has a mark at its end, or another second field.

    The latter, and an empty list, are told when they are read.
    """
    if is_leaving(path.name):
        return False
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        first = next((line for line in lines if line.strip()), "")
    fields = first.split()
    return not first or len(fields) == 2 or (len(fields) > 2 and fields[-1] in RECODED)


def read_class_list(path: Path, ids: Sequence[str]) -> np.ndarray:
    """Return the (N,) int8 column of one class for `ids`; DataError unless the list has exactly these images."""
    values: dict[str, int] = {}
    lines = read_lines(path, "expected one list for each class; unpack them there")
    for number, line in enumerate(lines, 1):
        fields = line.rsplit(None, 1)  # an id may have blanks
        if len(fields) != 2 or fields[1] not in RECODED:
            raise DataError(f"{path}, line {number}: '{line[:80]}'; expected an image id and 1, -1 or 0")
        values[fields[0]] = RECODED[fields[1]]
    if odd := sorted(set(values) ^ set(ids)):
        raise DataError(
            f"{path}: {len(values)} images, the split has {len(ids)}; {odd[0]} is in one only; expected the same ids in"
            " both; unpack the lists again"
        )
    _require_both(path, list(values.values()))
    return np.array([values[name] for name in ids], dtype=np.int8)


def _require_both(path: Path, values: list[int]) -> None:
    """Raise DataError for a class without a positive or without a negative: every ranking of its images is perfect.

    Lists of 1 and 0 are about, where 0 is meant as absent. To VOC 0 is "difficult only" and ignored, and with nothing
    but positives left each class has an AP of 100.
    """
    for code, value in RECODED.items():
        if code != "0" and value not in values:
            found = ", ".join(f"{values.count(v)} times {c}" for c, v in RECODED.items())
            raise DataError(
                f"{path}: no image is marked {code} ({found}); expected 1 where the class is there, -1 where it is not"
                " and 0 where it is difficult and ignored; correct the list"
            )


def parse_xml(path: Path) -> ElementTree.Element:
    """Return the root element; a document type, which could expand into gigabytes, is refused."""
    text = read_text(path, "expected an annotation for each image; unpack the data set again", MAX_XML_BYTES)
    if "<!DOCTYPE" in text:
        raise DataError(f"{path}: declares a document type; expected a plain VOC annotation; remove the declaration")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: not a readable annotation ({error}); fetch the file again") from None
