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

from twinbench.data.decode import read_rgb
from twinbench.data.objects.packed import Record
from twinbench.detection.datasets import DetectionData
from twinbench.detection.training.mapping import image_mapper
from twinbench.protocols.house import replacing

TRUE, PREDICTED = (60, 220, 60), (255, 90, 40)
TILE, COLUMNS, MARGIN, LEGEND = 256, 4, 4, 18  # pixels, but for COLUMNS


def draw_predictions(
    config: CfgNode, model: nn.Module, data: DetectionData, path: Path, *, images: int = 12, threshold: float = 0.5
) -> None:
    """Write a PNG of the first test images: true boxes green, predicted boxes red with class and score.

    Shown are the predictions with a score of at least `threshold`; where an image has none, its best one.
    """
    records = data.test[:images]
    tiles = [_tile(record, predict(config, model, record), data.classes, threshold) for record in records]
    rows = -(-len(tiles) // COLUMNS)
    step = TILE + MARGIN
    sheet = Image.new("RGB", (COLUMNS * step + MARGIN, rows * step + MARGIN + LEGEND), "white")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        sheet.paste(tile, (MARGIN + column * step, MARGIN + row * step))
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, sheet.height - LEGEND), "true objects: green    predicted, with score: red", fill="black")
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


def _tile(record: Record, found: Any, classes: tuple[str, ...], threshold: float) -> Image.Image:
    """Return one square of the grid."""
    image = read_rgb(Path(record["file_name"]))
    scale = TILE / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    tile = Image.new("RGB", (TILE, TILE), "white")
    tile.paste(image)
    pen = ImageDraw.Draw(tile)
    for thing in record["annotations"]:
        box = np.asarray(BoxMode.convert(thing["bbox"], thing["bbox_mode"], BoxMode.XYXY_ABS))
        pen.rectangle((box * scale).tolist(), outline=TRUE, width=2)
    scores = found.scores.numpy()
    shown = scores >= min([threshold, *scores[:1]])  # the best comes first
    for box, score, label in zip(
        found.pred_boxes.tensor.numpy()[shown], scores[shown], found.pred_classes.numpy()[shown], strict=True
    ):
        left, top, right, bottom = (box * scale).tolist()
        pen.rectangle((left, top, right, bottom), outline=PREDICTED, width=2)
        pen.text((left + 3, top + 1), f"{classes[label]} {score:.2f}", fill=PREDICTED)
    return tile
