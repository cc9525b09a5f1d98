"""Average precision by the rules of PASCAL VOC, as Detectron2 computes it, for all thresholds at once.

AP50, AP75   means over classes at IoU .5 and .75; AP the mean over .5:.05:.95
IoU          of whole pixels, both ends included, and above the threshold
difficult    objects count neither as found nor as missed; a second detection of an object is false
precision    at 11 recalls for VOC2007, the area under its envelope for later years
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from twinbench.data.objects.packed import Record, Records
from twinbench.data.objects.split import Rule
from twinbench.detection.evaluation.predictions import Detections
from twinbench.detection.evaluation.scores import RECALLS, Scores, curve, nothing_found

THRESHOLDS = np.arange(50, 100, 5) / 100.0
DECIMALS = (3, 1)  # of scores, and of the corners of boxes: what Detectron2 writes for the evaluation to read


@dataclass
class _Class:
    """The objects and detections of one class."""

    boxes: dict[int, list[Sequence[float]]] = field(default_factory=dict)  # image -> corners
    difficult: dict[int, list[bool]] = field(default_factory=dict)
    images: list[int] = field(default_factory=list)  # of each detection
    scores: list[float] = field(default_factory=list)
    found: list[Sequence[float]] = field(default_factory=list)  # corners

    @property
    def positives(self) -> int:
        """The number of objects that are not difficult."""
        return sum(not hard for flags in self.difficult.values() for hard in flags)


def voc_scores(records: Records, predictions: Iterable[Detections], classes: Sequence[str], rule: Rule) -> Scores:
    """Return AP, AP50 and AP75 of boxes, AP50 of each class, and the mean curve at IoU .5."""
    by_class = _by_class(records, predictions, len(classes))
    scores = Scores()
    aps = np.zeros((len(classes), len(THRESHOLDS)))
    curves: list[np.ndarray] = []
    per_class = scores.per_class.setdefault("AP50", {})
    for number, (name, those) in enumerate(zip(classes, by_class, strict=True)):
        if not those.positives:
            continue
        recall, precision = _recall_and_precision(those)
        rate = _at_11_points if rule == "voc-11-points" else _area
        aps[number] = [rate(r, p) for r, p in zip(recall, precision, strict=True)]
        per_class[name] = float(aps[number, 0]) * 100
        curves.append(_envelope(recall[0], precision[0]))
    means = aps.mean(axis=0) * 100
    scores.metrics = {"AP": float(means.mean()), "AP50": float(means[0]), "AP75": float(means[5])}
    if curves:
        scores.curves["precision-recall, box, IoU .5"] = curve(np.mean(curves, axis=0))
    if not any(those.found for those in by_class):
        scores.notes.append(nothing_found("box"))
    absent = [name for name, those in zip(classes, by_class, strict=True) if not those.positives]
    if absent:
        scores.notes.append(
            f"no test object of {', '.join(absent)}: Detectron2 counts their AP as 0, COCO would leave them out"
        )
    return scores


def _by_class(records: Records, predictions: Iterable[Detections], count: int) -> list[_Class]:
    """Sort objects and detections by class, corners in whole pixels from 1 as VOC's files have them."""
    found = [_Class() for _ in range(count)]
    for image, (record, detections) in enumerate(zip(records, predictions, strict=True)):
        for thing in record["annotations"]:
            those = found[thing["category_id"]]
            those.boxes.setdefault(image, []).append(_corners(thing))
            those.difficult.setdefault(image, []).append(bool(thing.get("difficult", 0)))
        for detection in detections:
            those = found[detection["category_id"]]
            corners = np.array(detection["bbox"], np.float32)  # the network's type, in which 1 is added
            corners[:2] += 1
            those.images.append(image)
            those.scores.append(_as_written(detection["score"], DECIMALS[0]))
            those.found.append([_as_written(value, DECIMALS[1]) for value in corners])
    return found


def _as_written(value: float, decimals: int) -> float:
    """Return a number with so many decimals."""
    return float(f"{value:.{decimals}f}")


def _corners(thing: Record) -> list[float]:
    """Return the corners of an object's box, counted from 1."""
    left, top, right, bottom = thing["bbox"]
    return [left + 1, top + 1, right, bottom]


def _recall_and_precision(those: _Class) -> tuple[np.ndarray, np.ndarray]:
    """Return both (T, D) at each threshold, after each of the detections, best first."""
    order = np.argsort(-np.array(those.scores, float), kind="stable")
    hits = np.zeros((len(THRESHOLDS), len(order)))
    alarms = np.zeros((len(THRESHOLDS), len(order)))
    taken = {image: np.zeros((len(THRESHOLDS), len(boxes)), bool) for image, boxes in those.boxes.items()}
    objects = {image: np.array(boxes, float) for image, boxes in those.boxes.items()}
    for place, number in enumerate(order):
        image = those.images[number]
        if image not in objects:
            alarms[:, place] = 1
            continue
        overlaps = _overlaps(objects[image], np.array(those.found[number], float))
        best = int(overlaps.argmax())
        is_match = overlaps[best] > THRESHOLDS
        alarms[~is_match, place] = 1
        if those.difficult[image][best]:
            continue
        is_first = is_match & ~taken[image][:, best]
        hits[is_first, place] = 1
        alarms[is_match & ~is_first, place] = 1
        taken[image][is_first, best] = True
    found, false = hits.cumsum(axis=1), alarms.cumsum(axis=1)
    return found / those.positives, found / np.maximum(found + false, np.finfo(float).eps)


def _overlaps(objects: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the IoU (N,) of a box with N objects, in whole pixels with both ends."""
    low, high = np.maximum(objects[:, :2], box[:2]), np.minimum(objects[:, 2:], box[2:])
    both = np.maximum(high - low + 1.0, 0.0).prod(axis=1)
    areas = (objects[:, 2:] - objects[:, :2] + 1.0).prod(axis=1)
    return both / ((box[2:] - box[:2] + 1.0).prod() + areas - both)


def _at_11_points(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the mean of the best precision at or beyond the recalls 0, .1, ... 1."""
    best = [precision[recall >= level].max(initial=0.0) for level in np.arange(0.0, 1.1, 0.1)]
    return float(np.sum(np.array(best) / 11.0))


def _area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the area under the envelope of precision over recall."""
    recall = np.concatenate(([0.0], recall, [1.0]))
    envelope = np.maximum.accumulate(np.concatenate(([0.0], precision, [0.0]))[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def _envelope(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return the best precision at or beyond each of RECALLS, 0 where the recall is never reached."""
    return np.array([precision[recall >= level].max(initial=0.0) for level in RECALLS])
