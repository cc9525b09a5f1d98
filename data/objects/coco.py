"""Boxes, masks and keypoints in COCO's JSON, under any names: one file a split.

| DATA                        | training images             | test images              |
|-----------------------------|-----------------------------|--------------------------|
| a folder                    | the one .json called train  | val, valid or test       |
| coco:TRAIN.json,TEST.json   | the first                   | the second               |

The files lie in the folder, its annotations/, or a folder called like the split (Roboflow's); `?train=NAME&test=NAME`
name others, `?images=DIR` says where the images lie. What files of one's own leave out is counted and said.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from twinbench.data.decode import upright_size
from twinbench.data.errors import DataError
from twinbench.data.folders.coco import (
    Entries,
    annotation_file,
    class_titles,
    grouping_categories,
    image_name,
    image_roots,
    part_of,
)
from twinbench.data.folders.json_lists import by_id, is_known, read_json_lists
from twinbench.data.lists.placed import placed, tidy
from twinbench.data.objects.keypoints import keypoint_names
from twinbench.data.objects.packed import Record
from twinbench.data.objects.shapes import XYWH, box_problem, is_polygon, keypoints_problem, mask_problem, polygons_area
from twinbench.data.objects.split import Findings, KeypointNames, Measure, ObjectSplit
from twinbench.data.paths import PathList
from twinbench.data.source import Source

LVIS = "lvis_v1"  # how its files' names begin


def find_coco(source: Source, split: str, kind: str = "instances") -> ObjectSplit:
    """Return the `train` or `test` split of the data at `source`; DataError names what does not fit.

    `kind` is the first part of the file's name where a folder holds several: instances, person_keypoints.
    """
    file = annotation_file(source, split, kind)
    marks = _Marks()
    lists = read_json_lists(file, annotations=marks)
    images = by_id(file, lists["images"], "images")
    columns, titles = _classes(file, lists["categories"])
    categories = by_id(file, lists["categories"], "categories")
    frequencies = tuple(str(categories[category].get("frequency", "")) for category in columns)
    order = sorted(images)
    names = tidy([image_name(file, images[image]) for image in order])
    if len(set(names)) < len(names):
        raise DataError(f"{file}: two images of one file_name; expected one entry an image; correct the file")
    root, paths = _placed(source, file, names)
    points = _keypoints(file, lists["categories"], columns) if marks.keypoints else None
    read = partial(_records, _Reading(file, split == "test", paths, columns, points, kind == LVIS))
    return ObjectSplit(
        root,
        paths,
        titles,
        marks.measures,
        read,
        shared=file,
        keypoints=points,
        category_ids=tuple(columns),
        frequencies=frequencies,
    )


@dataclass
class _Marks:
    """Counts annotations, and those with masks and keypoints, as a file is parsed; none is kept."""

    masks: int = 0
    keypoints: int = 0
    emptied: dict[str, Any] = field(default_factory=dict[str, Any])  # one for all

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return an entry, or if it is an annotation an empty one."""
        if "image_id" not in entry:
            return entry
        self.masks += bool(entry.get("segmentation"))
        self.keypoints += "keypoints" in entry
        return self.emptied

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What can be measured on such annotations."""
        found: list[Measure] = ["box"]
        if self.masks:
            found.append("mask")
        if self.keypoints:
            found.append("keypoint")
        return tuple(found)


def _classes(file: Path, entries: list[dict[str, Any]]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return each category's place among the classes, and their names, by id."""
    categories = by_id(file, entries, "categories")
    groups = grouping_categories(categories, [])
    if groups:  # only those of no annotation are none; few files have such, so few are read twice for it
        groups = grouping_categories(categories, read_json_lists(file, annotations="ids")["annotations"])
    columns = {category: column for column, category in enumerate(sorted(categories.keys() - groups))}
    return columns, class_titles(categories, list(columns))


def _placed(source: Source, file: Path, names: list[str]) -> tuple[Path, PathList]:
    """Return the folder that the identity's names start from, and the images.

    Of a folder in COCO's own layout they begin with the part, as in train2017/000000000009.jpg.
    """
    part = part_of(file)
    if source.is_folder and file.parent == source.path / "annotations" and (source.path / part).is_dir():
        return source.path, PathList(source.path, (f"{part}/{name}" for name in names))
    found = placed(file, names, image_roots(source, file), "images")
    return found.root, found


def _keypoints(file: Path, entries: list[dict[str, Any]], columns: dict[int, int]) -> KeypointNames:
    """Return the keypoints of the one class."""
    if len(columns) != 1:
        raise DataError(f"{file}: keypoints of {len(columns)} classes; expected one class, as COCO's person")
    (category,) = (entry for entry in entries if entry["id"] in columns)
    return keypoint_names(f"{file}: category {category['id']}", category.get("keypoints"))


@dataclass(frozen=True)
class _Reading:
    """What the annotations of a file are read with."""

    file: Path
    is_test: bool
    paths: PathList
    columns: dict[int, int]
    points: KeypointNames | None
    is_lvis: bool = False


def _records(reading: _Reading, findings: Findings, measures: tuple[str, ...]) -> Iterator[Record]:
    """Yield the record of each image, with what is measured of its objects."""
    lists = read_json_lists(reading.file)
    images = by_id(reading.file, lists["images"], "images")
    by_id(reading.file, lists["annotations"], "annotations")
    of_image = _by_image(reading, lists["annotations"], images, findings)
    lists.clear()
    for index, image in enumerate(sorted(images)):
        entry, path = images[image], reading.paths.one(index)
        try:
            width, height = _size(reading, entry, path, findings)
        except DataError as error:
            findings.problem("missing images", str(error))
            continue
        things: list[Record] = []
        for annotation in of_image.pop(image, ()):
            thing = _thing(reading, annotation, (width, height), measures, findings)
            if thing:
                things.append(thing)
        record = {"file_name": str(path), "image_id": image, "width": width, "height": height, "annotations": things}
        yield record | (_looked_for(entry, reading.columns) if reading.is_lvis else {})


def _looked_for(entry: dict[str, Any], columns: dict[int, int]) -> Record:
    """Return which classes LVIS says are not on an image, and which not all objects are labelled of."""
    found: Record = {}
    for key in ("neg_category_ids", "not_exhaustive_category_ids"):
        listed = entry.get(key) or []
        found[key] = [columns[category] for category in listed if is_known(category, columns)]
    return found


def _by_image(
    reading: _Reading, annotations: list[dict[str, Any]], images: Entries, findings: Findings
) -> dict[int, list[dict[str, Any]]]:
    """Return the annotations of each image, in the order of the file; those of no image or category are problems."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in annotations:
        image, category = annotation.get("image_id"), annotation.get("category_id")
        where = f"{reading.file}: annotation {annotation['id']}"
        if not is_known(image, images):
            findings.problem("annotations", f"{where}: image {image} is not in the list of images; correct the file")
        elif not is_known(category, reading.columns):
            findings.problem(
                "annotations", f"{where}: category {category} is not in the list of categories; correct the file"
            )
        else:
            found[image].append(annotation)
    return found


def _size(reading: _Reading, entry: dict[str, Any], path: Path, findings: Findings) -> tuple[int, int]:
    """Return the (width, height) of an image's entry, or where it says none what the image's header says."""
    width, height = entry.get("width"), entry.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    if width is not None or height is not None:
        raise DataError(
            f"{reading.file}: image {entry['id']} is {str(width)[:12]} x {str(height)[:12]}; expected whole numbers of"
            " pixels, or neither; correct the file"
        )
    findings.assume("images have no width and height in the file: those of the image itself are taken")
    return upright_size(path)


def _thing(
    reading: _Reading,
    annotation: dict[str, Any],
    size: tuple[int, int],
    measures: tuple[str, ...],
    findings: Findings,
) -> Record | None:
    """Return an object in Detectron2's form, with what is measured; None for one that cannot be used."""
    mask = annotation.get("segmentation")
    crowd = annotation.get("iscrowd")
    if "mask" in measures and not reading.is_test and isinstance(mask, list) and mask:
        mask = [polygon for polygon in mask if is_polygon(polygon)]
        if not mask:
            findings.assume("training objects have no polygon of three corners: dropped, as Detectron2 does")
            return None
    problem = _problem(annotation, mask, size, measures, reading.points)
    if problem:
        findings.problem("annotations", f"{reading.file}: annotation {annotation['id']}: {problem}; correct the file")
        return None
    if crowd is None and not reading.is_lvis:
        findings.assume("annotations lack iscrowd: 0 is taken")
    box = annotation["bbox"]
    if min(box[2:]) == 0:
        findings.assume("boxes have no area: training drops them as Detectron2 does, the evaluation counts them")
    found: Record = {
        "bbox": box,
        "bbox_mode": XYWH,
        "category_id": reading.columns[annotation["category_id"]],
        "iscrowd": crowd or 0,
        "area": _area(annotation, mask, findings),
        "id": annotation["id"],
    }
    if "mask" in measures:
        found["segmentation"] = mask
    if "keypoint" in measures and reading.points:
        found["keypoints"] = annotation.get("keypoints") or [0, 0, 0] * len(reading.points.names)
    return found


def _problem(
    annotation: dict[str, Any],
    mask: Any,
    size: tuple[int, int],
    measures: tuple[str, ...],
    points: KeypointNames | None,
) -> str:
    """Return what would stop a training or an evaluation on this annotation; empty if nothing."""
    if annotation.get("iscrowd") not in (None, 0, 1):
        return f"iscrowd is {str(annotation['iscrowd'])[:12]}; expected 0 or 1"
    if annotation.get("ignore"):
        return "it says ignore, which COCO's files do not have and Detectron2 refuses; expected iscrowd, or none"
    area = annotation.get("area")
    if area is not None and not (isinstance(area, int | float) and 0 <= area < 1e12):
        return f"the area is {str(area)[:20]}; expected a number, or none"
    problem = box_problem(annotation.get("bbox"))
    if not problem and "mask" in measures:
        problem = mask_problem(mask, *size)
    if not problem and points and annotation.get("keypoints"):
        problem = keypoints_problem(annotation["keypoints"], len(points.names))
    return problem


def _area(annotation: dict[str, Any], mask: Any, findings: Findings) -> float:
    """Return the area in pixels that sorts an object into small, medium and large: the file's, or else computed."""
    area = annotation.get("area")
    if area is not None:
        return area
    if isinstance(mask, list) and mask and all(map(is_polygon, mask)):
        findings.assume("annotations lack area: that of their polygons is taken")
        return polygons_area(mask)
    findings.assume("annotations lack area: that of their boxes is taken")
    return annotation["bbox"][2] * annotation["bbox"][3]
