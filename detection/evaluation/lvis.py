"""Average precision by the rules of LVIS, whose images are labelled for some classes only.

A detection counts on an image where its class was looked for: where an object of it is labelled, or where the class is
listed as absent (`neg_category_ids`). Where not all objects of a class are labelled (`not_exhaustive_category_ids`) a
detection that meets none is neither right nor wrong. The best 300 detections of an image count, and no object is a
crowd. Computed by hotcoco; the tests hold it to the package of LVIS's authors.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as _run_lengths

from twinbench.data.objects.packed import Records
from twinbench.detection.evaluation.coco import IOU_TYPES, Truth, coco_results, ground_truth
from twinbench.detection.evaluation.predictions import Detections
from twinbench.detection.evaluation.scores import Scores, curve, nothing_found

run_lengths: Any = _run_lengths  # its types know only the compressed form
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
DETECTIONS = 300  # of an image: lvis 0.5.3, results.py, max_dets
AT_50, AT_75 = 0, 5  # of the ten IoUs .5:.05:.95
SIDES = {"s": 1, "m": 2, "l": 3}  # the table's ranges of areas


def lvis_scores(
    records: Records,
    predictions: Sequence[Detections],
    classes: Sequence[str],
    frequencies: Sequence[str],
    measures: Sequence[str],
) -> Scores:
    """Return the APs of each of `measures`, also over rare, common and frequent classes, and AP of each class.

    `frequencies` has "r", "c" or "f" for each class. Metrics are called as for COCO: of boxes alone plainly AP.
    """
    truth = lvis_truth(records, classes, frequencies)
    scores = Scores()
    for measure in measures:
        prefix = f"{measure}-" if len(measures) > 1 else ""
        results = _counted(coco_results(predictions, measure))
        if not results:
            scores.metrics.update({f"{prefix}{name}": 0.0 for name in ("AP", "AP50", "AP75")})
            scores.notes.append(nothing_found(measure))
            continue
        table = _table(truth, results, IOU_TYPES[measure])
        _add(scores, table, measure, prefix, classes, frequencies)
    return scores


def lvis_truth(records: Records, classes: Sequence[str], frequencies: Sequence[str]) -> Truth:
    """Return the test images' annotations as LVIS's JSON, with ids from 1."""
    truth = ground_truth(records, classes)
    for image, record in zip(truth["images"], records, strict=True):
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            image[key] = [number + 1 for number in record[key]]
    for category, frequency in zip(truth["categories"], frequencies, strict=True):
        category["frequency"] = frequency
    for thing in truth["annotations"]:
        thing["iscrowd"] = 0  # LVIS has no crowds, and its authors' program looks at none
    return truth


def _table(truth: Truth, results: list[dict[str, Any]], iou_type: str) -> np.ndarray:
    """Return the precisions (T, R, K, A); -1 stands where there is no object."""
    import hotcoco

    gt = hotcoco.COCO(truth)
    evaluation = hotcoco.LVISeval(gt, hotcoco.LVISResults(gt, results, None), iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval is not None
    return np.asarray(evaluation.eval["precision"])[..., -1]


def _counted(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the best DETECTIONS of each image, without those of no area.

    The authors' program asks for annotations of an area above 0, so that a box or mask of none is no false alarm
    there. To hotcoco it is one: 13 of 56 made-up data sets with such boxes differed, by up to 0.2 points.
    """
    by_image: dict[int, list[dict[str, Any]]] = {}
    for result in results:
        by_image.setdefault(result["image_id"], []).append(result)
    counted: list[dict[str, Any]] = []
    for those in by_image.values():
        best = sorted(those, key=lambda result: result["score"], reverse=True)[:DETECTIONS]
        counted += [result for result in best if _area(result) > 0]
    return counted


def _area(result: dict[str, Any]) -> float:
    """Return the pixels that a detection's mask, or where there is none its box, covers."""
    if "segmentation" in result:
        return float(run_lengths.area(result["segmentation"]))
    return result["bbox"][2] * result["bbox"][3]


def _add(
    scores: Scores, table: np.ndarray, measure: str, prefix: str, classes: Sequence[str], frequencies: Sequence[str]
) -> None:
    """Add what a table of precisions says."""
    everywhere = table[..., 0]  # (T, R, K), objects of all areas
    found = {"AP": everywhere, "AP50": everywhere[AT_50], "AP75": everywhere[AT_75]}
    found |= {f"AP{side}": table[..., number] for side, number in SIDES.items()}
    for letter in FREQUENCIES:
        found[f"AP{letter}"] = everywhere[..., np.array([each == letter for each in frequencies], bool)]
    empty: list[str] = []
    for name, part in found.items():
        value = _mean(part)
        if math.isnan(value):
            empty.append(name)
        else:
            scores.metrics[f"{prefix}{name}"] = value
    if empty:
        scores.notes.append(f"no test object that counts for {measure} {', '.join(empty)}: left out")
    per_class = scores.per_class.setdefault(f"{prefix}AP", {})
    for number, name in enumerate(classes):
        value = _mean(everywhere[:, :, number])
        if not math.isnan(value):
            per_class[name] = value
    precision = everywhere[AT_50]  # (101, K)
    known = (precision > -1).all(axis=0)
    if known.any():
        scores.curves[f"precision-recall, {measure}, IoU .5"] = curve(precision[:, known].mean(axis=1))


def _mean(part: np.ndarray) -> float:
    """Return the mean in percent of what is known; NaN where nothing is."""
    known = part[part > -1]
    return float(known.mean()) * 100 if known.size else math.nan
