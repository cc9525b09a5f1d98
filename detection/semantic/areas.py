"""What a segmenter finds on one image, in the form of detections: an area of pixels for each class."""

from typing import Any

import numpy as np
from detectron2.config import CfgNode
from PIL import Image
from torch import nn

from twinbench.detection.evaluation.predictions import Detections, mask_lengths
from twinbench.detection.semantic.evaluate import predict
from twinbench.detection.semantic.images import test_example


def areas(config: CfgNode, model: nn.Module, image: Image.Image) -> Detections:
    """Return the area of each class on an RGB image with the box around it, the largest area first.

    They have no score. Where a recipe scores the centre of an image alone, they lie within that.
    """
    predicted, (top, left, _, _) = predict(model, test_example(np.asarray(image), config))
    height, width = predicted.shape
    found: list[tuple[int, dict[str, Any]]] = []
    for label, pixels in zip(*np.unique(predicted, return_counts=True), strict=True):
        mask = np.zeros((image.height, image.width), bool)
        mask[top : top + height, left : left + width] = predicted == label
        area = {"category_id": int(label), "bbox": _box(mask), "segmentation": mask_lengths(mask)}
        found.append((int(pixels), area))
    return [area for _, area in sorted(found, key=lambda one: -one[0])]


def _box(mask: np.ndarray) -> list[float]:
    """Return left, top, right and bottom of what a mask (H, W) holds."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
