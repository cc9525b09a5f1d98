"""ImageNet as everybody unpacks it: train/<class>/*, val/<class>/*, and SimCLR's 1 % and 10 % lists beside them.

Any data set of that shape is read, with any class folder names and images at any depth below them. torchvision's
ImageFolder gives the same order.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from twinbench.data.classes import kept_classes
from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import DataError, require_folder
from twinbench.data.folders.flat_val import has_flat_images, read_flat
from twinbench.data.folders.subset import file_names, places_on
from twinbench.data.folders.walk import Walk
from twinbench.data.labelled import LabelledImages
from twinbench.data.paths import PathList
from twinbench.data.source import Source
from twinbench.runtime.download import alone, fetch_file

# By preference. ImageNet has a test/, too, whose labels are not public; others call the part that they report on so.
FOLDERS = {"train": ("train",), "test": ("val", "valid", "validation", "test")}
LISTS = {"10%": "10percent.txt", "1%": "1percent.txt"}
LISTS_ADDRESS = "https://raw.githubusercontent.com/google-research/simclr/master/imagenet_subsets"
LISTS_SHA256 = {  # of that source's files
    "1percent.txt": "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17",
    "10percent.txt": "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091",
}
CLASSES = 1000  # of ILSVRC 2012, and so of SimCLR's lists; a data set of other classes has lists of its own
HOLDS = "train/<class>/*.JPEG and val/<class>/*.JPEG"


def read_imagenet(source: Source, split: str, fraction: str = "100%", subset: Path | None = None) -> LabelledImages:
    """Return one split by class name, then as ImageFolder goes through a class; with a fraction, as on its list.

    The list is `subset`, by default the one in the folder. A val/ without class folders is read by its label file.
    """
    root = source.path
    folder = root / split_folder(source, split)
    train = root / train_folder(source)
    classes = kept_classes(class_folders(train if train.is_dir() else folder), source)
    if split == "test" and train.is_dir() and has_flat_images(folder, classes):
        return read_flat(source, folder, classes)
    walk = Walk(root)
    _require_classes(source, classes, walk.classes(folder), folder.name)
    names, counts = class_images(folder, classes, walk)
    targets = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    sources = (train if train.is_dir() else folder, *walk.empty)  # whose folders are the classes; where images may come
    if fraction != "100%":
        path = subset or root / LISTS[fraction]
        places = places_on(path, folder, [names.name(index) for index in range(len(names))])
        names, targets, sources = names.select(places), targets[places], (*sources, path)
    return LabelledImages(names, targets, classes, root=root, sources=sources, left_out=dict(walk.left_out))


def class_images(folder: Path, classes: tuple[str, ...], walk: Walk) -> tuple[PathList, list[int]]:
    """Return the images of all classes, class by class, and how many each has; DataError for a class without."""
    counts = [0] * len(classes)

    def names() -> Iterator[str]:
        for label, name in enumerate(classes):
            for file in walk.images(folder / name):
                counts[label] += 1
                yield f"{name}/{file}"
            if not counts[label]:
                raise DataError(
                    f"{folder / name}: no images in it; expected images of one class ({', '.join(SUFFIXES)}); is the"
                    " data set complete?"
                )

    return PathList(folder, names()), counts


def _require_classes(source: Source, classes: tuple[str, ...], found: tuple[str, ...], part: str) -> None:
    """Raise DataError unless a split has the class folders of the training images; others may be told to stay out."""
    if "classes" in source.options:
        found = tuple(name for name in found if name in classes)
    if found != classes:
        odd = sorted(set(classes) ^ set(found))
        raise DataError(
            f"{source.path}: {len(classes)} classes in train, {len(found)} in {part}; {odd[0]} is in one only; expected"
            " the same class folders in both; ImageNet's val images must be sorted into class folders, or named with"
            " their classes in val.txt; or list the classes to keep: DATA?classes=FILE"
        )


def train_folder(source: Source) -> str:
    """Return the name of the folder of training images, which may not be there."""
    return _named_folder(source, "train") or FOLDERS["train"][0]


def split_folder(source: Source, split: str) -> str:
    """Return the name of the folder that holds a split; DataError if there is none."""
    given = _named_folder(source, split)
    if given:
        require_folder(source.path, given.partition("/")[0], f"{given}/<class>/ as ?{split}={given} says")
        if not (source.path / given).is_dir():
            raise DataError(f"{source.path / given}: not a folder; expected class folders in it; check ?{split}=")
        return given
    for name in FOLDERS[split]:
        if (source.path / name).is_dir():
            return name
    require_folder(source.path, FOLDERS[split][0], f"{HOLDS}; other names go by DATA?train=NAME&test=NAME")
    return FOLDERS[split][0]


def _named_folder(source: Source, split: str) -> str:
    """Return the user's name for a split; DataError for one that leads out of the data set."""
    given = source.named(split).strip("/")
    if ".." in given.split("/"):
        raise DataError(f"{source}: ?{split}={given} leads out of the folder; expected a folder in it; give its root")
    return given


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the class folders in `folder`, sorted; DataError if there are none."""
    names = Walk(folder.parent).classes(folder)
    if not names:
        raise DataError(f"{folder}: no class folders in it; expected {HOLDS}; sort the images into class folders")
    return names


def list_sha256(path: Path) -> str:
    """Return the sha256 of a list, one image name a line: that of SimCLR's file for any copy of it.

    Copies are about that differ in line ends, lack the last one, or have folders and labels around the names; they
    name the same images.
    """
    lines = "".join(f"{name}\n" for name in file_names(path))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def fetch_lists(folder: Path) -> Iterator[Path]:
    """Yield SimCLR's lists in `folder`, each fetched first if it is not there; its sha256 is proven in either case.

    A file there that is another list is a DataError: it is left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, sha256 in LISTS_SHA256.items():
        path = folder / name
        if not path.exists():
            with alone(path):
                if not path.exists():  # else another process has just fetched it
                    fetch_file(f"{LISTS_ADDRESS}/{name}", path, what=name, sha256=sha256)
        if (found := list_sha256(path)) != sha256:
            raise DataError(
                f"{path}: sha256 {found[:12]}..., expected SimCLR's {sha256[:12]}...; move it away and run again"
            )
        yield path
