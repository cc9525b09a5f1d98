"""What a box, a mask and the keypoints of an annotation must be, in words; and the area of polygons."""

from collections.abc import Sequence
from typing import Any

import numpy as np

LEAST = 6  # numbers of a polygon: three corners
LARGEST = 1e9
XYXY, XYWH = 0, 1  # Detectron2's BoxMode.XYXY_ABS and XYWH_ABS


def box_problem(box: Any) -> str:
    """Return what is wrong with a box [left, top, width, height]; empty if nothing."""
    fits = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) >= 0
    if fits:
        return ""
    return f"the box is {str(box)[:60]}; expected left, top, width and height, neither side negative"


def shows_an_area(record: dict[str, Any]) -> bool:
    """Say whether an object of an image, no crowd, has a box with an area: training drops the others.

    Boxes of 0 x 0 alone trained a detector of the background to the end of its schedule, with nothing but a note.
    """
    for thing in record["annotations"]:
        first, second, third, fourth = thing["bbox"]
        width, height = (third, fourth) if thing["bbox_mode"] == XYWH else (third - first, fourth - second)
        if width > 0 and height > 0 and not thing["iscrowd"]:
            return True
    return False


def mask_problem(mask: Any, width: int, height: int) -> str:
    """Return what is wrong with a segmentation of an image; empty if nothing."""
    if isinstance(mask, dict):
        return _run_lengths_problem(mask, width, height)
    if not mask:
        return "no segmentation; expected polygons or run lengths"
    if not isinstance(mask, list):
        return f"the segmentation is {str(mask)[:40]}; expected polygons or run lengths"
    odd = [polygon for polygon in mask if not is_polygon(polygon)]
    if not odd:
        return ""
    count = f"{len(odd[0])} numbers" if isinstance(odd[0], list) else str(odd[0])[:20]
    return f"a polygon of {count}; expected at least three corners, x and y of each"


def is_polygon(polygon: Any) -> bool:
    """Say whether this is a list of x, y, x, y, ... of three corners or more."""
    if not isinstance(polygon, list) or len(polygon) < LEAST or len(polygon) % 2:
        return False
    return all(map(_is_number, polygon))


def polygons_area(polygons: Sequence[Sequence[float]]) -> float:
    """Return the area of polygons in pixels, by the shoelace formula; what they share counts twice."""
    total = 0.0
    for polygon in polygons:
        x, y = np.asarray(polygon, float).reshape(-1, 2).T
        total += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return total


def keypoints_problem(points: Any, count: int) -> str:
    """Return what is wrong with the keypoints x, y, v, x, y, v, ... of an object; empty if nothing."""
    if isinstance(points, list) and len(points) == 3 * count and all(map(_is_number, points)):
        return ""
    found = f"{len(points)} numbers" if isinstance(points, list) else str(points)[:20]
    return f"keypoints of {found}; expected {3 * count}: x, y and visibility of each of {count}"


def _run_lengths_problem(mask: dict[str, Any], width: int, height: int) -> str:
    """Return what is wrong with run lengths: their size is the image's, and they fill it."""
    size, counts = mask.get("size"), mask.get("counts")
    if size != [height, width]:
        return f"run lengths of size {str(size)[:30]}; expected the image's, [{height}, {width}]"
    if isinstance(counts, str) and counts:
        return ""
    if not isinstance(counts, list) or not all(isinstance(run, int) and run >= 0 for run in counts):
        return f"run lengths {str(counts)[:30]}; expected a text, or whole numbers"
    if sum(counts) != width * height:
        return f"run lengths of {sum(counts)} pixels; expected {width * height}, all of the image"
    return ""


def _is_number(value: Any) -> bool:
    """True for a finite number of a size that a picture can have (NaN compares false)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
