"""Data sets that only test: no training images, and class folders that lie in the data set's folder itself.

| layout        | DATA is the folder that holds                                                          |
|---------------|----------------------------------------------------------------------------------------|
| test-classes  | <class>/*, as ImageNet-A, -R and -Sketch, by WordNet's names                           |
| test-numbers  | <number>/*, as ImageNetV2: 0 to 999 in the order of ImageNet's class folders           |
| imagenet-real | ImageNet, with real.json: for each val image in the order of their numbers its classes |
| corruptions   | <corruption>/<severity>/<class>/*, as ImageNet-C                                       |

An archive's own folder around the class folders (imagenet-r/, imagenetv2-matched-frequency-format-val/) may stay.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from twinbench.data.errors import DataError, require_is_folder
from twinbench.data.folders.imagenet import class_images, read_imagenet
from twinbench.data.folders.walk import Walk
from twinbench.data.labelled import LabelledImages, absent
from twinbench.data.paths import PathList
from twinbench.data.source import Source
from twinbench.protocols.text import TextError, read_json

REAL = "real.json"
EXTRA = frozenset({"speckle_noise", "gaussian_blur", "spatter", "saturate"})  # of extra.tar: in no mean of ImageNet-C's
LEFT_OUT = "corruptions of extra.tar, with all of their images"
UNLABELLED = "images without a reassessed label"
_NUMBER = re.compile(r"_(\d{8})\.\w+$")  # ILSVRC2012_val_00000293.JPEG


def read_test_classes(source: Source, split: str) -> LabelledImages:
    """Return the images of class folders, by the folders' names."""
    folder, walk = _class_folders(source, split)
    return _in_folders(folder, walk.classes(folder), walk)


def read_test_numbers(source: Source, split: str) -> LabelledImages:
    """Return the images of numbered class folders, 2 before 10."""
    folder, walk = _class_folders(source, split)
    names = walk.classes(folder)
    odd = [name for name in names if not name.isdecimal()]
    if odd:
        raise DataError(
            f"{folder}: the folder {odd[0]} is no number; expected class folders 0, 1, 2 and so on; is this ImageNetV2?"
        )
    return _in_folders(folder, tuple(sorted(names, key=int)), walk)


def read_real(source: Source, split: str) -> LabelledImages:
    """Return ImageNet's val images with their reassessed labels, (N, K) of 1 and 0; those without any are left out."""
    _require_test(source, split)
    val = read_imagenet(source, "test")
    file = source.path / REAL
    labels = _real_labels(file, len(val.classes))
    kept: list[int] = []
    said: list[list[int]] = []
    for index in range(len(val.paths)):
        found = labels[_place(file, val.paths.name(index), len(labels))]
        if found:
            kept.append(index)
            said.append(found)
    targets = absent(source, len(kept), len(val.classes))
    for row, classes in enumerate(said):
        targets[row, classes] = 1
    return LabelledImages(
        val.paths.select(kept),
        targets,
        val.classes,
        root=val.root,
        sources=(*val.sources, file),
        left_out=val.left_out | {UNLABELLED: len(val.paths) - len(kept)},
    )


def read_corruptions(source: Source, split: str) -> LabelledImages:
    """Return the images of all corruptions and severities; the names of the images begin with both."""
    _require_test(source, split)
    root = source.path
    require_is_folder(root, "<corruption>/<severity>/<class>/")
    walk = Walk(root)
    parts: list[str] = []
    left_out = 0
    for corruption in walk.classes(root):
        severities = walk.classes(root / corruption)
        if corruption in EXTRA:
            left_out += 1
            continue
        if not severities or not all(map(str.isdecimal, severities)):
            raise DataError(
                f"{root / corruption}: expected folders of severities, 1 to 5, with class folders in each; unpack the"
                " archives of ImageNet-C in one folder"
            )
        parts += [f"{corruption}/{severity}" for severity in severities]
    if not parts:
        raise DataError(f"{root}: no folders in it; expected <corruption>/<severity>/<class>/; check the path")
    classes = walk.classes(root / parts[0])
    targets: list[np.ndarray] = []

    def each() -> Iterator[str]:
        for part in parts:
            if (found := walk.classes(root / part)) != classes:
                odd = sorted(set(found) ^ set(classes))[0]
                raise DataError(
                    f"{root / part}: {len(found)} classes, but {len(classes)} in {parts[0]}; {odd} is in one only;"
                    " expected the same class folders in all; unpack the archive again"
                )
            images, counts = class_images(root / part, classes, walk)
            targets.append(np.repeat(np.arange(len(classes), dtype=np.int64), counts))
            for index in range(len(images)):
                yield f"{part}/{images.name(index)}"

    paths = PathList(root, each())
    told = dict(walk.left_out) | ({LEFT_OUT: left_out} if left_out else {})
    return LabelledImages(paths, np.concatenate(targets), classes, root=root, sources=(root,), left_out=told)


def _require_test(source: Source, split: str) -> None:
    if split != "test":
        raise DataError(f"{source}: has no {split} images, it only tests; expected a data set with them")


def _class_folders(source: Source, split: str) -> tuple[Path, Walk]:
    """Return the folder that holds the class folders: the data set's, or the only one in it."""
    _require_test(source, split)
    folder = source.path
    require_is_folder(folder, "a folder for each class")
    if named := source.named("test"):
        folder = folder / named
        require_is_folder(folder, f"a folder for each class, as ?test={named} says")
    names = Walk(folder).classes(folder)
    if len(names) == 1 and Walk(folder).classes(folder / names[0]):
        folder = folder / names[0]
        names = Walk(folder).classes(folder)
    if not names:
        raise DataError(f"{folder}: no class folders in it; expected a folder for each class; is the archive unpacked?")
    return folder, Walk(folder)


def _in_folders(folder: Path, classes: tuple[str, ...], walk: Walk) -> LabelledImages:
    """Return the images of these classes; an identity's names begin at the class folders, whatever lies around."""
    images, counts = class_images(folder, classes, walk)
    targets = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    sources = (folder, *walk.empty)
    return LabelledImages(images, targets, classes, root=folder, sources=sources, left_out=dict(walk.left_out))


def _real_labels(file: Path, classes: int) -> list[list[int]]:
    """Return the classes of each image, in the order of the images' numbers."""
    try:
        found: Any = read_json(file, f"`twinbench data fetch imagenet-real {file.parent}` fetches it")
    except TextError as error:
        raise DataError(str(error)) from None
    if not isinstance(found, list) or not all(_are_classes(each, classes) for each in cast("list[Any]", found)):
        raise DataError(
            f"{file}: expected a list of classes, numbers from 0 to {classes - 1}, for each val image; fetch it again"
        )
    return cast("list[list[int]]", found)


def _are_classes(labels: Any, classes: int) -> bool:
    """Say whether labels are a list of class numbers."""
    if not isinstance(labels, list):
        return False
    return all(type(label) is int and 0 <= label < classes for label in cast("list[Any]", labels))


def _place(file: Path, name: str, count: int) -> int:
    """Return the place in the list of the image called `name`: its number, which counts from 1, less 1."""
    number = _NUMBER.search(name)
    if number is None or not 1 <= int(number[1]) <= count:
        raise DataError(
            f"{file}: has labels for the images 1 to {count}, and nothing for {name}; expected names such as"
            " ILSVRC2012_val_00000001.JPEG; are these ImageNet's val images?"
        )
    return int(number[1]) - 1
