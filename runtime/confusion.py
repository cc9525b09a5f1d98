"""Mean IoU by one table of counts, true class by predicted class, summed over all pixels that have a label."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

Cells = list[list[int]]  # of an image: [true class, predicted class, pixels] where there are any


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
