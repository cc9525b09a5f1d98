"""COCO 2017: annotations/instances_{train,val}2017.json beside train2017/ and val2017/."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinbench.data.errors import DataError, require_folder
from twinbench.data.folders.json_lists import by_id, is_known, read_json_lists
from twinbench.data.paths import PathList

HOLDS = "annotations/instances_train2017.json, annotations/instances_val2017.json, train2017/ and val2017/"


@dataclass(frozen=True)
class CocoSplit:
    """One split: file and (width, height) of each image, and the class names in the order of their ids."""

    paths: PathList
    sizes: list[tuple[int, int]]
    classes: tuple[str, ...]
    problems: tuple[str, ...]  # what is wrong with single annotations, one line each


def read_coco(root: Path, split: str) -> CocoSplit:
    """Return the images of `train` or `val` by id; DataError if the file itself does not fit together."""
    path = _annotation_file(root, split)
    lists = read_json_lists(path)
    images = by_id(path, lists["images"], "images")
    categories = by_id(path, lists["categories"], "categories")
    by_id(path, lists["annotations"], "annotations")
    for image in images.values():
        sides = (image.get("width"), image.get("height"))
        if not isinstance(image.get("file_name"), str) or not all(isinstance(side, int) for side in sides):
            raise DataError(
                f"{path}: image {image['id']} has no file_name, width or height; expected all three; fetch it again"
            )
    order = sorted(images)
    return CocoSplit(
        PathList(root / f"{split}2017", (images[image]["file_name"] for image in order)),
        [(images[image]["width"], images[image]["height"]) for image in order],
        _class_names(categories),
        tuple(
            f"{path}: annotation {annotation['id']}: {problem}"
            for annotation in lists["annotations"]
            for problem in _problems(annotation, images, categories)
        ),
    )


def read_coco_images(root: Path, split: str) -> tuple[Path, list[str], tuple[str, ...]]:
    """Return the annotation file of `train` or `val`, its image names by id, and the classes; no annotation is kept."""
    path = _annotation_file(root, split)
    lists = read_json_lists(path, annotations="none")
    images = by_id(path, lists["images"], "images")
    categories = by_id(path, lists["categories"], "categories")
    names = [images[image].get("file_name") for image in sorted(images)]
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: an image has no file_name; expected one for each; fetch it again")
    return path, list(map(str, names)), _class_names(categories)


def _annotation_file(root: Path, split: str) -> Path:
    """Return where the annotations of `train` or `val` lie."""
    require_folder(root, "annotations", HOLDS)
    return root / "annotations" / f"instances_{split}2017.json"


def _class_names(categories: dict[int, Any]) -> tuple[str, ...]:
    """Return the names of the categories in the order of their ids."""
    return tuple(str(categories[category].get("name", category)) for category in sorted(categories))


def _problems(annotation: dict[str, Any], images: dict[int, Any], categories: dict[int, Any]) -> Iterator[str]:
    """Yield what would stop a training or an evaluation on this annotation."""
    if not is_known(annotation.get("image_id"), images):
        yield f"image {annotation.get('image_id')} is not in the list of images"
    if not is_known(annotation.get("category_id"), categories):
        yield f"category {annotation.get('category_id')} is not in the list of categories"
    if not _is_box(annotation.get("bbox")):
        yield f"the box is {annotation.get('bbox')}; expected left, top, width and height, neither side negative"
    if annotation.get("iscrowd") not in (0, 1):
        yield f"iscrowd is {annotation.get('iscrowd')}; expected 0 or 1"
    if not _is_size(annotation.get("area")):
        yield f"the area is {annotation.get('area')}; expected a number"
    if not annotation.get("segmentation"):
        yield "no segmentation; expected polygons or run lengths"


def _is_box(box: Any) -> bool:
    """True for four finite numbers with a width and a height of 0 or more."""
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box[:2])) and all(map(_is_size, box[2:]))


def _is_number(value: Any) -> bool:
    """True for a finite number of a size that a picture can have (NaN compares false)."""
    return isinstance(value, int | float) and abs(value) < 1e12


def _is_size(value: Any) -> bool:
    """True for such a number from 0."""
    return _is_number(value) and value >= 0
