"""Mean IoU by one table of counts, true class by predicted class, summed over all pixels that have a label.

    OUT/confusions/rank0.jsonl   a line that says whose they are, then a line an image: [true, predicted, pixels], ...

A killed evaluation goes on with the images that no process has a whole line of; the sum does not depend on their order.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn

from twinbench.data.objects.packed import Records
from twinbench.detection.evaluation.scores import Scores
from twinbench.detection.semantic.images import Decode, TestImages, labels_of
from twinbench.detection.semantic.inference import Region
from twinbench.detection.semantic.model import UNLABELLED
from twinbench.detection.training.stream import test_loader
from twinbench.protocols.house import UserError
from twinbench.runtime.distributed import from_main, meet
from twinbench.runtime.process import Process
from twinbench.runtime.progress import JsonLog, bar, read_log
from twinbench.runtime.shared import is_there

Cells = list[list[int]]  # of an image: [true class, predicted class, pixels] where there are any


class EvaluationError(UserError):
    """Counts that are not there although every process has ended its share."""


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the counts (classes, classes) int64, true class by predicted class, of the pixels that have a label."""
    known = truth != UNLABELLED
    pairs = truth[known] * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


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
    done = from_main(process, lambda: sorted(_read(folder, owner)))
    missing = sorted(set(range(len(records))) - set(done))
    share = missing[process.rank :: process.world]
    path = folder / f"rank{process.rank}.jsonl"
    log = JsonLog(path)
    if not _is_of(path, owner):
        path.unlink(missing_ok=True)
        log.write(owner=owner)
    for index, cells in _found(config, model, records, decode, share, process, workers):
        log.write(index=index, cells=cells)
    meet(process)
    for rank in range(process.world):
        is_there(folder / f"rank{rank}.jsonl", process)
    return _whole(folder, owner, len(records))


def _found(
    config: CfgNode,
    model: nn.Module,
    records: Records,
    decode: Decode,
    share: list[int],
    process: Process,
    workers: int,
) -> Iterator[tuple[int, Cells]]:
    """Yield each image of this process's share with its counts."""
    chosen = records.where(np.array(share, int))
    loader = test_loader(chosen, TestImages(config), workers)
    shown = bar(loader, what="evaluate", total=len(share), unit="img") if process.is_main else loader
    classes = config.MODEL.SEGMENTER.NUM_CLASSES
    for place, (index, batch) in enumerate(zip(share, shown, strict=True)):
        predicted, (top, left, bottom, right) = predict(model, batch[0])
        truth = labels_of(chosen[place], decode)[top:bottom, left:right]
        yield index, _cells(confusion(truth, predicted, classes))


def predict(model: nn.Module, image: dict[str, Any]) -> tuple[np.ndarray, Region]:
    """Return the predicted classes of a test image's region, (h, w) int64, and the region."""
    model.eval()
    with torch.inference_mode():
        found = model([image])[0]
    return found["sem_seg"].argmax(dim=0).cpu().numpy(), found["region"]


def _cells(table: np.ndarray) -> Cells:
    """Return the counts that are not 0."""
    rows, columns = np.nonzero(table)
    return np.stack([rows, columns, table[rows, columns]], axis=1).tolist()


def table_of(cells: Iterable[Cells], classes: int) -> np.ndarray:
    """Return the sum of images' counts as one table (classes, classes) int64."""
    table = np.zeros((classes, classes), np.int64)
    for image in cells:
        if image:
            rows, columns, counts = np.array(image, np.int64).T
            table[rows, columns] += counts
    return table


def scores_of(table: np.ndarray, names: Sequence[str]) -> Scores:
    """Return aAcc, mAcc and mIoU of a table of counts, in percent; a class without what it is divided by is left out.

    IoU of a class = pixels of it found / pixels that are it, or are taken for it
    Acc of a class = pixels of it found / pixels that are it
    """
    found, true, taken = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    iou = _percent(found, true + taken - found)
    accuracy = _percent(found, true)
    scores = Scores()
    scores.metrics["aAcc"] = float(_percent(found.sum(), table.sum()))
    scores.metrics["mAcc"] = float(np.nanmean(accuracy)) if true.any() else float("nan")
    scores.metrics["mIoU"] = float(np.nanmean(iou)) if true.any() else float("nan")
    for metric, values in (("IoU", iou), ("Acc", accuracy)):
        scores.per_class[metric] = {
            name: float(value) for name, value in zip(names, values, strict=True) if not np.isnan(value)
        }
    absent = [name for name, count in zip(names, true, strict=True) if not count]
    if absent:
        scores.notes.append(
            f"no test pixel of {', '.join(absent)}: left out of mAcc, and of mIoU unless some pixel was taken for it"
        )
    return scores


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return 100 * part / whole; NaN where whole is 0."""
    return 100.0 * np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def _whole(folder: Path, owner: dict[str, Any], images: int) -> list[Cells]:
    """Return the counts of every image; EvaluationError if some are on another node's disk."""
    found = _read(folder, owner)
    missing = images - len(found)
    if missing:
        raise EvaluationError(
            f"{folder}: {missing} of {images} test images have no counts, although every process has done its share; "
            "expected a disk that all nodes share; run again, and they are made"
        )
    return [found[index] for index in range(images)]


def _read(folder: Path, owner: dict[str, Any]) -> dict[int, Cells]:
    """Return the counts of the images that are done."""
    found: dict[int, Cells] = {}
    for path in sorted(folder.glob("rank*.jsonl")):
        if _is_of(path, owner):
            found |= {line["index"]: line["cells"] for line in read_log(path) if "cells" in line}
    return found


def _is_of(path: Path, owner: dict[str, Any]) -> bool:
    """Say whether a file's first line says that its counts are `owner`'s."""
    try:
        first = next(read_log(path), {})
    except FileNotFoundError:
        return False
    return first.get("owner") == owner
