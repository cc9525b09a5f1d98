"""Images to pretrain on: labels are not looked at, and no other split is needed."""

from collections.abc import Iterator
from pathlib import Path

from twinbench.data.errors import DataError, require_folder, unreadable
from twinbench.data.imagenet import FOLDERS, class_folders, split_folder
from twinbench.data.inat import FILES
from twinbench.data.labelled import LabelledImages, as_targets
from twinbench.data.layouts import read_labelled
from twinbench.data.paths import PathList
from twinbench.data.places import LIST_FOLDERS, LISTS
from twinbench.data.source import Source
from twinbench.data.voc_labels import is_voc
from twinbench.data.walk import Walk


def read_pool(data: Path | Source) -> LabelledImages:
    """Return the training images at `data`, with one class of no meaning; DataError where there are none.

    Of a folder: the training list of iNaturalist, Places205 or a VOC devkit by their published names; else all images
    at any depth below train/ (or `?train=NAME`), or below the folder itself where there is no train/. Other forms, and
    a list of the classes to keep, are read with their labels.
    """
    source = Source.of(data)
    if not source.is_folder:
        return read_labelled("", source, "train")
    try:
        if "classes" in source.options:
            return read_labelled("imagenet", source, "train")
        if layout := _published(source.path):
            return read_labelled(layout, source, "train")
        return _every_image(source)
    except OSError as error:
        raise unreadable(error) from None


def _published(root: Path) -> str:
    """Return the layout of a folder whose training images only a list tells from the others; else nothing."""
    if (root / FOLDERS["train"][0]).is_dir():
        return ""
    if (root / FILES["train"]).is_file():
        return "inat"
    if any((root / folder / LISTS["train"]).is_file() for folder in LIST_FOLDERS):
        return "places"
    return "voc" if is_voc(root) else ""


def _every_image(source: Source) -> LabelledImages:
    """Return every image of the training folder, or of the whole folder."""
