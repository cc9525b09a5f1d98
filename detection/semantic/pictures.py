"""What the segmenter sees: the best and the worst test images, with their true and their predicted classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from PIL import Image, ImageDraw
from torch import nn

from twinbench.data.decode import read_upright
from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record
from twinbench.detection.semantic.datasets import PixelData
from twinbench.detection.semantic.evaluate import Cells, predict, scores_of, table_of
from twinbench.detection.semantic.images import TestImages, labels_of
from twinbench.detection.semantic.model import UNLABELLED
from twinbench.protocols.house import replacing

SHOWN = 3  # best and as many worst images
TILE, MARGIN, LINE, LEGEND_COLUMN = 240, 6, 16, 150  # pixels
NOT_LABELLED = (224, 224, 224)


def image_scores(cells: Sequence[Cells], names: Sequence[str]) -> list[float]:
    """Return each image's mIoU in percent, by itself; NaN for one without a labelled pixel."""
    return [scores_of(table_of([image], len(names)), names).metrics["mIoU"] for image in cells]


def chosen(scores: Sequence[float]) -> list[int]:
    """Return the SHOWN best images and the SHOWN worst ones, best first; all of them where there are few."""
    known = [index for index, score in enumerate(scores) if not np.isnan(score)]
    ranked = sorted(known, key=lambda index: -scores[index])
    if len(ranked) <= 2 * SHOWN:
        return ranked
    return ranked[:SHOWN] + ranked[-SHOWN:]


def draw_segments(config: CfgNode, model: nn.Module, data: PixelData, cells: Sequence[Cells], path: Path) -> None:
    """Write a PNG, a row an image with its own mIoU: the image, its true classes, its predicted ones; a legend."""
    scores = image_scores(cells, data.classes)
    rows: list[Image.Image] = []
    seen: set[int] = set()
    for index in chosen(scores):
        row, classes = _row(config, model, data, data.test[index], scores[index])
        rows.append(row)
        seen |= classes
    legend = _legend(data, sorted(seen))
    width = 3 * (TILE + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, sum(row.height for row in rows) + legend.height + MARGIN), "white")
    top = MARGIN
    for part in (*rows, legend):
        sheet.paste(part, (0, top))
        top += part.height
    with replacing(path) as beside:
        sheet.save(beside, format="PNG", optimize=True)


def _row(
    config: CfgNode, model: nn.Module, data: PixelData, record: Record, score: float
) -> tuple[Image.Image, set[int]]:
    """Return one image's row and the classes in it."""
    example = TestImages(config)(record)
    if isinstance(example, DataError):
        raise example
    predicted, (top, left, bottom, right) = predict(model, example)
    truth = labels_of(record, data.decode)
    whole = np.full_like(truth, UNLABELLED)
    whole[top:bottom, left:right] = predicted
    image = read_upright(Path(record["file_name"]))
    scale = TILE / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    tiles = (
        image.resize(size, Image.Resampling.BICUBIC),
        _painted(truth, data).resize(size, Image.Resampling.NEAREST),
        _painted(whole, data).resize(size, Image.Resampling.NEAREST),
    )
    words = (f"{record['image_id']}", "true classes", f"predicted, mIoU {score:.1f} %")
    row = Image.new("RGB", (3 * (TILE + MARGIN) + MARGIN, size[1] + LINE + MARGIN), "white")
    pen = ImageDraw.Draw(row)
    for column, (tile, word) in enumerate(zip(tiles, words, strict=True)):
        place = MARGIN + column * (TILE + MARGIN)
        pen.text((place, 0), word, fill="black")
        row.paste(tile, (place, LINE))
    found = set(np.unique(truth).tolist()) | set(np.unique(predicted).tolist())
    return row, found - {UNLABELLED}


def _painted(labels: np.ndarray, data: PixelData) -> Image.Image:
    """Return classes (H, W) in their colours."""
    colours = np.array([*data.colours, NOT_LABELLED], np.uint8)  # UNLABELLED, -1, is the last
    return Image.fromarray(colours[labels])


def _legend(data: PixelData, classes: Sequence[int]) -> Image.Image:
    """Return the colours of `classes` with their names, and that of pixels without a label."""
    entries = [(data.classes[number], data.colours[number]) for number in classes] + [("no label", NOT_LABELLED)]
    width = 3 * (TILE + MARGIN) + MARGIN
    columns = width // LEGEND_COLUMN
    legend = Image.new("RGB", (width, -(-len(entries) // columns) * LINE + MARGIN), "white")
    pen = ImageDraw.Draw(legend)
    for place, (name, colour) in enumerate(entries):
        row, column = divmod(place, columns)
        left, top = MARGIN + column * LEGEND_COLUMN, row * LINE
        pen.rectangle((left, top + 2, left + 11, top + 13), fill=colour, outline="black")
        pen.text((left + 17, top), name, fill="black")
    return legend
