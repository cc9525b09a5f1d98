"""COCO's scores by the three programs, on made-up images of what they might see differently.

pycocotools is the reference: the whole tables of precision behind the numbers are compared, not the means alone.
"""

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as _run_lengths

from twinbench.data.objects.packed import Record, Records
from twinbench.detection.evaluation.coco import (
    IOU_TYPES,
    TABLES,
    coco_results,
    coco_scores,
    collecting_nothing,
    ground_truth,
)
from twinbench.detection.evaluation.predictions import Detections, Predictions, wide
from twinbench.runtime.progress import JsonLog

run_lengths: Any = _run_lengths  # its types know only the compressed form
SIDE, KEYPOINTS = 160, 17
CLASSES = ("ant", "bee", "cow", "dog")


@dataclass(frozen=True)
class Kind:
    """What a made-up data set has; by default nothing that is rare."""

    images: int = 8
    objects: int = 6  # at most, an image
    detections: int = 20  # an image
    classes: int = 4  # that objects are of; detections are of all
    decimals: int = 6  # of scores
    crowds: int = 10**6  # a crowd in so many objects
    polygons: float = 0.0  # the share of objects with outlines, the others have run lengths
    empty: int = 10**6  # one in so many images is without objects, and the next one without detections


KINDS = {
    "plain": Kind(),
    "equal scores": Kind(decimals=1),
    "one score": Kind(decimals=0),
    "crowds": Kind(crowds=3),
    "polygons": Kind(polygons=1.0),
    "polygons and run lengths": Kind(polygons=0.5, crowds=4),
    "classes without objects": Kind(classes=2),
    "empty images": Kind(images=12, empty=3),
    "more than 100 detections": Kind(images=4, detections=180, decimals=2),
    "all of it": Kind(images=12, detections=130, classes=3, decimals=1, crowds=4, polygons=0.5, empty=4),
}


def corners(rng: np.random.Generator) -> np.ndarray:
    """Return a box of 4 to 150 pixels a side: all of COCO's sizes."""
    sides = np.exp(rng.uniform(np.log(4), np.log(150), 2))
    low = rng.uniform(0, 1, 2) * (SIDE - sides)
    return np.concatenate([low, low + sides]).round(1)


def outline(box: np.ndarray) -> list[float]:
    """Return a shape of six corners in a box."""
    left, top, right, bottom = box.tolist()
    middle = (top + bottom) / 2
    upper = [left + (right - left) / 4, top, right - (right - left) / 4, top]
    lower = [right - (right - left) / 4, bottom, left + (right - left) / 4, bottom]
    return [*upper, right, middle, *lower, left, middle]


def coded(box: np.ndarray) -> dict[str, Any]:
    """Return that shape's run lengths."""
    (found,) = run_lengths.frPyObjects([outline(box)], SIDE, SIDE)
    return {"size": [SIDE, SIDE], "counts": found["counts"].decode()}


def points(box: np.ndarray, rng: np.random.Generator, third: np.ndarray) -> list[float]:
    """Return keypoints within a box, each with its third value."""
    places = box[:2] + rng.uniform(0, 1, (KEYPOINTS, 2)) * (box[2:] - box[:2])
    return np.concatenate([places.round(1), third[:, None]], 1).ravel().tolist()


def thing(box: np.ndarray, label: int, kind: Kind, rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Return one object."""
    is_crowd = number % kind.crowds == kind.crowds - 1
    mask = [outline(box)] if rng.random() < kind.polygons and not is_crowd else coded(box)
    sides = (box[2:] - box[:2]).round(1)
    seen = rng.choice([0, 1, 2], KEYPOINTS) * (number % 4 != 3)  # one person in four has no keypoint labelled
    made = {"bbox": [*box[:2].tolist(), *sides.tolist()], "bbox_mode": 1, "category_id": label}
    made |= {"iscrowd": int(is_crowd), "area": float(0.75 * sides.prod()), "id": number}
    return made | {"segmentation": mask, "keypoints": points(box, rng, seen)}


def found(near: dict[str, Any] | None, kind: Kind, rng: np.random.Generator) -> dict[str, Any]:
    """Return a detection near an object, or anywhere."""
    box, label = corners(rng), int(rng.integers(len(CLASSES)))
    if near:
        left, top, width, height = near["bbox"]
        moved = np.array([left, top, left + width, top + height]) + rng.normal(0, 0.06, 4) * max(width, height)
        box = np.sort(moved.clip(0, SIDE).reshape(2, 2), axis=0).ravel().round(1)
        label = near["category_id"]
    keypoints = points(box, rng, rng.random(KEYPOINTS))
    if near:
        places = np.array(near["keypoints"]).reshape(-1, 3)[:, :2] + rng.normal(0, 2, (KEYPOINTS, 2))
        keypoints = np.concatenate([places, rng.random((KEYPOINTS, 1))], 1).ravel().tolist()
    one = {"category_id": label, "bbox": box.tolist(), "score": round(float(rng.random()), kind.decimals)}
    return one | {"segmentation": coded(box), "keypoints": keypoints}


def made_up(kind: Kind, seed: int) -> tuple[Records, list[Detections]]:
    """Return images and what is found on them."""
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    predictions: list[Detections] = []
    number = 0
    for image in range(kind.images):
        things: list[dict[str, Any]] = []
        for _ in range(0 if image % kind.empty == 1 else rng.integers(1, kind.objects + 1)):
            things.append(thing(corners(rng), int(rng.integers(kind.classes)), kind, rng, number))
            number += 1
        name = {"file_name": f"/{image}.jpg", "image_id": image, "width": SIDE, "height": SIDE}
        records.append(name | {"annotations": things})
        near = [*things, *things[::2]]  # some objects are found twice
        near = [*near, *[None] * kind.detections][: kind.detections]
        predictions.append([] if image % kind.empty == 2 else [found(each, kind, rng) for each in near])
    return Records.of(records), predictions


@pytest.mark.parametrize("measure", ["box", "mask", "keypoint"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("program", ["hotcoco", "faster-coco-eval"])
def test_each_precision_is_that_of_the_reference(program: Any, kind: str, measure: str) -> None:
    for seed in range(2):
        records, predictions = made_up(KINDS[kind], seed)
        truth, results = ground_truth(records, CLASSES), coco_results(predictions, measure)
        expected = TABLES["pycocotools"](truth, results, IOU_TYPES[measure])
        table = TABLES[program](truth, results, IOU_TYPES[measure])
        np.testing.assert_allclose(table, expected, rtol=0, atol=1e-12)
        assert 0.002 < expected[expected > -1].mean() < 0.98


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("program", ["hotcoco", "faster-coco-eval"])
def test_each_number_told_is_that_of_the_reference(program: Any, kind: str) -> None:
    records, predictions = made_up(KINDS[kind], seed=5)
    measures = ("box", "mask", "keypoint")
    expected = coco_scores(records, predictions, CLASSES, measures, "pycocotools")
    scores = coco_scores(records, predictions, CLASSES, measures, program)
    assert scores.metrics == pytest.approx(expected.metrics, abs=1e-9)
    assert scores.notes == expected.notes
    for name, values in expected.per_class.items():
        assert scores.per_class[name] == pytest.approx(values, abs=1e-9)


def test_made_up_images_have_what_they_are_named_for() -> None:
    records, predictions = made_up(KINDS["all of it"], seed=0)
    things = [each for record in records for each in record["annotations"]]
    assert {each["iscrowd"] for each in things} == {0, 1}
    assert {type(each["segmentation"]) for each in things} == {list, dict}
    assert {each["category_id"] for each in things} == {0, 1, 2}
    assert min(len(record["annotations"]) for record in records) == 0
    assert {len(each) for each in predictions} == {0, 130}
    assert len({each["score"] for those in predictions for each in those}) == 11


# --- predictions on disk


def test_width_is_subtracted_in_the_networks_type() -> None:
    left, right = np.float32(0.1), np.float32(100.7)
    one = {"bbox": [float(left), 0.0, float(right), 2.0]}
    assert wide([one]) == [[float(left), 0.0, float(right - left), 2.0]]
    assert float(right) - float(left) != float(right - left)


def test_an_image_without_detections_has_no_boxes() -> None:
    assert wide([]) == []


def written(path: Any, owner: dict[str, Any], images: list[int]) -> None:
    """Write a process's file of predictions: on each image one detection, of the image's number as class."""
    log = JsonLog(path)
    log.write(owner=owner)
    for image in images:
        log.write(index=image, detections=[{"category_id": image, "bbox": [0, 0, 1, 1], "score": 0.5}])


def test_predictions_of_several_processes_come_in_the_order_of_the_images(tmp_path: Any) -> None:
    written(tmp_path / "rank0.jsonl", {"run": 1}, [4, 0, 2])
    written(tmp_path / "rank1.jsonl", {"run": 1}, [1, 3])
    predictions = Predictions(tmp_path, {"run": 1}, 5)
    assert [each[0]["category_id"] for each in predictions] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("first", ["", "\n", '{"owner": {"run"', "[1]\n", "\xff\n", '{"owner": {"run": 2}}\n'])
def test_a_file_whose_first_line_is_not_its_owners_holds_nothing(tmp_path: Any, first: str) -> None:
    path = tmp_path / "rank0.jsonl"
    written(path, {"run": 1}, [0])
    lines = path.read_bytes().split(b"\n", 1)[1]
    path.write_bytes(first.encode("latin-1") + lines)
    assert Predictions(tmp_path, {"run": 1}, 1).missing == [0]


@pytest.mark.parametrize("was_on", [True, False])
def test_the_search_for_cycles_is_as_it_was_also_after_an_error(was_on: bool) -> None:
    (gc.enable if was_on else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), collecting_nothing():
            assert not gc.isenabled()
            _ = 1 / 0
        assert gc.isenabled() == was_on
    finally:
        gc.enable()
