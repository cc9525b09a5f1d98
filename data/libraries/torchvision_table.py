"""What torchvision's data sets for classification are made of: one row for each.

A row says by which keywords a split is asked for, which two are trained and reported on, where the object keeps its
list of images, and which files below ROOT say what is in it. No pixel of a file is decoded to list it. Left out are
sets of video, pairs, boxes and pixel labels, and those whose splits have different classes (LFW, Omniglot).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.data.libraries.arrays import HdfPixels

Keywords = Mapping[str, object]
Listed = tuple[Any, Any]  # a sequence of paths, or pixels as in `arrays.py`; labels, None or -1 where unknown


@dataclass(frozen=True)
class Row:
    """A data set of torchvision."""

    splits: Mapping[str, Keywords]  # the name of a split: what the constructor is asked for
    images: Callable[[Any], Listed]
    lists: tuple[str, ...]  # patterns below ROOT of the files that say which images there are, with which labels
    train: str = "train"
    test: str = "test"  # that papers report on; empty where the set has none
    classes: tuple[str, ...] | Callable[[Any], Sequence[str]] = lambda found: found.classes
    first: int = 0  # the label of the first class
    options: Mapping[str, tuple[object, ...]] = field(
        default_factory=dict
    )  # further keywords: the values, default first
    is_fetched: bool = True  # whether torchvision can download it


def _named(*names: str, keyword: str = "split") -> dict[str, Keywords]:
    """Return splits that are called as the constructor calls them."""
    return {name: {keyword: name} for name in names}


def _attributes(images: str, labels: str) -> Callable[[Any], Listed]:
    """Return the reader of a list of paths and a list of labels."""
    return lambda found: (getattr(found, images), getattr(found, labels))


def _pairs(attribute: str) -> Callable[[Any], Listed]:
    """Return the reader of a list of pairs, path and label."""

    def listed(found: Any) -> Listed:
        pairs = getattr(found, attribute)
        return [path for path, _ in pairs], [label for _, label in pairs]

    return listed


def _pixels(labels: str, axes: tuple[int, ...] = ()) -> Callable[[Any], Listed]:
    """Return the reader of an array `data`, whose `axes` are put in the order (N, H, W, 3) where it is another."""

    def listed(found: Any) -> Listed:
        pixels = np.asarray(found.data)
        return pixels.transpose(axes) if axes else pixels, np.asarray(getattr(found, labels))

    return listed


def _sun397(found: Any) -> Listed:
    """Sort SUN397's list, which is in the disk's order."""
    pairs = sorted(zip(found._image_files, found._labels, strict=True))
    return [path for path, _ in pairs], [label for _, label in pairs]


def _caltech(name: Callable[[int, int], str]) -> Callable[[Any], Listed]:
    """Return the reader of Caltech's lists: `name` of the label and the number of an image is its file's."""

    def listed(found: Any) -> Listed:
        (folder,) = Path(found.root).glob("*_ObjectCategories")
        images = zip(found.y, found.index, strict=True)
        return [folder / found.categories[label] / name(label, number) for label, number in images], found.y

    return listed


def _inaturalist(found: Any) -> Listed:
    """Sort iNaturalist's list, which is in the disk's order."""
    index = sorted(found.index)
    paths = [os.path.join(found.root, found.all_categories[label], name) for label, name in index]
    return paths, [label for label, _ in index]


def _celeba(found: Any) -> Listed:
    """Return CelebA's 40 attributes, (N, 40) in {0, 1}."""
    folder = os.path.join(found.root, found.base_folder, "img_align_celeba")
    return [os.path.join(folder, name) for name in found.filename], np.asarray(found.attr, dtype=np.int8)


def _fer2013(found: Any) -> Listed:
    """Return FER2013's faces, which lie as text in a CSV."""
    pixels = [np.asarray(image) for image, _ in found._samples]
    return np.stack(pixels), [label for _, label in found._samples]


def _pcam(found: Any) -> Listed:
    """Return PCAM's images, which stay in their file, and its labels."""
    files = found._FILES[found._split]
    with found.h5py.File(found._base_folder / files["targets"][0]) as file:
        labels = file["y"][:].reshape(-1)  # (N, 1, 1, 1)
    return HdfPixels(found._base_folder / files["images"][0], "x"), labels


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return tuple(map(str, range(first, last + 1)))


_FLAG: dict[str, Keywords] = {"train": {"train": True}, "test": {"train": False}}
_WHOLE: dict[str, Keywords] = {"all": {}}
_MNIST = _pixels("targets")
_FILES = _attributes("_image_files", "_labels")
_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # in the order of their labels
_QMNIST = _named("train", "test", "test10k", "test50k", "nist", keyword="what")

# The registry: a new data set of torchvision is one row here.
ROWS: dict[str, Row] = {
    "CIFAR10": Row(_FLAG, _MNIST, ("cifar-10-batches-py/*",)),
    "CIFAR100": Row(_FLAG, _MNIST, ("cifar-100-python/*",)),
    "STL10": Row(
        _named("train", "test", "unlabeled"), _pixels("labels", (0, 2, 3, 1)), ("stl10_binary/*",)
    ),  # not folds: a protocol of its own
    "SVHN": Row(
        _named("train", "test", "extra"), _pixels("labels", (0, 2, 3, 1)), ("*_32x32.mat",), classes=_numbers(0, 9)
    ),
    "MNIST": Row(_FLAG, _MNIST, ("MNIST/raw/*",)),
    "FashionMNIST": Row(_FLAG, _MNIST, ("FashionMNIST/raw/*",)),
    "KMNIST": Row(_FLAG, _MNIST, ("KMNIST/raw/*",)),
    "QMNIST": Row(_QMNIST, lambda found: (np.asarray(found.data), np.asarray(found.targets)[:, 0]), ("QMNIST/raw/*",)),
    "EMNIST": Row(
        _FLAG,
        _MNIST,
        ("EMNIST/raw/*",),
        options={"split": ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")},
    ),
    "USPS": Row(_FLAG, _MNIST, ("usps*.bz2",), classes=_numbers(0, 9)),
    "SEMEION": Row(
        {"all": {"download": False}}, _pixels("labels"), ("semeion.data",), "all", "", classes=_numbers(0, 9)
    ),
    "FER2013": Row(_named("train", "test"), _fer2013, ("fer2013/*.csv",), classes=_EMOTIONS, is_fetched=False),
    "PCAM": Row(_named("train", "val", "test"), _pcam, ("pcam/*.h5",), classes=_numbers(0, 1)),
    "Food101": Row(_named("train", "test"), _FILES, ("food-101/meta/*.json",)),
    "DTD": Row(
        _named("train", "val", "test"), _FILES, ("dtd/dtd/labels/*.txt",), options={"partition": tuple(range(1, 11))}
    ),
    "OxfordIIITPet": Row(
        _named("trainval", "test"),
        _attributes("_images", "_labels"),
        ("oxford-iiit-pet/annotations/*.txt",),
        "trainval",
    ),
    "Flowers102": Row(_named("train", "val", "test"), _FILES, ("flowers-102/*.mat",)),
    "FGVCAircraft": Row(
        _named("train", "val", "trainval", "test"),
        _FILES,
        ("fgvc-aircraft-2013b/data/*.txt",),
        options={"annotation_level": ("variant", "family", "manufacturer")},
    ),
    "StanfordCars": Row(
        _named("train", "test"),
        _pairs("_samples"),
        ("stanford_cars/*.mat", "stanford_cars/devkit/*.mat"),
        is_fetched=False,
    ),
    "SUN397": Row(_WHOLE, _sun397, ("SUN397/ClassName.txt",), "all", ""),
    "Caltech101": Row(
        _WHOLE,
        _caltech(lambda label, number: f"image_{number:04}.jpg"),
        ("caltech101/101_ObjectCategories",),
        "all",
        "",
        classes=lambda found: found.categories,
    ),
    "Caltech256": Row(
        _WHOLE,
        _caltech(lambda label, number: f"{label + 1:03}_{number:04}.jpg"),
        ("caltech256/256_ObjectCategories",),
        "all",
        "",
        classes=lambda found: found.categories,
    ),
    "GTSRB": Row(
        _named("train", "test"),
        _pairs("_samples"),
        ("gtsrb/*.csv", "gtsrb/GTSRB/Training"),
        classes=tuple(f"{sign:05}" for sign in range(43)),  # as the folders of the training images
    ),
    "EuroSAT": Row(_WHOLE, _pairs("samples"), ("eurosat/2750",), "all", ""),
    "RenderedSST2": Row(_named("train", "val", "test"), _pairs("_samples"), ("rendered-sst2/*",)),
    "Country211": Row(_named("train", "valid", "test"), _pairs("samples"), ("country211/*",)),
    "Imagenette": Row(
        _named("train", "val"),
        _pairs("_samples"),
        ("imagenette2*/*",),
        test="val",
        classes=lambda found: found.wnids,
        options={"size": ("full", "320px", "160px")},
    ),
    "Places365": Row(
        _named("train-standard", "train-challenge", "val"),
        _pairs("imgs"),
        ("*places365*.txt",),
        "train-standard",
        "val",
        options={"small": (False, True)},
    ),
    "INaturalist": Row(
        _named("2021_train", "2021_train_mini", "2021_valid", keyword="version"),
        _inaturalist,
        ("2021_*",),
        "2021_train",
        "2021_valid",
        classes=lambda found: found.all_categories,
    ),
    "CLEVRClassification": Row(  # the test images have no labels; a class is the number of objects
        _named("train", "val"),
        _FILES,
        ("clevr/CLEVR_v1.0/scenes/*.json",),
        test="val",
        classes=_numbers(3, 10),
        first=3,
    ),
    "CelebA": Row(
        _named("train", "valid", "test"),
        _celeba,
        ("celeba/*.txt",),
        classes=lambda found: [name for name in found.attr_names if name],  # the header ends in a blank
    ),
}
