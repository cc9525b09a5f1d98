"""Average precision of masks by the rules of Cityscapes (cityscapesScripts, evalInstanceLevelSemanticLabeling).

overlap     a detection finds an object where their IoU is above the threshold; of several the best score does,
            the others are false
ignored     detections that find nothing and lie, by more than the threshold, on groups of their class (crowds here),
            on objects of fewer than 100 pixels, or on pixels of no class (a record's `void`, run lengths)
precision   with equal scores taken together, its steps over recall summed by the trapezoid that is used there
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as _run_lengths

from twinbench.data.objects.packed import Record, Records
from twinbench.detection.evaluation.predictions import Detections
from twinbench.detection.evaluation.scores import Scores, nothing_found

run_lengths: Any = _run_lengths  # its types know only the compressed form
THRESHOLDS = np.arange(0.5, 1.0, 0.05)
LEAST = 100  # pixels of an object that counts: args.minRegionSizes


@dataclass
class _Tally:
    """What one class's detections are at one threshold, over all images."""

    scores: list[np.ndarray] = field(default_factory=list[np.ndarray])
    is_right: list[np.ndarray] = field(default_factory=list[np.ndarray])
    missed: int = 0

    def add(self, scores: np.ndarray, *, right: bool) -> None:
        """Add detections that are all right, or all wrong."""
        self.scores.append(scores)
        self.is_right.append(np.full(len(scores), right))


@dataclass
class _Image:
    """The objects and detections of one class on one image, in pixels."""

    objects: np.ndarray  # (G,)
    counts: np.ndarray  # (G,) whether it is measured
    found: np.ndarray  # (D,)
    scores: np.ndarray  # (D,)
    shared: np.ndarray  # (D, G)
    ignored: np.ndarray  # (D,) on void, groups and small objects


def cityscapes_scores(records: Records, predictions: Sequence[Detections], classes: Sequence[str]) -> Scores:
    """Return mask-AP and mask-AP50, and both of each class that has objects, in percent."""
    aps = np.full((len(classes), len(THRESHOLDS)), math.nan)
    images: list[list[_Image]] = [[] for _ in classes]
    for record, detections in zip(records, predictions, strict=True):
        for number, image in _images(record, detections).items():
            images[number].append(image)
    for number, those in enumerate(images):
        aps[number] = [_average_precision(those, threshold) for threshold in THRESHOLDS]
    scores = Scores(notes=["boxes are not measured: Cityscapes' rules are for masks"])
    known = ~np.isnan(aps[:, 0])
    for name, each in {"mask-AP": aps.mean(axis=1), "mask-AP50": aps[:, 0]}.items():
        scores.metrics[name] = 100 * float(each[known].mean()) if known.any() else 0.0
        scores.per_class[name] = {
            classes[number]: 100 * float(each[number]) for number in np.flatnonzero(known).tolist()
        }
    if not any(predictions):
        scores.notes.append(nothing_found("mask"))
    absent = [name for name, is_known in zip(classes, known, strict=True) if not is_known]
    if absent:
        scores.notes.append(f"no test object of {', '.join(absent)}: left out of the means")
    return scores


def _images(record: Record, detections: Detections) -> dict[int, _Image]:
    """Return what there is of each class that has objects or detections; masks without a pixel are none."""
    height, width = record["height"], record["width"]
    found: dict[int, _Image] = {}
    void = [record["void"]] if "void" in record else []
    numbers = {each["category_id"] for each in [*record["annotations"], *detections]}
    for number in numbers:
        things = [thing for thing in record["annotations"] if thing["category_id"] == number]
        those = [each for each in detections if each["category_id"] == number]
        truth = [_coded(thing["segmentation"], height, width) for thing in things]
        masks = [each["segmentation"] for each in those]
        objects, areas = _areas(truth), _areas(masks)
        is_crowd = np.array([thing["iscrowd"] for thing in things], bool)
        is_small = objects < LEAST
        shared = _shared(masks, areas, truth)
        # A small group is counted twice there, and so it is here.
        ignored = shared @ (is_crowd.astype(float) + is_small) + _shared(masks, areas, void).sum(axis=1)
        scores, some = np.array([each["score"] for each in those], float), areas > 0
        found[number] = _Image(objects, ~is_crowd & ~is_small, areas[some], scores[some], shared[some], ignored[some])
    return found


def _coded(mask: Any, height: int, width: int) -> dict[str, Any]:
    """Return polygons or run lengths in the compressed form."""
    if isinstance(mask, dict):
        return run_lengths.frPyObjects(mask, height, width) if isinstance(mask["counts"], list) else mask
    return run_lengths.merge(run_lengths.frPyObjects(mask, height, width))


def _areas(masks: list[Any]) -> np.ndarray:
    return np.array(run_lengths.area(masks) if masks else [], float)


def _shared(masks: list[Any], areas: np.ndarray, others: list[Any]) -> np.ndarray:
    """Return the pixels (D, G) that masks have in common: what crowds share with a mask, by its own area."""
    if not masks or not others:
        return np.zeros((len(masks), len(others)))
    return np.round(run_lengths.iou(masks, others, [1] * len(others)) * areas[:, None])


def _average_precision(images: list[_Image], threshold: float) -> float:
    """Return a class's AP at one threshold; NaN where no object is measured."""
    tally = _Tally()
    for image in images:
        union = image.objects + image.found[:, None] - image.shared
        overlaps = np.divide(image.shared, union, out=np.zeros_like(union), where=union > 0) > threshold
        for each in np.flatnonzero(image.counts):
            scores = np.sort(image.scores[overlaps[:, each]])
            tally.missed += not len(scores)
            tally.add(scores[-1:], right=True)
            tally.add(scores[:-1], right=False)
        is_ignored = image.ignored / image.found > threshold
        tally.add(image.scores[~overlaps.any(axis=1) & ~is_ignored], right=False)
    if not any(image.counts.any() for image in images):
        return math.nan
    return _area(np.concatenate(tally.scores), np.concatenate(tally.is_right), tally.missed)


def _area(scores: np.ndarray, is_right: np.ndarray, missed: int) -> float:
    """Return the area under precision over recall, of detections that score at least each of the scores."""
    if not len(scores):
        return 0.0
    order = np.argsort(scores)
    _, first = np.unique(scores[order], return_index=True)
    right = np.cumsum(is_right[order][::-1])[::-1][first]  # at and above each score
    if not right[0]:
        return 0.0
    precision = np.append(right / (len(scores) - first), 1.0)
    recall = np.append(right / (right[0] + missed), 0.0)
    edges = np.concatenate((recall[:1], recall, [0.0]))
    return float(precision @ ((edges[:-2] - edges[2:]) / 2))
