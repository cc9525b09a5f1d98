"""COCO's JSON as labels of whole images: `coco:FOLDER` and `coco:TRAIN.json,TEST.json`, with any names and classes.

A class is present (1) in an image that has an annotation of it, a crowd's too, and absent (0) otherwise. So does the
code of ASL (Ben-Baruch et al., 2021; its CocoDetection), but it leaves images without any annotation out; here they
stay, and lack every class. mmpretrain counts classes that only a crowd shows as not known. In LVIS a class is absent
only where the image says so (`neg_category_ids`), and else not known (-1).

Classes are the categories by id. One that only groups others (Roboflow's first, the `supercategory` of all) is none.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.data.errors import DataError
from twinbench.data.folders.json_lists import by_id, is_known, read_json_lists
from twinbench.data.labelled import LabelledImages, absent
from twinbench.data.lists.placed import placed, tidy
from twinbench.data.source import Source

WORDS = {"train": ("train",), "test": ("val", "valid", "validation", "test")}
GROUPS = "categories that only group others"
FOLDERS = ("", "annotations")
Entries = dict[int, dict[str, Any]]


def read_coco_labels(source: Source, split: str) -> LabelledImages:
    """Return one split by image id, with several labels an image."""
    file = _annotation_file(source, split)
    lists = read_json_lists(file, annotations="ids")
    images = by_id(file, lists["images"], "images")
    categories = by_id(file, lists["categories"], "categories")
    groups = _groups(categories, lists["annotations"])
    columns = {category: column for column, category in enumerate(sorted(categories.keys() - groups))}
    order = sorted(images)
    targets = _absent(file, [images[image] for image in order], columns)
    rows = {image: row for row, image in enumerate(order)}
    for annotation in lists["annotations"]:
        image, category = annotation.get("image_id"), annotation.get("category_id")
        if not is_known(image, images) or not is_known(category, categories):
            raise DataError(
                f"{file}: an annotation of image {image} as category {category}; expected ids of its lists of images"
                " and categories; fetch the file again"
            )
        targets[rows[image], columns[category]] = 1
    names = tidy([_name(file, images[image]) for image in order])
    if len(set(names)) < len(names):
        raise DataError(f"{file}: two images of one file_name; expected one entry an image; correct the file")
    found = placed(file, names, _roots(source, file), "images")
    left_out = {GROUPS: len(groups)} if groups else {}
    return LabelledImages(found, targets, _titles(categories, list(columns)), found.root, (file,), left_out)


def _absent(file: Path, images: Sequence[dict[str, Any]], columns: Mapping[int, int]) -> np.ndarray:
    """Return (N, K) int8 as if no class were present: 0, or -1 where a class is not known to be absent."""
    targets = absent(file, len(images), len(columns))
    if not any("neg_category_ids" in image for image in images):
        return targets
    targets -= 1
    for row, image in enumerate(images):
        lacking = image.get("neg_category_ids")
        for category in lacking if isinstance(lacking, list) else ():
            if is_known(category, columns):
                targets[row, columns[category]] = 0
    return targets


def _groups(categories: Entries, annotations: Sequence[dict[str, Any]]) -> set[int]:
    """Return the categories that are the supercategory of others and of no annotation."""
    names = {key: str(category.get("name")) for key, category in categories.items()}
    over = {str(category.get("supercategory")) for category in categories.values()}
    over -= {str(category.get("name")) for category in categories.values() if _is_of_itself(category)}
    groups = {key for key, name in names.items() if name in over}
    for annotation in annotations if groups else ():
        if is_known(annotation.get("category_id"), categories):
            groups.discard(annotation["category_id"])
    return groups


def _is_of_itself(category: dict[str, Any]) -> bool:
    """Say whether a category is its own supercategory, as COCO's person is."""
    return category.get("supercategory") == category.get("name")


def _titles(categories: Entries, order: list[int]) -> tuple[str, ...]:
    """Return the names of the classes; those of one name are told apart by their ids."""
    names = [str(categories[category].get("name", category)) for category in order]
    return tuple(
        f"{name} ({category})" if names.count(name) > 1 else name for name, category in zip(names, order, strict=True)
    )


def _name(file: Path, image: dict[str, Any]) -> str:
    """Return an image's file name; LVIS has its address instead, whose last two parts are COCO's folder and file."""
    name = image.get("file_name")
    if not name and isinstance(image.get("coco_url"), str):
        name = "/".join(image["coco_url"].split("/")[-2:])
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{file}: image {image['id']} has no file_name; expected one for each; fetch the file again")
    return name


def _annotation_file(source: Source, split: str) -> Path:
    """Return the JSON file of a split; DataError unless it is told or just one is called so."""
    places = source.places
    if len(places) > 2 or (len(places) == 1 and split == "test" and not places[0].is_dir()):
        raise DataError(f"{source}: expected a folder, or the two files of training and test images, a comma between")
    place = places[0 if split == "train" else -1]
    if not place.is_dir():
        return place  # reading says what is wrong with it
    given = source.named(split)
    found = [path for path in _candidates(place, given, split) if _is_called(path, place, given, split)]
    instances = [path for path in found if path.name.startswith("instances")]  # COCO has captions and keypoints, too
    found = instances or found
    if len(found) == 1:
        return found[0]
    state = "no .json" if not found else f"{len(found)} .json: {', '.join(str(path) for path in found[:3])}"
    raise DataError(
        f"{place}: {state} of {given or split} images in it, in annotations/ or in a folder of that name; expected one;"
        f" name it, ?{split}=NAME, or give both files: coco:TRAIN.json,TEST.json"
    )


def _candidates(root: Path, given: str, split: str) -> list[Path]:
    """Return the JSON files that may be a split's."""
    words = (given,) if given and ".." not in given.split("/") else WORDS[split]
    folders = [*FOLDERS, *(word for word in words if (root / word).is_dir())]
    return [path for folder in folders for path in sorted((root / folder).glob("*.json"))]


def _is_called(path: Path, root: Path, given: str, split: str) -> bool:
    """Say whether a file or its folder is called like a split."""
    if path.parent not in [root / folder for folder in FOLDERS]:
        return True  # Roboflow: train/_annotations.coco.json
    if given:
        return given in (path.name, path.stem, path.stem.removeprefix("instances_"))
    words = re.split(r"[^a-z]+", path.stem.lower())
    return any(word in words for word in WORDS[split])


def _roots(source: Source, file: Path) -> list[Path]:
    """Return the folders that images may lie in, the likeliest first: COCO's is annotations/ beside train2017/."""
    if "images" in source.options:
        return [Path(source.options["images"]).expanduser()]
    part = file.stem.removeprefix("instances_")
    near = (file.parent, file.absolute().parent.parent)
    inner = (part, f"images/{part}", *WORDS["train"], *WORDS["test"], "images", "JPEGImages", "")
    words = re.split(r"[^a-z]+", file.stem.lower())
    known = [name for name in inner if name not in (*WORDS["train"], *WORDS["test"]) or name in words]
    return [folder / name for name in known for folder in near]
