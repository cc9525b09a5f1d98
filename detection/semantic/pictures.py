"""What the segmenter sees: the best and the worst test images, with their true and their predicted classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from torch import nn

from twinbench.data.decode import read_upright
from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record
from twinbench.data.pixels.opened import PixelData
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.data.pixels.pictures import Shown, best_and_worst, draw_sheet
from twinbench.detection.semantic.evaluate import predict
from twinbench.detection.semantic.images import TestImages, labels_of
from twinbench.runtime.confusion import Cells, image_scores


def draw_segments(config: CfgNode, model: nn.Module, data: PixelData, cells: Sequence[Cells], path: Path) -> None:
    """Write a PNG, a row an image with its own mIoU: the image, its true classes, its predicted ones; a legend."""
    scores = image_scores(cells, data.classes)
    shown = (_shown(config, model, data, data.test[index], scores[index]) for index in best_and_worst(scores))
    draw_sheet(shown, data.classes, data.colours, path)


def _shown(config: CfgNode, model: nn.Module, data: PixelData, record: Record, score: float) -> Shown:
    """Return one image's row."""
    example = TestImages(config)(record)
    if isinstance(example, DataError):
        raise example
    predicted, (top, left, bottom, right) = predict(model, example)
    truth = labels_of(record, data.decode)
    whole = np.full_like(truth, UNLABELLED)
    whole[top:bottom, left:right] = predicted
    return Shown(f"{record['image_id']}", read_upright(Path(record["file_name"])), truth, whole, score)
