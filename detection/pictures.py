"""What the detector sees: a grid of test images with the true boxes and the predicted ones, and its curves."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import nn

from twinbench.data.decode import read_upright
from twinbench.data.objects.packed import Record
from twinbench.detection.datasets import DetectionData
from twinbench.detection.drawing import Thing, decoded, draw, letters, resized, things_of
from twinbench.detection.evaluation.predictions import Detections, detections_of
from twinbench.detection.training.mapping import image_mapper
from twinbench.protocols.house import replacing

TRUE, PREDICTED = (60, 220, 60), (255, 90, 40)
TILE, COLUMNS, MARGIN, LEGEND = 320, 4, 4, 20  # pixels, but for COLUMNS


def draw_predictions(
    config: CfgNode, model: nn.Module, data: DetectionData, path: Path, *, images: int = 12, threshold: float = 0.5
) -> None:
    """Write a PNG of the first test images: true objects green, predicted ones red with class and score.

    Shown are the predictions with a score of at least `threshold`; where an image has none, its best one.
    """
    tiles: list[Image.Image] = []
    for record in data.test[:images]:
        found = detections_of(predict(config, model, record))
        tiles.append(_tile(record, _worth_showing(found, threshold), data.classes))
    sheet = _sheet(tiles)
    with replacing(path) as beside:
        sheet.save(beside, format="PNG", optimize=True)


def draw_curves(curves: dict[str, list[list[float]]], path: Path) -> None:
    """Write a PNG of precision over recall, one line for each of `curves`: name -> [[recall, precision], ...]."""
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="recall", ylabel="precision, mean over classes", xlim=(0, 1), ylim=(0, 1.02))
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=name.removeprefix("precision-recall, "))
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=150)


def predict(config: CfgNode, model: nn.Module, record: Record) -> Any:
    """Return Detectron2's Instances for one image, in its own pixels, best first."""
    model.eval()
    with torch.inference_mode():
        return model([image_mapper(config, train=False)(record)])[0]["instances"].to("cpu")


def _worth_showing(found: Detections, threshold: float) -> Detections:
    """Return the detections of at least `threshold`, or the best one; they come best first."""
    return [detection for detection in found if detection["score"] >= threshold] or found[:1]


def _sheet(tiles: list[Image.Image]) -> Image.Image:
    """Return the tiles in rows, each as high as its highest, with a legend below."""
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    heights = [max(tile.height for tile in row) for row in rows]
    height = sum(heights) + (len(rows) + 1) * MARGIN + LEGEND
    sheet = Image.new("RGB", (COLUMNS * (TILE + MARGIN) + MARGIN, height), "white")
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (MARGIN + column * (TILE + MARGIN), top))
        top += height + MARGIN
    pen = ImageDraw.Draw(sheet)
    words = "true objects: green    predicted, with score: red"
    pen.text((MARGIN, top), words, fill="black", font=letters(LEGEND - 6))
    return sheet


def _tile(record: Record, found: Detections, classes: tuple[str, ...]) -> Image.Image:
    """Return one image of the grid, TILE pixels on its longer side."""
    image = read_upright(Path(record["file_name"]))
    scale = TILE / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    predicted = things_of(found, classes, image.size, scale, PREDICTED)
    return draw(image, [*_true_things(record, image.size, scale), *predicted])


def _true_things(record: Record, size: tuple[int, int], scale: float) -> list[Thing]:
    """Return what the annotations say is on an image, at `scale` times its size; masks as outlines.

    Without their keypoints a picture of Keypoint R-CNN compares nothing with what was predicted.
    """
    things: list[Thing] = []
    for annotation in record["annotations"]:
        box = np.asarray(BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS))
        left, top, right, bottom = (box * scale).tolist()
        mask, points = None, None
        if annotation.get("segmentation"):
            mask = resized(decoded(annotation["segmentation"], (record["width"], record["height"])), size)
        if annotation.get("keypoints"):
            points = np.array(annotation["keypoints"], float).reshape(-1, 3) * (scale, scale, 1)
        things.append(Thing((left, top, right, bottom), TRUE, mask=mask, points=points, is_filled=False))
    return things
