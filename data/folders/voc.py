"""The PASCAL VOC devkit: VOC2007 and VOC2012 with their image lists, class lists and box annotations.

A class list, ImageSets/Main/<class>_<split>.txt, says for each image of the split 1 (the class is there), -1 (it is
not) or 0 (only in a form that the annotators called difficult).
"""

import glob
import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Sequence
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


def object_classes(root: Path) -> tuple[str, ...]:
    """Return the classes of the boxes: those that have a list for VOC2007, or else the names in its annotations.

    A data set that is only laid out as VOC seldom has class lists, which detectors do not need.
    """
    folder = year_folder(root, 2007)
    if any((folder / "ImageSets" / "Main").glob("*_trainval.txt")):
        return class_names(root, 2007)
    names: set[str] = set()
    for split in ("trainval", "test"):
        for image in image_ids(root, 2007, split):
            for thing in parse_xml(folder / "Annotations" / f"{image}.xml").iter("object"):
                names.add((thing.findtext("name") or "").strip())
    if not names:
        raise DataError(f"{folder}/Annotations: no object in any file; expected boxes with the names of their classes")
    return tuple(sorted(names))


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


def check_annotations(root: Path, year: int, split: str, classes: Collection[str] = ()) -> None:
    """Raise DataError that names the first annotation of `split` that Detectron2 could not use.

    `classes` are the known ones, by default those that have a list.
    """
    folder, known = year_folder(root, year), set(classes or class_names(root, year))
    for name in image_ids(root, year, split):
        check_annotation(folder / "Annotations" / f"{name}.xml", known, year == EVALUATED_YEAR)


def check_annotation(path: Path, classes: set[str], evaluated: bool) -> None:
    """Raise DataError unless each object of the file has a known class and a box.

    What is `evaluated` needs more: `pose`, `truncated`, `difficult` and whole numbers, which Detectron2's VOC evaluator
    reads. Two files of VOC2012 have fractions in their boxes (2011_003353, 2011_006777); to train on them is fine.
    """
    for number, thing in enumerate(parse_xml(path).iter("object"), 1):
        where = f"{path}, object {number}"
        name = (thing.findtext("name") or "").strip()
        if name not in classes:
            raise DataError(
                f"{where}: class '{name[:80]}' has no class list; expected one of {', '.join(sorted(classes))}"
            )
        if evaluated:
            _check_flags(thing, f"{where} ({name})")
        _check_box(thing, f"{where} ({name})", int if evaluated else float)


def _check_flags(thing: ElementTree.Element, where: str) -> None:
    """Raise DataError unless an object has the three flags, two of them 0 or 1."""
    for field in ("pose", "truncated", "difficult"):
        if thing.find(field) is None:
            raise DataError(f"{where}: no <{field}>; the VOC evaluation reads it; add it to the file")
    for field in ("truncated", "difficult"):
        if (thing.findtext(field) or "").strip() not in ("0", "1"):
            raise DataError(f"{where}: <{field}> is '{thing.findtext(field)}'; expected 0 or 1")


def _check_box(thing: ElementTree.Element, where: str, number: type[int] | type[float]) -> None:
    """Raise DataError unless the box of an object is four numbers of that type, xmin < xmax and ymin < ymax."""
    texts = {side: (thing.findtext(f"bndbox/{side}") or "").strip() for side in ("xmin", "ymin", "xmax", "ymax")}
    try:
        left, top, right, bottom = (number(text) for text in texts.values())
    except ValueError:
        left = top = right = bottom = 0
    if not (1 <= left < right < math.inf and 1 <= top < bottom < math.inf):  # NaN compares false
        found = ", ".join(f"{side} '{text[:20]}'" for side, text in texts.items())
        kind = "whole numbers" if number is int else "numbers"
        raise DataError(f"{where}: the box is {found}; expected {kind}, 1 <= xmin < xmax and 1 <= ymin < ymax")


def parse_xml(path: Path) -> ElementTree.Element:
    """Return the root element; a document type, which could expand into gigabytes, is refused."""
    text = read_text(path, "expected an annotation for each image; unpack the data set again", MAX_XML_BYTES)
    if "<!DOCTYPE" in text:
        raise DataError(f"{path}: declares a document type; expected a plain VOC annotation; remove the declaration")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: not a readable annotation ({error}); fetch the file again") from None
