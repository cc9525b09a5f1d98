"""ImageNet as everybody unpacks it: train/<class>/*, val/<class>/*, and SimCLR's 1 % and 10 % lists beside them.

Any data set of that shape is read, with any class folder names. torchvision's ImageFolder gives the same order.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from twinbench.data.decode import SUFFIXES
from twinbench.data.errors import DataError, read_text, require_folder, unreadable
from twinbench.data.labelled import LabelledImages, as_targets
from twinbench.data.paths import PathList
from twinbench.data.source import Source
from twinbench.runtime.download import alone, fetch_file

# By preference. ImageNet has a test/, too, whose labels are not public; others call the part that they report on so.
FOLDERS = {"train": ("train",), "test": ("val", "test")}
LISTS = {"10%": "10percent.txt", "1%": "1percent.txt"}
LISTS_ADDRESS = "https://raw.githubusercontent.com/google-research/simclr/master/imagenet_subsets"
LISTS_SHA256 = {  # of that source's files
    "1percent.txt": "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17",
    "10percent.txt": "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091",
}
CLASSES = 1000  # of ILSVRC 2012, and so of SimCLR's lists; a data set of other classes has lists of its own
HOLDS = "train/<class>/*.JPEG and val/<class>/*.JPEG"


def read_imagenet(source: Source, split: str, fraction: str = "100%", subset: Path | None = None) -> LabelledImages:
    """Return one split by class name, then file name; with a fraction, in the order of its list.

    The list is `subset`, by default the one in the folder.
    """
    root = source.path
    part = split_folder(root, split)
    classes = class_folders(root / "train" if (root / "train").is_dir() else root / part)
    found = class_folders(root / part) if split == "test" else classes
    if found != classes:
        odd = sorted(set(classes) ^ set(found))
        raise DataError(
            f"{root}: {len(classes)} classes in train, {len(found)} in {part}; {odd[0]} is in one only; expected the"
            " same class folders in both; ImageNet's val images must be sorted into class folders"
        )
    names = {name: image_names(root / part / name) for name in classes}
    sources = (root / "train",)  # whose folders are the classes
    if fraction == "100%":
        listed = [(name, file) for name in names for file in names[name]]
    else:
        path = subset or root / LISTS[fraction]
        listed = _listed(root, path, names)
        sources = (*sources, path)
    label_of = {name: label for label, name in enumerate(classes)}
    return LabelledImages(
        PathList(root / part, (f"{name}/{file}" for name, file in listed)),
        as_targets([label_of[name] for name, _ in listed]),
        classes,
        root=root,
        sources=sources,
    )


def split_folder(root: Path, split: str) -> str:
    """Return the name of the folder that holds a split; DataError if `root` has none."""
    for name in FOLDERS[split]:
        if (root / name).is_dir():
            return name
    require_folder(root, FOLDERS[split][0], HOLDS)
    return FOLDERS[split][0]


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the class folders in `folder`, sorted; DataError if there are none."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        raise unreadable(error) from None
    if not names:
        raise DataError(f"{folder}: no class folders in it; expected {HOLDS}; sort the images into class folders")
    return tuple(names)


def image_names(folder: Path) -> list[str]:
    """Return the image files of a class folder, sorted; DataError if there are none."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES))
    except OSError as error:
        raise unreadable(error) from None
    if not names:
        raise DataError(f"{folder}: no images in it; expected images of one class; is the data set complete?")
    return names


def list_sha256(path: Path) -> str:
    """Return the sha256 of a list, one image name a line: that of SimCLR's file for any copy of it.

    Copies are about that differ in line ends or lack the last one; they name the same images.
    """
    lines = "".join(f"{name}\n" for name in _read_list(path))
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


def _read_list(path: Path) -> list[str]:
    """Return the image names on a list, `<class>_<number>.JPEG` each."""
    advice = (
        "expected SimCLR's list; fetch it with `twinbench data lists FOLDER`, name it with --list (`list` in a suite)"
    )
    names = read_text(path, advice).split()
    if not names or len(set(names)) != len(names):
        raise DataError(f"{path}: {len(names)} lines, {len(set(names))} different ones; expected one image name a line")
    return names


def _listed(root: Path, path: Path, names: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return (class, file name) of each image on the list at `path`."""
    known = {name: set(files) for name, files in names.items()}
    listed = [(line.rpartition("_")[0], line) for line in _read_list(path)]
    for name, file in listed:
        if name not in known:
            raise DataError(
                f"{path}: {file} belongs to no class folder of {root}/train; is it another data set's list?"
            )
        if file not in known[name]:
            raise DataError(f"{path}: {file} is not in {root}/train; the data set is incomplete, or the list another's")
    return listed
