"""ImageNet as everybody unpacks it: train/<class>/*, val/<class>/*, and SimCLR's 1 % and 10 % lists beside them.

Any data set of that shape is read, with any class folder names. torchvision's ImageFolder gives the same order.
"""

import os
from pathlib import Path

from data.decode import SUFFIXES
from data.layouts import DataError, LabelledImages, as_targets, read_text, require_folder, unreadable
from data.paths import PathList

FOLDERS = {"train": "train", "test": "val"}  # ImageNet's own test images have no public labels
LISTS = {"10%": "10percent.txt", "1%": "1percent.txt"}
LISTS_SOURCE = "https://github.com/google-research/simclr, imagenet_subsets"
LISTS_SHA256 = {  # of that source's files
    "1percent.txt": "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17",
    "10percent.txt": "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091",
}
HOLDS = "train/<class>/*.JPEG and val/<class>/*.JPEG"


def read_imagenet(root: Path, split: str, fraction: str = "100%") -> LabelledImages:
    """Return one split by class name, then file name; with a fraction, in the order of its list."""
    require_folder(root, FOLDERS[split], HOLDS)
    classes = class_folders(root / "train" if (root / "train").is_dir() else root / FOLDERS[split])
    if split == "test" and (found := class_folders(root / "val")) != classes:
        odd = sorted(set(classes) ^ set(found))
        raise DataError(
            f"{root}: {len(classes)} classes in train, {len(found)} in val; {odd[0]} is in one only; expected the"
            " same class folders in both; ImageNet's val images must be sorted into class folders"
        )
    names = {name: image_names(root / FOLDERS[split] / name) for name in classes}
    listed = (
        _listed(root, fraction, names)
        if fraction != "100%"
        else [(name, file) for name in names for file in names[name]]
    )
    label_of = {name: label for label, name in enumerate(classes)}
    return LabelledImages(
        PathList(root / FOLDERS[split], (f"{name}/{file}" for name, file in listed)),
        as_targets([label_of[name] for name, _ in listed]),
        classes,
    )


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


def _listed(root: Path, fraction: str, names: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return (class, file name) of each image on the list of `fraction`, one `<class>_<number>.JPEG` a line."""
    path = root / LISTS[fraction]
    lines = read_text(path, f"{fraction} of ImageNet means SimCLR's {path.name}; fetch it from {LISTS_SOURCE}").split()
    if not lines or len(set(lines)) != len(lines):
        raise DataError(f"{path}: {len(lines)} lines, {len(set(lines))} different ones; expected one image name a line")
    known = {name: set(files) for name, files in names.items()}
    listed = [(line.rpartition("_")[0], line) for line in lines]
    for name, file in listed:
        if name not in known:
            raise DataError(
                f"{path}: {file} belongs to no class folder of {root}/train; is it another data set's list?"
            )
        if file not in known[name]:
            raise DataError(f"{path}: {file} is not in {root}/train; the data set is incomplete, or the list another's")
    return listed
