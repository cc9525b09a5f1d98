"""The images of a VOC devkit with their classes, by its class lists, or by its annotations where it has no lists.

Labels from annotations follow VOC's lists: 1 where an object of the class is not difficult, -1 (ignored) where each is,
0 where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twinbench.data.classes import kept_classes
from twinbench.data.errors import DataError
from twinbench.data.folders.leavings import is_leaving
from twinbench.data.folders.voc import files_of, listed_classes, listed_ids, parse_xml, read_class_list, year_folder
from twinbench.data.labelled import LabelledImages
from twinbench.data.paths import PathList
from twinbench.data.source import Source

DEFAULTS = (
    {"train": "trainval", "test": "test"},
    {"train": "train", "test": "test"},
    {"train": "train", "test": "val"},
)


@dataclass(frozen=True)
class VocImages:
    """The images of one split, and the names of the lists of both splits."""

    folder: Path  # that holds ImageSets
    names: dict[str, str]
    ids: tuple[str, ...]  # sorted
    files: PathList
    lists: tuple[Path, ...]  # of images, of both splits

    @property
    def main(self) -> Path:
        """The folder of the lists."""
        return self.folder / "ImageSets" / "Main"


def read_voc(source: Source, split: str) -> LabelledImages:
    """Return one split by image id; targets (N, K) int8, 1 present, 0 absent, -1 ignore."""
    found = voc_images(source, split)
    trained, part = found.names["train"], found.names[split]
    classes, others = (listed_classes(found.folder, name) for name in (trained, part))
    if classes != others:
        odd = sorted(set(classes) ^ set(others))[0]
        raise DataError(
            f"{found.main}: {len(classes)} class lists for {trained}, {len(others)} for {part}; '{odd}' has only one;"
            " expected the same classes in both"
        )
    if classes:
        classes = kept_classes(classes, source)
        files = [found.main / f"{name}_{part}.txt" for name in classes]
        targets = np.stack([read_class_list(path, found.ids) for path in files], axis=1)  # (N, K)
    else:
        files = _annotations(found)
        classes, targets = _from_annotations(found, files)
    return LabelledImages(found.files, targets, classes, root=found.folder.parent, sources=(*found.lists, *files))


def voc_images(source: Source, split: str) -> VocImages:
    """Return the images of one split by id.

    Of VOC2007 trainval (`train`) and test; of another devkit without trainval.txt train and test, or train and val.
    """
    folder = voc_folder(source.path)
    names = _split_names(source, folder)
    ids = listed_ids(folder, names[split])
    files = files_of(folder, ids)
    _require_files(folder, names[split], files)
    lists = tuple(folder / "ImageSets" / "Main" / f"{names[each]}.txt" for each in ("train", split))
    return VocImages(folder, names, ids, files, lists)


def is_voc(root: Path) -> bool:
    """Say whether a folder holds VOC2007, under that name, or is such a folder."""
    return any(map(_has_lists, (root / "VOC2007", root / "VOCdevkit" / "VOC2007", root)))


def voc_folder(root: Path) -> Path:
    """Return the folder with ImageSets: VOC2007, or the only one of `root` or its VOCdevkit, or `root` itself."""
    for devkit in (root, root / "VOCdevkit"):
        if _has_lists(devkit / "VOC2007"):
            return devkit / "VOC2007"
    if _has_lists(root):
        return root
    for devkit in (root, root / "VOCdevkit"):
        if not devkit.is_dir():
            continue
        found = sorted(folder for folder in devkit.iterdir() if not is_leaving(folder.name) and _has_lists(folder))
        if len(found) > 1:
            names = ", ".join(folder.name for folder in found[:3])
            raise DataError(f"{devkit}: {names} in it; expected VOC2007 or one such folder; give one of them")
        if found:
            return found[0]
    return year_folder(root, 2007)  # says what is there instead


def _has_lists(folder: Path) -> bool:
    """Say whether a folder is what the devkit calls a year."""
    return (folder / "ImageSets" / "Main").is_dir()


def _split_names(source: Source, folder: Path) -> dict[str, str]:
    """Return the names of the lists of both splits, the user's or the first of DEFAULTS that are there.

    Never trainval and val: the images of one are among the other's.
    """
    main = folder / "ImageSets" / "Main"
    there = [names for names in DEFAULTS if all((main / f"{name}.txt").is_file() for name in names.values())]
    if (main / "trainval.txt").is_file() or not there:
        there = [DEFAULTS[0]]
    return {split: _plain(source, split) or name for split, name in there[0].items()}


def _plain(source: Source, split: str) -> str:
    """Return the user's name for a split; DataError for a path."""
    name = source.named(split).removesuffix(".txt")
    if "/" in name:
        raise DataError(f"{source}: ?{split}={name} is no name of a list in ImageSets/Main; give one such as trainval")
    return name


def _require_files(folder: Path, split: str, files: PathList) -> None:
    """Raise DataError unless each image of a split is there."""
    present = {path.name for path in files.root.iterdir()} if files.root.is_dir() else set[str]()
    names = [files.name(index) for index in range(len(files))]
    absent = [name for name in names if name not in present]
    if absent:
        raise DataError(
            f"{folder}/JPEGImages: lacks {len(absent)} of the {len(names)} images of {split}, {absent[0]} first;"
            " expected all; unpack the data set again"
        )


def _annotations(found: VocImages) -> list[Path]:
    """Return the annotation files of both splits: together they say which classes there are."""
    ids = {image for name in found.names.values() for image in listed_ids(found.folder, name)}
    return [found.folder / "Annotations" / f"{image}.xml" for image in sorted(ids)]


def _from_annotations(found: VocImages, files: Sequence[Path]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes of both splits, sorted, and the targets (N, K) of the split's images."""
    objects = {path.name: _objects(path) for path in files}
    classes = tuple(sorted({name for shown in objects.values() for name in shown}))
    if not classes:
        raise DataError(
            f"{found.folder}/Annotations: no object in any file; expected boxes with the names of their classes"
        )
    column = {name: index for index, name in enumerate(classes)}
    targets = np.zeros((len(found.ids), len(classes)), dtype=np.int8)
    for row, image in enumerate(found.ids):
        for name, value in objects[f"{image}.xml"].items():
            targets[row, column[name]] = value
    return classes, targets


def _objects(path: Path) -> dict[str, int]:
    """Return each class that has an object in a file: 1, or -1 if all of them are difficult."""
    found: dict[str, int] = {}
    for number, thing in enumerate(parse_xml(path).iter("object"), 1):
        name = (thing.findtext("name") or "").strip()
        difficult = (thing.findtext("difficult") or "0").strip()
        if not name or difficult not in ("0", "1"):
            raise DataError(
                f"{path}, object {number}: class '{name[:80]}', difficult '{difficult[:20]}'; expected a name, and 0 or"
                " 1 or nothing; correct the file"
            )
        if difficult == "0" or name not in found:
            found[name] = 1 if difficult == "0" else -1
    return found
