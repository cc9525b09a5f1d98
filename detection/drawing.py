"""Draws objects on an image so that they can be told apart: boxes, masks, keypoints, and labels that can be read."""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from detectron2.data.datasets.builtin_meta import COCO_PERSON_KEYPOINT_NAMES, KEYPOINT_CONNECTION_RULES
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as _run_lengths

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom, pixels
run_lengths: Any = _run_lengths  # its types know only one of the forms that it takes

GOLDEN = 0.618034  # of the circle of hues, from one class to the next: neighbours are never alike
FILL = 0.4  # of a mask's colour over the image
SEEN = 0.05  # least score of a keypoint that is drawn, as Detectron2's own pictures have it
LINE, TEXT = 250, 40  # of the image's longer side: a line is 1/250 of it wide, a letter 1/40 of it high
LEAST_LINE, LEAST_TEXT = 2, 12  # pixels


@dataclass(frozen=True)
class Thing:
    """One object on an image, in pixels of the image that it is drawn on."""

    box: tuple[float, float, float, float]  # left, top, right, bottom
    color: Color
    label: str = ""
    mask: np.ndarray | None = None  # (H, W), bool
    points: np.ndarray | None = None  # (K, 3): x, y, score or visibility
    is_filled: bool = True  # the mask, not only its outline
    is_boxed: bool = True


def color_of(label: int) -> Color:
    """Return the colour of a class by its number: bright, and far from those of the numbers beside it."""
    hue = (0.02 + label * GOLDEN) % 1
    value = 1.0 if label // 8 % 2 == 0 else 0.8
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(image: Image.Image, things: Sequence[Thing]) -> Image.Image:
    """Return a copy of an RGB image with `things` on it, the last on top; their labels lie above all of them."""
    width = max(LEAST_LINE, round(max(image.size) / LINE))
    drawn = _with_masks(image, things, width)
    pen = ImageDraw.Draw(drawn)
    for thing in things:
        left, top, right, bottom = thing.box
        if thing.is_boxed and left <= right and top <= bottom:  # annotations may have corners the wrong way round
            pen.rectangle(thing.box, outline=thing.color, width=width)
    for thing in things:
        if thing.points is not None:
            _draw_points(pen, thing.points, thing.color, width)
    font = letters(max(LEAST_TEXT, round(max(image.size) / TEXT)))
    taken: list[Rectangle] = []
    for thing in reversed(things):  # the best has the first choice of places
        if thing.label:
            taken.append(_draw_label(pen, thing, font, image.size, taken))
    return drawn


def things_of(
    found: Sequence[dict[str, Any]],
    classes: Sequence[str],
    size: tuple[int, int],
    scale: float,
    color: Color | None = None,
) -> list[Thing]:
    """Return what is to be drawn of an image's detections, the best last, on the image resized by `scale` to `size`.

    Each class has its colour, unless all have the given one.
    """
    things: list[Thing] = []
    for detection in reversed(found):
        label: int = detection["category_id"]
        left, top, right, bottom = (side * scale for side in detection["bbox"])
        mask, points = None, None
        if "segmentation" in detection:
            height, width = detection["segmentation"]["size"]
            mask = resized(decoded(detection["segmentation"], (width, height)), size)
        if "keypoints" in detection:
            points = np.array(detection["keypoints"]).reshape(-1, 3) * (scale, scale, 1)
        is_area = "score" not in detection  # of a segmenter: all pixels of a class
        words = classes[label] if is_area else f"{classes[label]} {detection['score']:.2f}"
        box = (left, top, right, bottom)
        things.append(Thing(box, color or color_of(label), words, mask, points, is_boxed=not is_area))
    return things


def decoded(mask: Any, size: tuple[int, int]) -> np.ndarray:
    """Return a mask (H, W) of an image of `size` (width, height) from polygons or run lengths."""
    width, height = size
    if isinstance(mask, Mapping):
        coded = run_lengths.frPyObjects(mask, height, width) if isinstance(mask["counts"], list) else mask
    else:
        coded = run_lengths.merge(run_lengths.frPyObjects(mask, height, width))
    return run_lengths.decode(coded).astype(bool)


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask (H, W) for the same image at another `size` (width, height)."""
    if mask.shape == (size[1], size[0]):
        return mask
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _with_masks(image: Image.Image, things: Sequence[Thing], width: int) -> Image.Image:
    """Return a copy of the image with the masks over it: a veil of their colour, and an outline of `width` pixels."""
    if all(thing.mask is None for thing in things):
        return image.copy()
    pixels = np.array(image)  # (H, W, 3)
    for thing in things:
        if thing.mask is None or not thing.mask.any():
            continue
        rows, columns = _extent(thing.mask)
        part, inside = pixels[rows, columns], thing.mask[rows, columns]
        color = np.array(thing.color)
        if thing.is_filled:
            part[inside] = np.round((1 - FILL) * part[inside] + FILL * color).astype(np.uint8)
        part[inside & ~_eroded(inside, width)] = color
    return Image.fromarray(pixels)


def _extent(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that hold all of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _eroded(mask: np.ndarray, width: int) -> np.ndarray:
    """Return a mask without the `width` pixels along its edge."""
    for _ in range(width):
        framed = np.pad(mask, 1)
        mask = mask & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask


def _draw_points(pen: ImageDraw.ImageDraw, points: np.ndarray, color: Color, width: int) -> None:
    """Draw keypoints, and where they are COCO's of a person the limbs between them."""
    seen = points[:, 2] > SEEN
    if len(points) == len(COCO_PERSON_KEYPOINT_NAMES):
        places = {name: place for place, name in enumerate(COCO_PERSON_KEYPOINT_NAMES)}
        for first, second, limb in KEYPOINT_CONNECTION_RULES:
            ends = [places[first], places[second]]
            if seen[ends].all():
                pen.line([tuple(points[end, :2]) for end in ends], fill=limb, width=width)
    for x, y in points[seen, :2]:
        pen.circle((x, y), 1.5 * width, fill=color, outline="white")


def _draw_label(
    pen: ImageDraw.ImageDraw,
    thing: Thing,
    font: ImageFont.FreeTypeFont,
    size: tuple[int, int],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Write a label on a ground of the object's colour, and return where."""
    left, top, right, bottom = pen.textbbox((0, 0), thing.label, font=font)
    pad = round(font.size / 6)
    place = _place(thing.box, (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad), size, taken)
    pen.rectangle(place, fill=thing.color)
    x, y = place[:2]
    pen.text((x + pad - left, y + pad - top), thing.label, font=font, fill=_readable_on(thing.color))
    return place


def _place(
    box: tuple[float, float, float, float], label: tuple[int, int], size: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Return where a label of a width and height goes on an image of `size`: above its box, else within it or below.

    The first place counts that is on the image and that no other label has; where there is none, the first on it.
    """
    width, height = label
    left, top, right, bottom = map(round, box)
    places: list[Rectangle] = []
    for y in (top - height, top, bottom, bottom - height):
        for x in (left, right - width):
            x = max(0, min(x, size[0] - width))
            if 0 <= y <= size[1] - height:
                places.append((x, y, x + width, y + height))
    if not places:  # the box is larger than the image, or the label is
        return (0, 0, width, height)
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    return (free or places)[0]


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    """Say whether two rectangles share a pixel."""
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _readable_on(color: Color) -> str:
    """Return black or white, whichever stands out from a colour (by its luma)."""
    red, green, blue = color
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


@cache
def letters(size: int) -> ImageFont.FreeTypeFont:
    """Return letters, `size` pixels high, that matplotlib brings along: Pillow's own have no Greek and no Cyrillic."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
