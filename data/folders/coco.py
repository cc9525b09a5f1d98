"""What every JSON file of COCO's form is: which file is a split's, where its images lie, what its categories are."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twinbench.data.errors import DataError
from twinbench.data.folders.json_lists import is_known
from twinbench.data.source import Source

WORDS = {"train": ("train",), "test": ("val", "valid", "validation", "test")}
FOLDERS = ("", "annotations")
KINDS = ("instances", "person_keypoints", "lvis_v1")  # what comes before the part in the names of published files
Entries = dict[int, dict[str, Any]]


def grouping_categories(categories: Entries, annotations: Sequence[dict[str, Any]]) -> set[int]:
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


def class_titles(categories: Entries, order: list[int]) -> tuple[str, ...]:
    """Return the names of the classes; those of one name are told apart by their ids."""
    names = [str(categories[category].get("name", category)) for category in order]
    return tuple(
        f"{name} ({category})" if names.count(name) > 1 else name for name, category in zip(names, order, strict=True)
    )


def image_name(file: Path, image: dict[str, Any]) -> str:
    """Return an image's file name; LVIS has its address instead, whose last two parts are COCO's folder and file."""
    name = image.get("file_name")
    if not name and isinstance(image.get("coco_url"), str):
        name = "/".join(image["coco_url"].split("/")[-2:])
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"{file}: image {image['id']} has no file_name; expected one for each; fetch the file again")
    return name


def annotation_file(source: Source, split: str, kind: str = "instances") -> Path:
    """Return the JSON file of a split; DataError unless it is told or just one is called so.

    COCO has captions and keypoints beside its instances: of several files those that begin with `kind` are meant.
    """
    places = source.places
    if len(places) > 2 or (len(places) == 1 and split == "test" and not places[0].is_dir()):
        raise DataError(f"{source}: expected a folder, or the two files of training and test images, a comma between")
    place = places[0 if split == "train" else -1]
    if not place.is_dir():
        return place  # reading says what is wrong with it
    given = source.named(split)
    found = [path for path in _candidates(place, given, split) if _is_called(path, place, given, split)]
    found = [path for path in found if path.name.startswith(kind)] or found
    if len(found) == 1:
        return found[0]
    state = "no .json file" if not found else f"{len(found)} .json files: {', '.join(str(path) for path in found[:3])}"
    raise DataError(
        f"{place}: for the {given or split} images {state}; expected one, in this folder, in annotations/ or in a"
        f" folder called like the split; name it, ?{split}=NAME, or give both files: coco:TRAIN.json,TEST.json"
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
        return given in (path.name, path.stem, part_of(path))
    words = re.split(r"[^a-z]+", path.stem.lower())
    return any(word in words for word in WORDS[split])


def image_roots(source: Source, file: Path) -> list[Path]:
    """Return the folders that images may lie in, the likeliest first: COCO's is annotations/ beside train2017/."""
    if "images" in source.options:
        return [Path(source.options["images"]).expanduser()]
    part = part_of(file)
    near = (file.parent, file.absolute().parent.parent)
    inner = (part, f"images/{part}", *WORDS["train"], *WORDS["test"], "images", "JPEGImages", "")
    words = re.split(r"[^a-z]+", file.stem.lower())
    known = [name for name in inner if name not in (*WORDS["train"], *WORDS["test"]) or name in words]
    return [folder / name for name in known for folder in near]


def part_of(file: Path) -> str:
    """Return the part that a file is called after: `train2017` of instances_train2017.json."""
    for kind in KINDS:
        if file.stem.startswith(f"{kind}_"):
            return file.stem.removeprefix(f"{kind}_")
    return file.stem
