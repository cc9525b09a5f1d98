"""What COCO's AP costs from records and predictions on disk to scores, beside pycocotools on the same.

val2017 is made up: as many images and objects, outlines of 4 to 40 corners, a crowd in a hundred objects, and for each
image 25 detections, true ones displaced and others anywhere, with run lengths as the masks of networks have. Keypoints
are of fewer images. One thread, CPU seconds.

preparation   reading records and predictions, and COCO's form of both
program       what hotcoco takes from there on; of pycocotools its index, evaluate and accumulate, without a copy
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from pycocotools import mask as _run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from twinbench.data.objects.packed import Record, Records
from twinbench.detection.evaluation import coco
from twinbench.detection.evaluation.predictions import Detections, Predictions
from twinbench.detection.evaluation.scores import Scores
from twinbench.protocols.kinds.detector import Evaluator
from twinbench.runtime.progress import JsonLog

run_lengths: Any = _run_lengths  # its types know only the compressed form
HEIGHT, WIDTH = 480, 640
IMAGES, OBJECTS, CLASSES, DETECTIONS = 5000, 36_335, 80, 25  # of val2017: its annotations have 36,335 that are no crowd
PEOPLE = 1000  # images of people; keypoints of people are measured on 2,693 images of val2017
CROWDS = 100  # a crowd in so many objects
LEAST_TIMES = 50.0  # pycocotools' CPU seconds, our preparation counted
MOST_APART = 1e-9
OWNER = {"benchmark": "evaluation"}


@dataclass(frozen=True)
class Case:
    """Made-up data and what is measured on them."""

    name: str
    images: int
    objects: int  # of all images
    detections: int  # of each image
    classes: int
    measures: tuple[str, ...]


CASES = (
    Case("boxes", IMAGES, OBJECTS, DETECTIONS, CLASSES, ("box",)),
    Case("boxes and masks", IMAGES, OBJECTS, DETECTIONS, CLASSES, ("box", "mask")),
    Case("boxes and keypoints", PEOPLE, 4 * PEOPLE, 10, 1, ("box", "keypoint")),
)


def main() -> int:
    """Print the figures; return 1 if a target is missed."""
    if find_spec("hotcoco") is None:
        print("evaluation: hotcoco is not installed, not measured; run: make setup")
        return 0
    os.environ |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    missed = [measured(case) for case in CASES]
    return int(any(missed))


def measured(case: Case) -> bool:
    """Print what both programs take for a case; return True if it misses a target."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        write(case, folder)
        clock = Clock()
        ours = scores(case, folder, "hotcoco", clock)
        reference = Clock()
        theirs = scores(case, folder, "pycocotools", reference)
    ratio = reference.program / clock.whole
    apart = max(abs(ours.metrics[name] - value) for name, value in theirs.metrics.items())
    print(f"evaluation: {case.name}, {case.images:,} images, {case.objects:,} objects, ", end="")
    told = ", ".join(f"{name} {value:.1f}" for name, value in theirs.metrics.items())
    print(f"{case.images * case.detections:,} detections: {told}")
    print(
        f"evaluation: {case.name}: pycocotools {reference.program:.2f} CPU s; hotcoco {clock.program:.2f} and ", end=""
    )
    print(
        f"preparation {clock.preparation:.2f}, together {clock.whole:.2f}: {ratio:.0f}x (target {LEAST_TIMES:g}x), ",
        end="",
    )
    print(f"the program alone {reference.program / clock.program:.0f}x; ", end="")
    print(f"largest difference {apart:.1g} (target {MOST_APART:g})", flush=True)
    return ratio < LEAST_TIMES or apart > MOST_APART


# --- both programs


class Clock:
    """The CPU seconds of an evaluation: all of it, and what the program itself takes of them."""

    whole = program = 0.0

    @property
    def preparation(self) -> float:
        """What is not the program's."""
        return self.whole - self.program

    def timed(self, table: coco.Table) -> coco.Table:
        """Return `table`, whose seconds count as the program's."""

        def run(*given: Any) -> np.ndarray:
            began = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                found = table(*given)
            self.program += time.process_time() - began
            return found

        return run


def scores(case: Case, folder: Path, evaluator: Evaluator, clock: Clock) -> Scores:
    """Return the scores of what lies in `folder`."""
    table = reference if evaluator == "pycocotools" else coco.TABLES[evaluator]
    classes = [str(number) for number in range(case.classes)]
    began = time.process_time()
    records = Records.open(folder / "test.records")
    predictions = Predictions(folder, OWNER, case.images)
    with mock.patch.dict(coco.TABLES, {evaluator: clock.timed(table)}):
        found = coco.coco_scores(records, predictions, classes, case.measures, evaluator)
    clock.whole += time.process_time() - began
    return found


def reference(truth: coco.Truth, results: Sequence[dict[str, Any]], iou_type: str) -> np.ndarray:
    """Return pycocotools' table; what it writes into the truth does no harm to the measure after it."""
    data: Any = COCO()
    data.dataset = truth
    data.createIndex()
    program: Any = COCOeval
    evaluation = program(data, data.loadRes(results), iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])


# --- made-up data


def write(case: Case, folder: Path) -> None:
    """Write records and predictions of a case, those as a trial has them on disk."""
    rng = np.random.default_rng(0)
    Records.pack(images(case, rng), folder / "test.records")
    log = JsonLog(folder / "rank0.jsonl")
    log.write(owner=OWNER)
    for index, record in enumerate(Records.open(folder / "test.records")):
        log.write(index=index, detections=detections(case, record, rng))


def images(case: Case, rng: np.random.Generator) -> Iterator[Record]:
    """Yield the images with their objects."""
    counts = np.bincount(rng.integers(0, case.images, case.objects), minlength=case.images)
    number = 0
    for image, count in enumerate(counts):
        things: list[dict[str, Any]] = []
        for _ in range(count):
            number += 1
            crowd = case.classes > 1 and number % CROWDS == 0
            things.append(thing(outline(rng), int(rng.integers(case.classes)), crowd=crowd) | {"id": number})
        for one in things if "keypoint" in case.measures else ():
            one["keypoints"] = points(box_of(np.array(one["segmentation"][0]).reshape(-1, 2)), rng)
        name = f"/coco/val2017/{image:012d}.jpg"
        yield {"file_name": name, "image_id": image, "width": WIDTH, "height": HEIGHT, "annotations": things}


def outline(rng: np.random.Generator) -> np.ndarray:
    """Return the corners (N, 2) of a rough round shape, from small to large as COCO's objects are."""
    corners = int(rng.integers(4, 41))
    sides = np.exp(rng.uniform(np.log(8), np.log(300), 2))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.35, 0.5, corners)
    centre = sides / 2 + rng.uniform(0, 1, 2) * ((WIDTH, HEIGHT) - sides)
    return (centre + sides * radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)).round(2)


def box_of(corners: np.ndarray) -> list[float]:
    """Return left, top, width and height of a shape."""
    low, high = corners.min(0), corners.max(0)
    return [*low.tolist(), *(high - low).round(2).tolist()]


def thing(corners: np.ndarray, label: int, *, crowd: bool = False) -> dict[str, Any]:
    """Return an object as COCO's reader does; a crowd has run lengths."""
    box = box_of(corners)
    mask = coded(corners) if crowd else [corners.ravel().tolist()]
    area = round(0.8 * box[2] * box[3], 4)
    made = {"bbox": box, "bbox_mode": 1, "category_id": label, "iscrowd": int(crowd), "area": area}
    return made | {"segmentation": mask}


def coded(corners: np.ndarray) -> dict[str, Any]:
    """Return the run lengths of a shape."""
    (found,) = run_lengths.frPyObjects([corners.ravel().tolist()], HEIGHT, WIDTH)
    return {"size": [HEIGHT, WIDTH], "counts": found["counts"].decode()}


def points(box: list[float], rng: np.random.Generator) -> list[float]:
    """Return 17 keypoints within a box, a third of them not labelled."""
    seen = rng.choice([0, 1, 2], 17)
    places = (np.array(box[:2]) + rng.uniform(0, 1, (17, 2)) * box[2:]).round(1)
    return np.concatenate([places * (seen > 0)[:, None], seen[:, None]], 1).ravel().tolist()


def detections(case: Case, record: Record, rng: np.random.Generator) -> Detections:
    """Return what a detector may find on an image: its objects, displaced, and shapes anywhere."""
    made: Detections = []
    true = [one for one in record["annotations"] if not one["iscrowd"]]
    for number in range(case.detections):
        near = true[number] if number < len(true) else None
        corners = np.array(near["segmentation"][0]).reshape(-1, 2) if near else outline(rng)
        corners = corners + rng.normal(0, 0.05, 2) * np.ptp(corners, 0)
        label = near["category_id"] if near else int(rng.integers(case.classes))
        left, top, width, height = box_of(corners)
        box = np.array([left, top, left + width, top + height], np.float32).tolist()  # the network's type
        one: dict[str, Any] = {"category_id": label, "bbox": box, "score": float(np.float32(rng.random()))}
        if "mask" in case.measures:
            one["segmentation"] = coded(corners)
        if "keypoint" in case.measures:
            one["keypoints"] = found_points(near, box, rng)
        made.append(one)
    return made


def found_points(near: dict[str, Any] | None, box: list[float], rng: np.random.Generator) -> list[float]:
    """Return 17 keypoints: those of an object, displaced, or anywhere in a box."""
    left, top, right, bottom = box
    sides = np.array([right - left, bottom - top])
    places = np.array([left, top]) + rng.uniform(0, 1, (17, 2)) * sides
    if near:
        places = np.array(near["keypoints"]).reshape(17, 3)[:, :2] + rng.normal(0, 0.03, (17, 2)) * sides
    sure = rng.random((17, 1))
    return np.concatenate([places, sure], 1).astype(np.float32).ravel().tolist()


if __name__ == "__main__":
    sys.exit(main())
