"""Boxes in the layout of PASCAL VOC: an XML file an image.

| DATA holds                                         | train                                  | test           |
|----------------------------------------------------|----------------------------------------|----------------|
| VOC2007 with trainval.txt and test.txt             | its trainval, and VOC2012's where it is| its test       |
| one folder with ImageSets/Main, JPEGImages, ...    | trainval or train                      | test or val    |
| train/ and val/, valid/ or test/, XML beside image | train/                                 | the other      |

`?train=NAME&test=NAME` name other lists, or other folders. What files of one's own leave out has VOC's default.
"""

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from twinbench.data.decode import SUFFIXES, upright_size
from twinbench.data.errors import DataError
from twinbench.data.folders import voc
from twinbench.data.folders.leavings import is_leaving
from twinbench.data.folders.voc_labels import voc_images
from twinbench.data.objects.packed import Record
from twinbench.data.objects.shapes import XYXY
from twinbench.data.objects.split import Findings, ObjectSplit
from twinbench.data.paths import PathList
from twinbench.data.source import Source

SIDES = ("xmin", "ymin", "xmax", "ymax")
DEFAULTS = {"difficult": "0", "truncated": "0", "pose": "Unspecified"}
TESTS = ("val", "valid", "validation", "test")  # folders beside train/, where images and XML lie side by side
PUBLISHED = f"VOC{voc.EVALUATED_YEAR}"
LISTS = Path("ImageSets", "Main")


@dataclass(frozen=True)
class _Part:
    """Images that one list names, and their XML files."""

    files: PathList
    annotations: tuple[Path, ...]
    ids: tuple[str, ...]


def find_voc(source: Source, split: str) -> ObjectSplit:
    """Return the `train` or `test` split of the data at `source`; DataError names what does not fit."""
    parts = _parts(source)
    return _split(_root(source), parts[split], _classes(source, parts), _is_2007(parts["test"]))


def find_list(root: Path, year: int, name: str, classes: tuple[str, ...]) -> ObjectSplit:
    """Return the images of one list of a devkit's year, such as 2012's trainval."""
    return _split(voc.year_folder(root, year).parent, (_of_year(root, year, name),), classes, False)


def _split(root: Path, parts: Sequence[_Part], classes: tuple[str, ...], is_2007: bool) -> ObjectSplit:
    """Return the images of several lists as one split."""
    images: list[str] = []
    annotations: list[Path] = []
    ids: list[str] = []
    for part in parts:
        images += [f"{part.files.root.relative_to(root).as_posix()}/{name}" for name in _names(part.files)]
        annotations += part.annotations
        ids += part.ids
    paths = PathList(root, (name.removeprefix("./") for name in images))
    return ObjectSplit(
        root,
        paths,
        classes,
        ("box",),
        partial(_records, paths, tuple(annotations), tuple(ids), classes),
        annotations=tuple(annotations),
        rule="voc-11-points" if is_2007 else "voc-area",
    )


def _form(source: Source) -> str:
    """Return which form of the table above the folder has; one that has none is told what the first lacks."""
    devkits = (source.path, source.path / "VOCdevkit")
    main = next((kit / PUBLISHED / LISTS for kit in devkits if (kit / PUBLISHED / LISTS).is_dir()), None)
    if main and not source.options and ((main / "trainval.txt").is_file() or not (main / "train.txt").is_file()):
        return "devkit"
    folders = [source.path, *(folder for kit in devkits if kit.is_dir() for folder in kit.iterdir())]
    if any((folder / LISTS).is_dir() for folder in folders):
        return "folder"
    return "flat" if voc.is_flat(source.path / (source.named("train") or "train")) else "devkit"


def _root(source: Source) -> Path:
    """Return the folder that the names of images start from: the devkit, or the one above an own folder."""
    form = _form(source)
    if form == "devkit":
        return voc.year_folder(source.path, voc.EVALUATED_YEAR).parent
    return source.path if form == "flat" else voc_images(source, "train").folder.parent


def _parts(source: Source) -> dict[str, tuple[_Part, ...]]:
    """Return what each split consists of."""
    form = _form(source)
    if form == "devkit":
        years = voc.detection_parts(source.path)
        return {split: tuple(_of_year(source.path, *part) for part in lists) for split, lists in years.items()}
    part = _of_folder if form == "flat" else _of_list
    return {split: (part(source, split),) for split in ("train", "test")}


def _of_year(root: Path, year: int, name: str) -> _Part:
    folder, ids = voc.year_folder(root, year), voc.image_ids(root, year, name)
    return _Part(voc.files_of(folder, ids), _xml(folder, ids), ids)


def _of_list(source: Source, split: str) -> _Part:
    found = voc_images(source, split)
    return _Part(found.files, _xml(found.folder, found.ids), found.ids)


def _of_folder(source: Source, split: str) -> _Part:
    """Return the images of a folder that also holds their XML files."""
    folder = source.path / (source.named(split) or _flat_name(source, split))
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected images with an XML file each; see ?{split}=NAME")
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    names = [name for name in names if not is_leaving(name)]
    if not names:
        raise DataError(f"{folder}: no images; expected some with an XML file each; unpack them there")
    ids = tuple(name.rpartition(".")[0] for name in names)
    return _Part(PathList(folder, names), tuple(folder / f"{name}.xml" for name in ids), ids)


def _flat_name(source: Source, split: str) -> str:
    """Return the folder of a split; of several test folders the user names one."""
    if split == "train":
        return "train"
    found = [name for name in TESTS if (source.path / name).is_dir()]
    if len(found) == 1:
        return found[0]
    state = " and ".join(f"{name}/" for name in found) or "no val/ or test/"
    raise DataError(f"{source.path}: {state} beside train/; expected one folder to test on; name it: ?test=NAME")


def _xml(folder: Path, ids: Sequence[str]) -> tuple[Path, ...]:
    return tuple(folder / "Annotations" / f"{name}.xml" for name in ids)


def _names(files: PathList) -> Iterator[str]:
    return (files.name(index) for index in range(len(files)))


def _is_2007(parts: Sequence[_Part]) -> bool:
    """Say whether these are of VOC2007, whose AP is the mean at 11 recalls."""
    return any(part.files.root.parent.name == PUBLISHED for part in parts)


def _classes(source: Source, parts: dict[str, tuple[_Part, ...]]) -> tuple[str, ...]:
    """Return the classes: those that have a list for the training images, or the names in the XML of both splits."""
    if _form(source) == "devkit":
        listed = voc.listed_classes(voc.year_folder(source.path, voc.EVALUATED_YEAR), "trainval")
        if listed:
            return listed
    names: set[str] = set()
    for part in (*parts["train"], *parts["test"]):
        for path in part.annotations:
            names.update(_name(thing) for _, thing in _objects(voc.parse_xml(path)))
    if not names - {""}:
        where = parts["train"][0].annotations[0].parent
        raise DataError(f"{where}: no object in any file; expected boxes with the names of their classes")
    return tuple(sorted(names - {""}))


def _name(thing: ElementTree.Element) -> str:
    """Return the class of an object: blanks around it are none of the name, in every place alike."""
    return (thing.findtext("name") or "").strip()


def _records(
    paths: PathList,
    annotations: Sequence[Path],
    ids: Sequence[str],
    classes: Sequence[str],
    findings: Findings,
    measures: tuple[str, ...],
) -> Iterator[Record]:
    """Yield the record of each image."""
    numbers = {name: number for number, name in enumerate(classes)}
    for index, (path, name) in enumerate(zip(annotations, ids, strict=True)):
        image = paths.one(index)
        try:
            root = voc.parse_xml(path)
            width, height = _size(root, image, findings)
        except DataError as error:
            findings.problem("annotations", str(error))
            continue
        things = [_thing(thing, f"{path}, object {k}", numbers, findings) for k, thing in _objects(root)]
        yield {
            "file_name": str(image),
            "image_id": name,
            "width": width,
            "height": height,
            "annotations": [thing for thing in things if thing],
        }


def _objects(root: ElementTree.Element) -> Iterator[tuple[int, ElementTree.Element]]:
    """Yield the objects of a file with their numbers, those directly below its root as Detectron2 finds them."""
    return enumerate(root.findall("object"), 1)


def _size(root: ElementTree.Element, image: Path, findings: Findings) -> tuple[int, int]:
    """Return the annotated (width, height), or where it is not said what the image's header says."""
    sides: list[int] = []
    for side in ("width", "height"):
        text = (root.findtext(f"size/{side}") or "").strip()
        value = _number(text)
        if value > 0 and value == int(value):
            sides.append(int(value))
    if len(sides) == 2:
        return sides[0], sides[1]
    findings.assume("annotations say no size of their image: the image's own is taken")
    return upright_size(image)


def _thing(thing: ElementTree.Element, where: str, numbers: dict[str, int], findings: Findings) -> Record | None:
    """Return an object of Detectron2's form: its box from corner to corner, the first pixel's being 0."""
    name = _name(thing)
    where = f"{where} ({name[:80]})"
    if name not in numbers:
        known = ", ".join(sorted(numbers))
        findings.problem("annotations", f"{where}: class '{name[:80]}' has no class list; expected one of {known}")
        return None
    box = [_number((thing.findtext(f"bndbox/{side}") or "").strip()) for side in SIDES]
    if not all(0 <= value < 1e9 for value in box):  # NaN compares false
        told = ", ".join(f"{side} '{(thing.findtext(f'bndbox/{side}') or '')[:20]}'" for side in SIDES)
        findings.problem("annotations", f"{where}: the box is {told}; expected four numbers from 0; correct the file")
        return None
    difficult = _flag(thing, where, findings)
    left, top, right, bottom = box
    if right <= left - 1 or bottom <= top - 1:
        how = "their corners swapped" if right < left - 1 or bottom < top - 1 else "no area"
        findings.assume(f"boxes have {how}: training drops them as Detectron2 does, the evaluation counts them")
    found = {"bbox": [left - 1, top - 1, right, bottom], "bbox_mode": XYXY, "category_id": numbers[name]}
    return {**found, "iscrowd": 0, "difficult": difficult}


def _flag(thing: ElementTree.Element, where: str, findings: Findings) -> int:
    """Return whether an object is called difficult; count what is not said of it."""
    for field, default in DEFAULTS.items():
        if thing.find(field) is None:
            findings.assume(f"objects lack <{field}>: VOC's default, {default}, is taken")
    text = (thing.findtext("difficult") or "0").strip() or "0"
    if text not in ("0", "1"):
        findings.problem("annotations", f"{where}: <difficult> is '{text[:20]}'; expected 0 or 1; correct the file")
    return int(text == "1")


def _number(text: str) -> float:
    """Return a number as it is written, NaN for none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
