"""A segmenter on the test images: what it takes each pixel for, and the counts of that by true class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn

from twinbench.data.objects.packed import Records
from twinbench.data.pixels.split import Decode
from twinbench.detection.semantic.images import TestImages, labels_of
from twinbench.detection.training.stream import test_loader
from twinbench.runtime.confusion import Cells, cells_of, confusion
from twinbench.runtime.kept import KeptCounts
from twinbench.runtime.process import Process
from twinbench.runtime.progress import bar
from twinbench.runtime.windows import Region


def confusions(
    config: CfgNode,
    model: nn.Module,
    records: Records,
    decode: Decode,
    folder: Path,
    owner: dict[str, Any],
    process: Process,
    workers: int,
) -> list[Cells]:
    """Return the counts of each of `records`, of which the processes share out those not done yet.

    `owner` says whose they are; those of others in `folder` are written over.
    """
    kept = KeptCounts(folder, owner, len(records), process)
    found = _found(config, model, records, decode, kept.share, process, workers)
    return kept.complete((index, cells_of(table)) for index, table in found)


def _found(
    config: CfgNode,
    model: nn.Module,
    records: Records,
    decode: Decode,
    share: list[int],
    process: Process,
    workers: int,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each image of this process's share with its counts."""
    chosen = records.where(np.array(share, int))
    loader = test_loader(chosen, TestImages(config), workers)
    shown = bar(loader, what="evaluate", total=len(share), unit="img") if process.is_main else loader
    classes = config.MODEL.SEGMENTER.NUM_CLASSES
    for place, (index, batch) in enumerate(zip(share, shown, strict=True)):
        predicted, (top, left, bottom, right) = predict(model, batch[0])
        truth = labels_of(chosen[place], decode)[top:bottom, left:right]
        yield index, confusion(truth, predicted, classes)


def predict(model: nn.Module, image: dict[str, Any]) -> tuple[np.ndarray, Region]:
    """Return the predicted classes of a test image's region, (h, w) int64, and the region."""
    model.eval()
    with torch.inference_mode():
        found = model([image])[0]
    return found["sem_seg"].argmax(dim=0).cpu().numpy(), found["region"]
