"""Places205, in either of its two forms.

As published: trainvalsplit_places205/train_places205.csv and val_places205.csv (lines `a/abbey/x.jpg 0`), with the
images under data/vision/torralba/deeplearning/images256/. Lists and images are found in `root` itself, too.
As rearranged for folder readers such as VISSL's: train/<class>/*.jpg and val/<class>/*.jpg.
Any data set with two such lists is read: train*.csv and val*.csv or test*.csv, image names relative to the root.
"""

from pathlib import Path

from twinbench.data.errors import DataError, require_folder
from twinbench.data.folders.imagenet import read_imagenet, train_folder
from twinbench.data.folders.own import split_file
from twinbench.data.labelled import LabelledImages, as_targets
from twinbench.data.lists.lines import lines_of
from twinbench.data.paths import PathList
from twinbench.data.source import SPLITS, Source

LISTS = {"train": "train_places205.csv", "test": "val_places205.csv"}
LIST_FOLDERS = ("", "trainvalsplit_places205")
IMAGE_FOLDERS = (
    "data/vision/torralba/deeplearning/images256",  # imagesPlaces205_resize.tar.gz, unpacked
    "imagesPlaces205_resize/data/vision/torralba/deeplearning/images256",
    "images256",
    "",
)
HOLDS = "train_places205.csv, val_places205.csv and the images; or train/<class>/ and val/<class>/"


def read_places(source: Source, split: str) -> LabelledImages:
    """Return one split in the order of its list, or by class folder."""
    root = source.path
    named = any(map(source.named, SPLITS))
    for folder in () if named else LIST_FOLDERS:
        if (root / folder / LISTS[split]).is_file():
            return _listed(root, root / folder / LISTS[split], root / folder / LISTS["train"])
    if (root / train_folder(source)).is_dir():
        return read_imagenet(source, split)
    own = split_file(source, split, LISTS[split])
    if own.is_file():
        return _listed(root, own, split_file(source, "train", LISTS["train"]))
    require_folder(root, LISTS[split], HOLDS)
    raise DataError(f"{root}/{LISTS[split]}: not a file; expected {HOLDS}")


def _listed(root: Path, path: Path, train_path: Path) -> LabelledImages:
    """Return the images of the list `path`; the classes are those of the training list."""
    names, labels = read_list(path)
    train_list = (names, labels) if path == train_path else read_list(train_path)
    classes = _classes(train_path, *train_list)
    for name, label in zip(names, labels, strict=True):
        if label >= len(classes) or classes[label] != class_of(name):
            raise DataError(
                f"{path}: {name} has label {label}, which is not its folder's in {train_path.name}; expected lists of"
                f" one data set; fetch them again, or if classes are no folders give list:{train_path},{path}"
            )
    images = next((root / folder for folder in IMAGE_FOLDERS if (root / folder / names[0]).is_file()), None)
    if images is None:
        raise DataError(
            f"{root}: no image {names[0]}, the first of {path.name}, under {IMAGE_FOLDERS[0]}, images256 or the folder"
            " itself; unpack imagesPlaces205_resize.tar.gz there"
        )
    # The names of the list are what all copies share; the folder that they start from goes by several names.
    return LabelledImages(PathList(images, names), as_targets(labels), classes, root=images, sources=(path, train_path))


def read_list(path: Path) -> tuple[list[str], list[int]]:
    """Return the image names and labels of a list, one `a/abbey/x.jpg 0` (or with a comma) a line."""
    if not path.is_file():
        raise DataError(f"{path}: no such list; expected {' and '.join(LISTS.values())} side by side; fetch them")
    names, labels = [], []
    for number, line in enumerate(lines_of(path), 1):
        name, _, label = line.strip().replace(",", " ").rpartition(" ")
        if not name or not label.isascii() or not label.isdigit() or len(label) > 9:
            raise DataError(
                f"{path}, line {number}: '{line[:80].rstrip()}'; expected an image and its label: a/abbey/x.jpg 0"
            )
        names.append(name.strip())
        labels.append(int(label))
    if not names:
        raise DataError(f"{path}: an empty list; expected an image and its label a line; fetch it again")
    return names, labels


def class_of(name: str) -> str:
    """Return the class of `a/abbey/x.jpg`: its folder without the letter, `abbey`."""
    return "/".join(name.split("/")[1:-1]) or name.split("/")[0]


def _classes(path: Path, names: list[str], labels: list[int]) -> tuple[str, ...]:
    """Return the class of each label 0..K-1; DataError if a label stands for no folder or for two."""
    found = dict(zip(labels, map(class_of, names), strict=True))
    if sorted(found) != list(range(len(found))) or len(set(found.values())) != len(found):
        raise DataError(
            f"{path}: labels {min(found)} to {max(found)} for {len(set(found.values()))} folders; expected 0 to K-1,"
            f" one for each class folder; fetch the list again, or if classes are no folders give list:{path},TEST"
        )
    return tuple(found[label] for label in range(len(found)))
