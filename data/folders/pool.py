"""Images to pretrain on: labels are not looked at, and no other split is needed."""

from pathlib import Path

import numpy as np

from twinbench.data.errors import DataError, require_folder, unreadable
from twinbench.data.folders.imagenet import FOLDERS, split_folder
from twinbench.data.folders.inat import FILES
from twinbench.data.folders.places import LIST_FOLDERS, LISTS
from twinbench.data.folders.voc_labels import is_voc, voc_images
from twinbench.data.folders.walk import Walk
from twinbench.data.items import ImageList
from twinbench.data.labelled import UNLABELLED, LabelledImages, told_left_out
from twinbench.data.layouts import read_images
from twinbench.data.paths import PathList
from twinbench.data.source import FORMS, Source


def read_pool(data: Path | Source) -> LabelledImages:
    """Return the training images at `data`; DataError where there are none. The labels have no meaning.

    Of a folder: all images at any depth below train/ (or `?train=NAME`); without a train/ the training list of
    iNaturalist, Places205 or a VOC devkit under its published name; else all images below the folder itself. Other
    forms say themselves; a list of the classes to keep needs labels.
    """
    source = Source.of(data)
    if source.limit:
        raise DataError(f"{source}: limit is for trials; pretraining takes every image: leave it out, or name a folder")
    try:
        if not source.is_folder and "classes" not in source.options:
            return FORMS[source.form].read_pool(source)
        if not source.is_folder:
            return read_images("", source, "train")
        return _of_folder(source)
    except OSError as error:
        raise unreadable(error) from None


def _of_folder(source: Source) -> LabelledImages:
    """Return the training images of a folder."""
    root = source.path
    has_train = (root / (source.named("train") or FOLDERS["train"][0])).is_dir()
    if "classes" in source.options:
        return read_images("", source, "train")
    if has_train:
        return _every_image(source, root / split_folder(source, "train"))
    if (root / FILES["train"]).is_file():
        return read_images("inat", source, "train")
    if any((root / folder / LISTS["train"]).is_file() for folder in LIST_FOLDERS):
        return read_images("places", source, "train")
    if is_voc(root):
        found = voc_images(source, "train")
        return _unlabelled(found.files, found.folder.parent, found.lists, {})
    if source.named("train"):
        split_folder(source, "train")  # says what is there instead
    if not root.is_dir() or not any(root.iterdir()):
        require_folder(root, FOLDERS["train"][0], "images, in train/ or in itself")
    return _every_image(source, root)


def _every_image(source: Source, folder: Path) -> LabelledImages:
    """Return every image below a folder."""
    walk = Walk(source.path)
    files = PathList(folder, walk.images(folder))
    found = _unlabelled(files, source.path, (folder, *walk.empty), dict(walk.left_out))
    if not len(files):
        told = told_left_out(found)
        raise DataError(
            f"{folder}: no images in it or below{f', but {told}' if told else ''}; expected .jpg, .png or the like;"
            " check the path"
        )
    return found


def _unlabelled(files: ImageList, root: Path, sources: tuple[Path, ...], left_out: dict[str, int]) -> LabelledImages:
    """Return images without labels, as of one class."""
    return LabelledImages(files, np.zeros(len(files), dtype=np.int64), UNLABELLED, root, sources, left_out)
