"""VOC's scores against Detectron2's own evaluation, on many small made-up data sets."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.evaluation.pascal_voc_evaluation import voc_eval

from twinbench.data.objects.packed import Record, Records
from twinbench.data.objects.split import Rule
from twinbench.detection.evaluation.predictions import Detections
from twinbench.detection.evaluation.voc import voc_scores

CLASSES = ("ant", "bee", "cow")
SIDE, IMAGES = 60, 8
THRESHOLDS = np.arange(50, 100, 5) / 100


def made_up(seed: int) -> tuple[list[Record], list[Detections]]:
    """Return images of a few objects, some difficult, one of them empty; each is found once, twice or not, by chance.

    No two scores are equal in the three decimals that Detectron2 writes: it sorts them by an unstable method.
    """
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    boxes: list[list[tuple[np.ndarray, int]]] = []
    for image in range(IMAGES):
        things: list[dict[str, Any]] = []
        near: list[tuple[np.ndarray, int]] = []
        for _ in range(rng.integers(1, 6) if image else 0):
            box, label = corners(rng), int(rng.integers(len(CLASSES)))
            hard = int(rng.random() < 0.2)
            things.append({"bbox": box.tolist(), "bbox_mode": 0, "category_id": label, "iscrowd": 0, "difficult": hard})
            near += [(moved(box, rng), label)] * int(rng.random() < 0.8)
            near += [(moved(box, rng), label)] * int(rng.random() < 0.4)
        near += [(corners(rng), int(rng.integers(len(CLASSES)))) for _ in range(rng.integers(3))]
        boxes.append(near)
        name = {"file_name": f"/{image}.jpg", "image_id": f"{image:06d}", "width": SIDE, "height": SIDE}
        records.append(name | {"annotations": things})
    scores = iter((rng.permutation(999) + 1).tolist())
    predictions: list[Detections] = []
    for those in boxes:
        predictions.append(
            [{"category_id": label, "bbox": box.tolist(), "score": next(scores) / 1000} for box, label in those]
        )
    return records, predictions


def corners(rng: np.random.Generator) -> np.ndarray:
    """Return a box of whole pixels, the first of which is 0 as Detectron2's reader has them."""
    low = rng.integers(0, SIDE - 8, 2)
    high = np.minimum(low + rng.integers(6, 40, 2), SIDE)
    return np.concatenate([low, high]).astype(float)


def moved(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a box near another one, in the network's type."""
    return (box + rng.normal(0, 0.06, 4) * (box[2:] - box[:2]).max()).astype(np.float32)


def write_xml(record: Record, folder: Path) -> None:
    """Write an image's objects as VOC has them, the first pixel of which is 1."""
    root = ElementTree.Element("annotation")
    for thing in record["annotations"]:
        left, top, right, bottom = (int(value) for value in thing["bbox"])
        one = ElementTree.SubElement(root, "object")
        told: dict[str, object] = {"name": CLASSES[thing["category_id"]], "pose": "", "truncated": 0}
        for key, value in (told | {"difficult": thing["difficult"]}).items():
            ElementTree.SubElement(one, key).text = str(value)
        sides = ElementTree.SubElement(one, "bndbox")
        for key, value in {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}.items():
            ElementTree.SubElement(sides, key).text = str(value)
    ElementTree.ElementTree(root).write(folder / f"{record['image_id']}.xml")


def write_found(records: list[Record], predictions: list[Detections], folder: Path) -> None:
    """Write a file of each class's detections as Detectron2's evaluator does."""
    lines: dict[str, list[str]] = {name: [] for name in CLASSES}
    for record, found in zip(records, predictions, strict=True):
        for one in found:
            box = np.array(one["bbox"], np.float32)
            box[:2] += 1
            told = " ".join(f"{value:.1f}" for value in box)
            lines[CLASSES[one["category_id"]]].append(f"{record['image_id']} {one['score']:.3f} {told}")
    for name, those in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(those))


def by_detectron2(records: list[Record], predictions: list[Detections], rule: Rule, folder: Path) -> np.ndarray:
    """Return Detectron2's AP in percent of each class at each threshold (C, T)."""
    for record in records:
        write_xml(record, folder)
    write_found(records, predictions, folder)
    (folder / "test.list").write_text("\n".join(record["image_id"] for record in records))
    aps = np.zeros((len(CLASSES), len(THRESHOLDS)))
    for row, name in enumerate(CLASSES):
        for column, threshold in enumerate(THRESHOLDS):
            found, truth, images = (str(folder / part) for part in ("{}.txt", "{}.xml", "test.list"))
            by_11_points = rule == "voc-11-points"
            _, _, aps[row, column] = voc_eval(found, truth, images, name, threshold, use_07_metric=by_11_points)
    return 100 * aps


@pytest.mark.parametrize("rule", ["voc-11-points", "voc-area"])
@pytest.mark.parametrize("seed", range(20))
def test_each_ap_is_detectron2s(seed: int, rule: Rule, tmp_path: Path) -> None:
    records, predictions = made_up(seed)
    aps = by_detectron2(records, predictions, rule, tmp_path)
    scores = voc_scores(Records.of(records), predictions, CLASSES, rule)
    assert scores.per_class["AP50"] == pytest.approx(dict(zip(CLASSES, aps[:, 0], strict=True)), abs=1e-9)
    expected = {"AP": aps.mean(), "AP50": aps[:, 0].mean(), "AP75": aps[:, 5].mean()}
    assert scores.metrics == pytest.approx(expected, abs=1e-9)
    assert 5 < expected["AP"] < 95
