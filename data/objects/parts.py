"""Parts of COCO's training images, as Unbiased Teacher drew them (facebookresearch/unbiased-teacher).

dataseed/COCO_supervision.txt is JSON, {percent: {draw: [numbers]}}: each number counts, by image id, the images that
show an object, as Detectron2 loads them. The draw is that of its configurations called run1.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinbench.data.errors import DataError, read_text
from twinbench.data.folders.json_lists import by_id, read_json_lists
from twinbench.data.limit import part_of
from twinbench.data.objects.split import ObjectSplit
from twinbench.data.source import Source

FILE = "COCO_supervision.txt"
ADDRESS = "https://raw.githubusercontent.com/facebookresearch/unbiased-teacher/main/dataseed/COCO_supervision.txt"
DRAW = "1"  # DATALOADER.RANDOM_DATA_SEED of configs/coco_supervision/faster_rcnn_R_50_FPN_sup*_run1.yaml
MOST_BYTES = 50_000_000  # the published one has 1.5 million


def training_part(found: ObjectSplit, source: Source, fraction: str) -> ObjectSplit:
    """Return the training images that the list in the data set's folder names for a `fraction` such as 1%."""
    path = _list_file(source)
    numbers = _listed(path, f"{float(fraction.removesuffix('%'))}")
    shown = _with_objects(found)
    if max(numbers) >= len(shown):
        raise DataError(
            f"{found.shared}: {len(shown)} images with an object, and the {FILE} counts up to {max(numbers)}; expected "
            "COCO's train2017, of which it is a part"
        )
    chosen = sorted({shown[number] for number in numbers})
    return replace(part_of(found, chosen), lists=(path,))


def _list_file(source: Source) -> Path:
    """Return where the list lies, or should."""
    places = [source.path / FILE, source.path / "annotations" / FILE]
    return next((place for place in places if place.is_file()), places[0])


def _listed(path: Path, percent: str) -> list[int]:
    """Return the numbers that the list has for a percentage; DataError without the list."""
    text = read_text(path, f"expected the images of each part of COCO; fetch it from {ADDRESS}", MOST_BYTES)
    try:
        numbers: Any = json.loads(text)[percent][DRAW]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: no list of {percent} percent in it ({error}); fetch it from {ADDRESS}") from None
    if not isinstance(numbers, list) or not numbers or not all(isinstance(each, int) and each >= 0 for each in numbers):
        raise DataError(f"{path}: the list of {percent} percent is no list of numbers; fetch it from {ADDRESS}")
    return numbers


def _with_objects(found: ObjectSplit) -> list[int]:
    """Return the places, by image id, of the images that show an object which is no crowd."""
    path: Path | None = found.shared
    assert path is not None
    lists = read_json_lists(path, annotations=_whose)
    shown = {each["image_id"] for each in lists["annotations"] if "image_id" in each and not each["iscrowd"]}
    order = sorted(by_id(path, lists["images"], "images"))
    return [place for place, image in enumerate(order) if image in shown]


def _whose(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry, or if it is an annotation whose it is."""
    if "image_id" not in entry:
        return entry
    return {"image_id": entry["image_id"], "iscrowd": entry.get("iscrowd", 0)}
