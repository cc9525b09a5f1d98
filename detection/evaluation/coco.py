"""Average precision by COCO's rules, by whichever of three programs: their numbers are the same.

    hotcoco            by default: some 80 times as fast as the reference
    faster-coco-eval   some 5 times as fast
    pycocotools        the reference

All of them give the table behind the numbers, (10 IoUs, 101 recalls, classes, areas, 3 limits of detections); AP and
the rest are means over it, taken here.
"""

import copy
import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from twinbench.data.objects.packed import Records
from twinbench.detection.evaluation.predictions import Detections, wide
from twinbench.detection.evaluation.scores import Scores, curve, nothing_found
from twinbench.protocols.kinds.detector import Evaluator

IOU_TYPES = {"box": "bbox", "mask": "segm", "keypoint": "keypoints"}
AREAS = {"box": ("", "s", "m", "l"), "mask": ("", "s", "m", "l"), "keypoint": ("", "m", "l")}
AT_50, AT_75 = 0, 5  # of the ten IoUs .5:.05:.95
Truth = dict[str, list[dict[str, Any]]]  # COCO's JSON


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """Make plain values without a search for cycles, of which they have none: on val2017 it was half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def coco_scores(
    records: Records,
    predictions: Sequence[Detections],
    classes: Sequence[str],
    measures: Sequence[str],
    evaluator: Evaluator,
) -> Scores:
    """Return the APs of each of `measures`, AP of each class, and the mean curves at IoU .5.

    Where boxes alone are measured their AP is called plainly so, as everywhere for a detector of boxes.
    """
    truth = ground_truth(records, classes)
    with collecting_nothing():
        found = list(predictions)  # read from disk once for all measures
    scores = Scores()
    for measure in measures:
        prefix = f"{measure}-" if len(measures) > 1 else ""
        results = coco_results(found, measure)
        if not results:
            scores.metrics.update({f"{prefix}{name}": 0.0 for name in ("AP", "AP50", "AP75")})
            scores.notes.append(nothing_found(measure))
            continue
        table = TABLES[evaluator](truth, results, IOU_TYPES[measure])
        _add(scores, table, measure, prefix, classes)
    return scores


@collecting_nothing()
def ground_truth(records: Records, classes: Sequence[str]) -> Truth:
    """Return the test images' annotations as COCO's JSON, with ids from 1: to pycocotools an id of 0 is no match."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image, record in enumerate(records, 1):
        images.append({"id": image, "width": record["width"], "height": record["height"]})
        for thing in record["annotations"]:
            box = thing["bbox"] if thing["bbox_mode"] else _wide(thing["bbox"])
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": thing["category_id"] + 1}
            entry |= {"bbox": box, "iscrowd": thing["iscrowd"], "area": thing.get("area", box[2] * box[3])}
            if "segmentation" in thing:
                entry["segmentation"] = thing["segmentation"]
            if "keypoints" in thing:
                entry["keypoints"] = thing["keypoints"]
                entry["num_keypoints"] = sum(seen > 0 for seen in thing["keypoints"][2::3])
            annotations.append(entry)
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


@collecting_nothing()
def coco_results(predictions: Sequence[Detections], measure: str) -> list[dict[str, Any]]:
    """Return the detections of all images as COCO's results.

    Beside masks there are no boxes, or those would say how large a detection is.
    """
    results: list[dict[str, Any]] = []
    for image, found in enumerate(predictions, 1):
        boxes = wide(found) if measure != "mask" else []
        for number, detection in enumerate(found):
            result = {"image_id": image, "category_id": detection["category_id"] + 1, "score": detection["score"]}
            if measure == "mask":
                result["segmentation"] = detection["segmentation"]
            else:
                result["bbox"] = boxes[number]
            if measure == "keypoint":
                result["keypoints"] = detection["keypoints"]
            results.append(result)
    return results


def _wide(box: Sequence[float]) -> list[float]:
    """Return left, top, width and height of a box of corners."""
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def _add(scores: Scores, table: np.ndarray, measure: str, prefix: str, classes: Sequence[str]) -> None:
    """Add what a table (T, R, K, A, M) of precisions says; -1 stands where there is no object."""
    last = table[..., -1]
    found = {"AP": last[..., 0], "AP50": last[AT_50, ..., 0], "AP75": last[AT_75, ..., 0]}
    for number, area in enumerate(AREAS[measure]):
        if area:
            found[f"AP{area}"] = last[..., number]
    empty: list[str] = []
    for name, part in found.items():
        value = _mean(part)
        if math.isnan(value):
            empty.append(name)
        else:
            scores.metrics[f"{prefix}{name}"] = value
    if empty:
        scores.notes.append(f"no test object in the size range of {measure} {', '.join(empty)}: left out")
    per_class = scores.per_class.setdefault(f"{prefix}AP", {})
    for number, name in enumerate(classes):
        value = _mean(last[:, :, number, 0])
        if not math.isnan(value):
            per_class[name] = value
    precision = last[AT_50, :, :, 0]  # (101, classes)
    known = (precision > -1).all(axis=0)
    if known.any():
        scores.curves[f"precision-recall, {measure}, IoU .5"] = curve(precision[:, known].mean(axis=1))


def _mean(part: np.ndarray) -> float:
    """Return the mean in percent of what is known; NaN where nothing is."""
    known = part[part > -1]
    return float(known.mean()) * 100 if known.size else math.nan


def _by_hotcoco(truth: Truth, results: list[dict[str, Any]], iou_type: str) -> np.ndarray:
    import hotcoco

    gt = hotcoco.COCO(truth)
    evaluation = hotcoco.COCOeval(gt, gt.load_res(results), iou_type)
    return _evaluated(evaluation)


def _by_pycocotools(truth: Truth, results: list[dict[str, Any]], iou_type: str) -> np.ndarray:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    program: Any = COCOeval
    return _evaluated(program(*_indexed(COCO, truth, results), iou_type))


def _by_faster_coco_eval(truth: Truth, results: list[dict[str, Any]], iou_type: str) -> np.ndarray:
    from faster_coco_eval import COCO, COCOeval_faster

    program: Any = COCOeval_faster
    evaluation = program(*_indexed(COCO, truth, results), iou_type)
    # Of keypoints it looks at the classes with objects alone, and its table is narrower than the others'.
    evaluation.params.catIds = [category["id"] for category in truth["categories"]]
    return _evaluated(evaluation)


def _indexed(program: Callable[[], Any], truth: Truth, results: list[dict[str, Any]]) -> tuple[Any, Any]:
    """Return both sides as a program's objects; it writes into what it is given.

    Each needs its own: faster-coco-eval asks pycocotools' for what they have not, but for keypoints alone.
    """
    gt = program()
    gt.dataset = copy.deepcopy(truth)
    gt.createIndex()
    return gt, gt.loadRes(copy.deepcopy(results))


def _evaluated(evaluation: Any) -> np.ndarray:
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])


Table = Callable[[Truth, list[dict[str, Any]], str], np.ndarray]
TABLES: dict[Evaluator, Table] = {
    "hotcoco": _by_hotcoco,
    "faster-coco-eval": _by_faster_coco_eval,
    "pycocotools": _by_pycocotools,
}
