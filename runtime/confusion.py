"""Mean IoU by one table of counts, true class by predicted class, summed over all pixels that have a label.

    FOLDER/rank0.jsonl   a line that says whose they are, then a line an image: [true, predicted, pixels], ...

A killed evaluation goes on with the images that no process has a whole line of; the sum does not depend on their order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from twinbench.protocols.house import UserError
from twinbench.runtime.distributed import from_main, meet
from twinbench.runtime.process import Process
from twinbench.runtime.progress import JsonLog, read_log
from twinbench.runtime.shared import is_there

Cells = list[list[int]]  # of an image: [true class, predicted class, pixels] where there are any


class CountsError(UserError):
    """Counts that are not there although every process has ended its share."""


@dataclass(frozen=True)
class PixelScores:
    """What a table of counts says, in percent."""

    metrics: dict[str, float]  # aAcc, mAcc, mIoU
    per_class: dict[str, dict[str, float]]  # IoU and Acc, by class; one without what it is divided by is left out
    notes: list[str]  # what a reader must know
    table: np.ndarray  # the counts themselves (classes, classes)
    names: tuple[str, ...]  # of the table's classes


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the counts (classes, classes) int64, true class by predicted one, of pixels whose label is not below 0."""
    known = truth >= 0
    pairs = truth[known] * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def cells_of(table: np.ndarray) -> Cells:
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


def scores_of(table: np.ndarray, names: Sequence[str], answers: int = 0) -> PixelScores:
    """Return aAcc, mAcc and mIoU of a table of counts.

    IoU of a class = pixels of it found / pixels that are it, or are taken for it
    Acc of a class = pixels of it found / pixels that are it
    The last `answers` are no classes of the data: no pixel is one of them, but some may be taken for one.
    """
    found, true, taken = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    iou = _percent(found, true + taken - found)
    accuracy = _percent(found, true)
    metrics = {
        "aAcc": float(_percent(found.sum(), table.sum())),
        "mAcc": float(np.nanmean(accuracy)) if true.any() else float("nan"),
        "mIoU": float(np.nanmean(iou)) if true.any() else float("nan"),
    }
    per_class: dict[str, dict[str, float]] = {}
    for metric, values in (("IoU", iou), ("Acc", accuracy)):
        per_class[metric] = {
            name: float(value) for name, value in zip(names, values, strict=True) if not np.isnan(value)
        }
    classes = len(names) - answers
    absent = [name for name, count in zip(names[:classes], true[:classes], strict=True) if not count]
    told = f"no test pixel of {', '.join(absent)}: left out of mAcc, and of mIoU unless some pixel was taken for it"
    return PixelScores(metrics, per_class, [told] if absent else [], table, tuple(names))


def matched_iou(table: np.ndarray) -> float:
    """Return the mean IoU in percent after predicted classes are matched to true ones, so that the sum is highest.

    As clusterings are judged: classes are matched by the very pixels that are counted. A class without a pixel, true or
    taken for it, counts as 0.
    """
    either = table.sum(axis=1)[:, None] + table.sum(axis=0)[None] - table
    iou = table / np.maximum(either, 1)  # (true, predicted)
    return 100.0 * float(iou[linear_sum_assignment(iou, maximize=True)].mean())


def image_scores(cells: Sequence[Cells], names: Sequence[str]) -> list[float]:
    """Return each image's mIoU in percent, by itself; NaN for one without a labelled pixel."""
    return [scores_of(table_of([image], len(names)), names).metrics["mIoU"] for image in cells]


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return 100 * part / whole; NaN where whole is 0."""
    return 100.0 * np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


class KeptCounts:
    """The counts of so many images, kept in a folder as they are made; those of others there are written over."""

    def __init__(self, folder: Path, owner: dict[str, Any], images: int, process: Process) -> None:
        """Look what is done; `owner` says whose counts these are. Every process of a run must do so."""
        self.folder, self.owner, self.images, self.process = folder, owner, images, process
        done = from_main(process, lambda: sorted(_read(folder, owner)))
        missing = sorted(set(range(images)) - set(done))
        self.share = missing[process.rank :: process.world]  # what this process has to count

    def complete(self, counted: Iterable[tuple[int, np.ndarray]]) -> list[Cells]:
        """Take the tables (classes, classes) of this process's share, image by image; return those of all images.

        CountsError if some are on another node's disk.
        """
        path = self.folder / f"rank{self.process.rank}.jsonl"
        log = JsonLog(path)
        if not _is_of(path, self.owner):
            path.unlink(missing_ok=True)
            log.write(owner=self.owner)
        for index, table in counted:
            log.write(index=index, cells=cells_of(table))
        meet(self.process)
        for rank in range(self.process.world):
            is_there(self.folder / f"rank{rank}.jsonl", self.process)
        return self._whole()

    def _whole(self) -> list[Cells]:
        """Return the counts of every image."""
        found = _read(self.folder, self.owner)
        missing = self.images - len(found)
        if missing:
            raise CountsError(
                f"{self.folder}: {missing} of {self.images} test images have no counts, although every process has "
                "done its share; expected a disk that all nodes share; run again, and they are made"
            )
        return [found[index] for index in range(self.images)]


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
