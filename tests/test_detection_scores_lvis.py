"""LVIS's scores against the program of its authors, on made-up images with ties, crowds and classes not looked for."""

import logging
from typing import Any

import numpy as np
import pytest

from twinbench.data.objects.packed import Records
from twinbench.detection.evaluation.coco import coco_results
from twinbench.detection.evaluation.lvis import lvis_scores, lvis_truth

CLASSES = ("ant", "bee", "cow", "dog", "elk", "fox")
FREQUENCIES = ("r", "c", "f", "r", "f", "c")
SIDE = 120


def rectangle(box: np.ndarray) -> dict[str, Any]:
    """Return the run lengths of a box of corners."""
    from pycocotools import mask

    left, top, right, bottom = box.round().astype(int)
    pixels = np.zeros((SIDE, SIDE), np.uint8, order="F")
    pixels[top:bottom, left:right] = 1
    coded: Any = mask.encode(pixels)
    return {"size": [SIDE, SIDE], "counts": coded["counts"].decode()}


def corners(rng: np.random.Generator) -> np.ndarray:
    """Return a box of 4 to 110 pixels a side, small ones included."""
    sides = np.exp(rng.uniform(np.log(4), np.log(110), 2)).round()
    low = (rng.uniform(0, 1, 2) * (SIDE - sides)).round()
    return np.concatenate([low, low + sides])


def thing(box: np.ndarray, label: int, number: int, is_polygon: bool) -> dict[str, Any]:
    """Return one object; every seventh is said to be a crowd, which LVIS does not know."""
    left, top, right, bottom = box.tolist()
    outline = [[left, top, right, top, right, bottom, left, bottom]]
    return {
        "bbox": [left, top, right - left, bottom - top],
        "bbox_mode": 1,
        "category_id": label,
        "iscrowd": int(number % 7 == 6),
        "area": (right - left) * (bottom - top),
        "segmentation": outline if is_polygon else rectangle(box),
        "id": number,
    }


def made_up(seed: int, images: int = 12, found: int = 25) -> tuple[Records, list[list[dict[str, Any]]]]:
    """Return images of five classes, the last without any object, and detections with many equal scores."""
    rng = np.random.default_rng(seed)
    records, predictions = list[dict[str, Any]](), list[list[dict[str, Any]]]()
    for image in range(images):
        boxes = [corners(rng) for _ in range(0 if image % 5 == 4 else rng.integers(1, 8))]
        things = [thing(box, int(rng.integers(5)), n, n % 2 == 0) for n, box in enumerate(boxes)]
        shown = {each["category_id"] for each in things}
        absent = [label for label in range(6) if label not in shown and rng.random() < 0.5]
        partly = [label for label in range(6) if rng.random() < 0.2]
        records.append(
            {"file_name": f"/{image}.jpg", "image_id": image, "width": SIDE, "height": SIDE, "annotations": things}
            | {"neg_category_ids": absent, "not_exhaustive_category_ids": partly}
        )
        near = [
            (np.clip(box + rng.normal(0, 2, 4).round(), 0, SIDE), each) for box, each in zip(boxes, things, strict=True)
        ]
        those = [(np.sort(box.reshape(2, 2), axis=0).ravel(), each["category_id"]) for box, each in near]
        those += [(corners(rng), int(rng.integers(6))) for _ in range(found)]
        detections = [
            {"category_id": label, "bbox": box.tolist(), "score": round(float(rng.random()), 1)}
            | {"segmentation": rectangle(box)}
            for box, label in those
        ]
        predictions.append([] if image % 6 == 5 else detections)
    return Records.of(records), predictions


def by_the_authors(
    records: Records, predictions: list[Any], measure: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, float]:
    """Return the APs of lvis 0.5.3 in percent, without those of no object (-1 there).

    It was written for a numpy that still had np.float.
    """
    from lvis import LVIS, LVISEval, LVISResults

    monkeypatch.setattr(np, "float", float, raising=False)
    reference: Any = LVIS.__new__(LVIS)
    reference.logger = logging.getLogger("lvis")
    reference.dataset = lvis_truth(records, CLASSES, FREQUENCIES)
    reference._create_index()
    results: Any = LVISResults(reference, coco_results(predictions, measure))
    evaluation: Any = LVISEval(reference, results, "bbox" if measure == "box" else "segm")
    evaluation.run()
    found = evaluation.get_results()
    return {name: 100 * value for name, value in found.items() if name.startswith("AP") and value > -1}


@pytest.mark.parametrize("measure", ["box", "mask"])
@pytest.mark.parametrize("seed", range(5))
def test_each_number_is_that_of_the_authors_program(measure: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    records, predictions = made_up(seed)
    expected = by_the_authors(records, predictions, measure, monkeypatch)
    found = lvis_scores(records, predictions, CLASSES, FREQUENCIES, [measure]).metrics
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("measure", ["box", "mask"])
def test_300_detections_of_an_image_count(measure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    records, predictions = made_up(9, images=3, found=400)
    expected = by_the_authors(records, predictions, measure, monkeypatch)
    found = lvis_scores(records, predictions, CLASSES, FREQUENCIES, [measure]).metrics
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_class_that_nobody_looked_for_is_not_counted_against_a_detector() -> None:
    box = np.array([10.0, 10, 60, 60])
    record = {
        "file_name": "/0.jpg",
        "image_id": 0,
        "width": SIDE,
        "height": SIDE,
        "annotations": [thing(box, 0, 0, True)],
    }
    other = record | {"annotations": [], "neg_category_ids": [], "not_exhaustive_category_ids": []}
    records = Records.of([record | {"neg_category_ids": [], "not_exhaustive_category_ids": []}, other])
    right = {"category_id": 0, "bbox": box.tolist(), "score": 0.5}
    wrong = right | {"score": 0.9}
    assert lvis_scores(records, [[right], [wrong]], CLASSES, FREQUENCIES, ["box"]).metrics["AP"] == pytest.approx(100)


def test_a_false_detection_of_a_class_that_is_absent_halves_precision() -> None:
    box = np.array([10.0, 10, 60, 60])
    record = {
        "file_name": "/0.jpg",
        "image_id": 0,
        "width": SIDE,
        "height": SIDE,
        "annotations": [thing(box, 0, 0, True)],
    }
    other = record | {"annotations": [], "neg_category_ids": [0], "not_exhaustive_category_ids": []}
    records = Records.of([record | {"neg_category_ids": [], "not_exhaustive_category_ids": []}, other])
    right = {"category_id": 0, "bbox": box.tolist(), "score": 0.5}
    wrong = right | {"score": 0.9}
    assert lvis_scores(records, [[right], [wrong]], CLASSES, FREQUENCIES, ["box"]).metrics["AP"] == pytest.approx(50)


def test_ap_of_rare_classes_is_the_mean_of_their_classes() -> None:
    records, predictions = made_up(1)
    scores = lvis_scores(records, predictions, CLASSES, FREQUENCIES, ["box", "mask"])
    rare = [scores.per_class["mask-AP"][name] for name in ("ant", "dog")]
    assert scores.metrics["mask-APr"] == pytest.approx(np.mean(rare))


def test_detections_of_no_area_alone_are_told_as_none() -> None:
    records, _ = made_up(0, images=2)
    flat = {"category_id": 0, "bbox": [5.0, 5.0, 5.0, 50.0], "score": 0.5}
    scores = lvis_scores(records, [[flat], []], CLASSES, FREQUENCIES, ["box"])
    assert scores.notes == ["no box was detected at all: AP is 0"]
