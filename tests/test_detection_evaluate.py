"""Average precision, against a second computation from the definitions, and the cases without a number."""

import json
import os
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import register_coco_instances, register_pascal_voc
from detectron2.evaluation import COCOEvaluator, PascalVOCDetectionEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, Instances

from twinbench.detection.datasets import open_data
from twinbench.detection.evaluation.evaluate import computed_by, scored
from twinbench.detection.evaluation.predictions import detections_of, write_results
from twinbench.protocols.catalogue import find_protocol
from twinbench.report.provenance import versions

VOC, COCO = find_protocol("demo-voc0712-frcnn-c4"), find_protocol("demo-coco-mrcnn-c4-1x")


def instances(detections, size=96):
    """Return Detectron2's Instances of [(box, class, score), ...], each with its box as mask."""
    found = Instances((size, size))
    boxes = [box for box, _, _ in detections]
    found.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.pred_classes = torch.tensor([label for _, label, _ in detections], dtype=torch.int64)
    found.scores = torch.tensor([score for _, _, score in detections])
    masks = torch.zeros(len(detections), size, size, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[round(y1) : round(y2), round(x1) : round(x2)] = True
    found.pred_masks = masks
    return found


def measure(data, detections, evaluator="hotcoco"):
    """Score {image id: [(box, class, score), ...]}, of masks where the data are COCO's."""
    predictions = [detections_of(instances(detections.get(record["image_id"], []))) for record in data.test]
    return scored(data, predictions, ("box", "mask"), evaluator)


def noisy(data, seed):
    """Return detections near the true boxes and elsewhere, some of the wrong class, no two scores equal."""
    rng = np.random.default_rng(seed)
    made = []
    for record in data.test:
        for thing in record["annotations"]:
            box = np.array(thing["bbox"], dtype=float)
            if thing["bbox_mode"] == 1:  # x, y, width, height
                box[2:] += box[:2]
            for spread in (1.5, 4.0):
                label = thing["category_id"] if rng.random() < 0.8 else int(rng.integers(10))
                near = (box + rng.normal(0, spread, 4)).clip(0, 95).reshape(2, 2)
                made.append((record["image_id"], np.sort(near, 0), label))
        made.append((record["image_id"], np.sort(rng.uniform(0, 95, (2, 2)), 0), int(rng.integers(10))))
    scores = rng.permutation(999)[: len(made)] / 1000 + 0.001
    found = {}
    for (image, corners, label), score in zip(made, scores, strict=True):
        found.setdefault(image, []).append((np.round(corners.ravel(), 1).tolist(), label, float(score)))
    return found


# --- VOC, from the definition: Everingham et al. 2010, section 4.2, with 11 points


def voc_truth(root, image):
    for thing in ElementTree.parse(root / "VOC2007" / "Annotations" / f"{image}.xml").findall("object"):
        box = [int(thing.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
        yield thing.findtext("name"), box, thing.findtext("difficult") == "1"


def voc_overlap(a, b):
    """Return the intersection over union of two boxes of whole pixels, both ends included."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def voc_ap(truth, detections, threshold):
    """truth {image: [(box, difficult), ...]}, detections [(score, image, box), ...] of one class -> AP in percent."""
    positives = sum(not difficult for things in truth.values() for _, difficult in things)
    taken, hits, alarms, points = set(), 0, 0, []
    for _, image, box in sorted(detections, reverse=True):
        overlaps = [voc_overlap(box, true) for true, _ in truth.get(image, [])]
        best = max(range(len(overlaps)), key=overlaps.__getitem__) if overlaps else None
        if best is not None and overlaps[best] > threshold:
            if truth[image][best][1]:
                continue  # difficult: neither right nor wrong
            hits, alarms = (hits + 1, alarms) if (image, best) not in taken else (hits, alarms + 1)
            taken.add((image, best))
        else:
            alarms += 1
        points.append((hits / positives, hits / (hits + alarms)) if positives else (0, 0))
    # 3 * 0.1 is a little more than 3 / 10: a recall of exactly .3 is not at the level .3, nor is it in the usual code.
    return 100 * sum(max((p for r, p in points if r >= k * 0.1), default=0) for k in range(11)) / 11


@pytest.mark.parametrize("seed", [0, 1])
def test_voc_ap_agrees_with_a_second_computation(scenes, seed):
    root = scenes / "VOCdevkit"
    data = open_data(VOC, root)
    detections = noisy(data, seed)
    scores = measure(data, detections)
    xml = {record["image_id"]: list(voc_truth(root, record["image_id"])) for record in data.test}
    expected = {}
    for threshold in np.arange(50, 100, 5) / 100:
        for label, name in enumerate(data.classes):
            truth = {
                image: [(box, hard) for found, box, hard in things if found == name] for image, things in xml.items()
            }
            boxes = [
                (round(score, 3), image, [round(box[0] + 1, 1), round(box[1] + 1, 1), box[2], box[3]])
                for image, found in detections.items()
                for box, guess, score in found
                if guess == label
            ]
            expected[threshold, name] = voc_ap(truth, boxes, threshold)
    mean = {t: np.mean([expected[t, name] for name in data.classes]) for t in {t for t, _ in expected}}
    assert scores.metrics["AP50"] == pytest.approx(mean[0.5], abs=1e-9)
    assert scores.metrics["AP75"] == pytest.approx(mean[0.75], abs=1e-9)
    assert scores.metrics["AP"] == pytest.approx(np.mean(list(mean.values())), abs=1e-9)
    for name, value in scores.per_class["AP50"].items():
        assert value == pytest.approx(expected[0.5, name], abs=1e-9)
    assert 5 < scores.metrics["AP"] < scores.metrics["AP50"] < 95  # neither trivial


def test_voc_half_of_the_objects_found_is_six_of_eleven_points(scenes, tmp_path):
    root = shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit")
    data = open_data(VOC, root)
    label = data.classes.index("five")
    boxes = [
        (record["image_id"], [box[0] - 1, box[1] - 1, box[2], box[3]])
        for record in data.test
        for name, box, hard in voc_truth(root, record["image_id"])
        if name == "five" and not hard
    ]
    assert len(boxes) >= 2
    while len(boxes) % 2:
        boxes.pop()
    found = {}
    for image, box in boxes[: len(boxes) // 2]:
        found.setdefault(image, []).append((box, label, 0.9))
    scores = measure(data, found)
    total = sum(name == "five" and not hard for r in data.test for name, _, hard in voc_truth(root, r["image_id"]))
    levels = sum(len(boxes) // 2 / total >= k * 0.1 for k in range(11))
    assert scores.per_class["AP50"]["five"] == pytest.approx(100 * levels / 11)
    curve = dict(map(tuple, scores.curves["precision-recall, box, IoU .5"]))
    assert curve[0.0] == pytest.approx(1 / len(scores.per_class["AP50"]), abs=1e-4)  # one class of all is perfect


def test_voc_class_without_a_test_object_is_said(scenes, tmp_path):
    root = shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit")
    data = open_data(VOC, root)
    for record in data.test:
        path = root / "VOC2007" / "Annotations" / f"{record['image_id']}.xml"
        path.write_text(path.read_text().replace("<name>four</name>", "<name>five</name>"))
    data = open_data(VOC, root)
    perfect = {
        record["image_id"]: [(thing["bbox"], thing["category_id"], 0.9) for thing in record["annotations"]]
        for record in data.test
    }
    scores = measure(data, perfect)
    assert any("no test object of four" in note and "as 0" in note for note in scores.notes)
    assert "four" not in scores.per_class["AP50"]
    assert scores.metrics["AP50"] == pytest.approx(90.0)  # nine perfect classes and a 0


# --- COCO, from the definition: cocodataset.org/#detection-eval


def coco_overlap(a, b, crowd):
    """Return intersection over union; over the first box alone where the second is a crowd."""
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (areas[0] if crowd else sum(areas) - width * height)


def coco_ap(truth, detections, threshold, low=0.0, high=1e10):
    """truth {image: [(box, crowd, area)]}, detections [(score, image, box)] of one class -> AP or None without truth.

    Objects out of [low, high] pixels and crowds are not counted; what is matched to one of them is not counted
    either, nor is an unmatched detection of another size.
    """
    counted = sum(not crowd and low <= area <= high for things in truth.values() for _, crowd, area in things)
    if not counted:
        return None
    taken, hits, alarms, points = set(), 0, 0, []
    for _, image, box in sorted(detections, reverse=True):
        free, other = None, None
        for k, (true, crowd, area) in enumerate(truth.get(image, [])):
            value = coco_overlap(box, true, crowd)
            if value < threshold or ((image, k) in taken and not crowd):
                continue
            if not crowd and low <= area <= high:
                free = (value, k) if free is None or value >= free[0] else free
            else:
                other = (value, k) if other is None or value >= other[0] else other
        if free:
            taken.add((image, free[1]))
            hits += 1
        elif other:
            taken.add((image, other[1]))
            continue
        elif low <= (box[2] - box[0]) * (box[3] - box[1]) <= high:
            alarms += 1
        else:
            continue
        points.append((hits / counted, hits / (hits + alarms)))
    levels = np.linspace(0, 1, 101)
    return 100 * float(np.mean([max((p for r, p in points if r >= level), default=0) for level in levels]))


@pytest.mark.parametrize("seed", [0, 1])
def test_coco_ap_agrees_with_a_second_computation(scenes, seed):
    data = open_data(COCO, scenes / "coco")
    detections = noisy(data, seed)
    scores = measure(data, detections)
    file = json.loads((scenes / "coco" / "annotations" / "instances_val2017.json").read_text())
    expected = {}
    for size, low, high in (("", 0, 1e10), ("s", 0, 32**2), ("m", 32**2, 96**2), ("l", 96**2, 1e10)):
        for threshold in np.linspace(0.5, 0.95, 10):
            for label in range(10):
                truth = {}
                for a in file["annotations"]:
                    if a["category_id"] == label + 1:
                        x, y, w, h = a["bbox"]
                        truth.setdefault(a["image_id"], []).append(([x, y, x + w, y + h], a["iscrowd"], a["area"]))
                boxes = [
                    (score, image, np.float32(box).tolist())
                    for image, found in detections.items()
                    for box, guess, score in found
                    if guess == label
                ]
                expected[size, round(threshold, 2), label] = coco_ap(truth, boxes, threshold, low, high)

    def mean(size, thresholds):
        values = [v for (s, t, _), v in expected.items() if s == size and t in thresholds and v is not None]
        return np.mean(values) if values else None

    every = [round(t, 2) for t in np.linspace(0.5, 0.95, 10)]
    wanted = {"AP": mean("", every), "AP50": mean("", [0.5]), "AP75": mean("", [0.75])}
    wanted |= {f"AP{size}": mean(size, every) for size in "sml"}
    found = {name.removeprefix("box-"): value for name, value in scores.metrics.items() if name.startswith("box-")}
    assert found == pytest.approx({name: value for name, value in wanted.items() if value is not None}, abs=1e-9)
    assert 5 < found["AP"] < found["AP50"] < 95


def test_coco_size_ranges_without_an_object_are_left_out_and_said(scenes):
    data = open_data(COCO, scenes / "coco")
    scores = measure(data, noisy(data, 0))
    # no digit has 96 x 96 pixels
    assert "box-APs" in scores.metrics
    assert "box-APl" not in scores.metrics
    assert any("size range of box" in note and "APl" in note for note in scores.notes)
    json.dumps(scores.metrics, allow_nan=False)


def test_coco_without_any_detection_is_zero_and_said(scenes):
    data = open_data(COCO, scenes / "coco")
    scores = measure(data, {})
    assert scores.metrics == {f"{kind}-{name}": 0.0 for kind in ("box", "mask") for name in ("AP", "AP50", "AP75")}
    assert "no box was detected at all: AP is 0" in scores.notes


def tied_and_crowded(data, coco):
    """Return detections with many equal scores; turn every fifth test object of the folder `coco` into a crowd."""
    path = coco / "annotations" / "instances_val2017.json"
    file = json.loads(path.read_text())
    for thing in file["annotations"][::5]:
        x, y, w, h = (round(value) for value in thing["bbox"])
        mask = np.zeros((96, 96), dtype=bool)
        mask[y : y + h, x : x + w] = True
        runs = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=False, append=True))
        thing |= {"iscrowd": 1, "segmentation": {"size": [96, 96], "counts": np.diff(runs, prepend=0).tolist()}}
    path.write_text(json.dumps(file))
    return {
        image: [(box, label, round(score, 1)) for box, label, score in found] for image, found in noisy(data, 2).items()
    }


@pytest.mark.parametrize("program", ["hotcoco", "faster-coco-eval"])
def test_the_faster_evaluations_of_coco_agree_with_the_official_one(scenes, tmp_path, program):
    if find_spec(program.replace("-", "_")) is None:
        assert not os.environ.get("CI"), f"CI must install {program}"
        pytest.skip(f"{program} is not installed; run: make setup")
    root = shutil.copytree(scenes / "coco", tmp_path / "coco")
    detections = tied_and_crowded(open_data(COCO, root), root)
    data = open_data(COCO, root)
    official = measure(data, detections, "pycocotools")
    faster = measure(data, detections, program)
    assert faster.metrics == pytest.approx(official.metrics, abs=1e-9)
    assert faster.per_class.keys() == official.per_class.keys()
    for name, values in official.per_class.items():
        assert faster.per_class[name] == pytest.approx(values, abs=1e-9)
    assert faster.notes == official.notes
    for name, points in official.curves.items():
        assert np.abs(np.array(faster.curves[name]) - points).max() < 2e-4  # they are rounded to four decimals
    assert 5 < official.metrics["box-AP"] < 95
    assert 5 < official.metrics["mask-AP"] < 95


# --- Detectron2's own evaluators, on the same detections


def by_detectron2(evaluator, data, detections):
    """Send detections through one of Detectron2's evaluators; return its numbers."""
    evaluator.reset()
    for record in data.test:
        evaluator.process([record], [{"instances": instances(detections.get(record["image_id"], []))}])
    return evaluator.evaluate()


def test_coco_scores_are_detectron2s(scenes, tmp_path):
    root = shutil.copytree(scenes / "coco", tmp_path / "coco")
    detections = tied_and_crowded(open_data(COCO, root), root)
    data = open_data(COCO, root)
    name = f"coco of {root}"
    register_coco_instances(name, {}, str(root / "annotations/instances_val2017.json"), str(root / "val2017"))
    DatasetCatalog.get(name)  # from here on it knows the categories' ids
    theirs = by_detectron2(COCOEvaluator(name, tasks=("bbox", "segm"), use_fast_impl=False), data, detections)
    ours = measure(data, detections)
    for kind, measured in (("box", "bbox"), ("mask", "segm")):
        expected = {key: value for key, value in theirs[measured].items() if not np.isnan(value)}
        found = {key.removeprefix(f"{kind}-"): value for key, value in ours.metrics.items() if key.startswith(kind)}
        found |= {f"AP-{key}": value for key, value in ours.per_class[f"{kind}-AP"].items()}
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("year", [2007, 2012])
@pytest.mark.parametrize("seed", [3, 4])
def test_voc_scores_are_detectron2s(scenes, year, seed):
    root = scenes / "VOCdevkit"
    data = replace(open_data(VOC, root), rule="voc-11-points" if year == 2007 else "voc-area")
    name = f"voc of {root} by {year}, {seed}"
    register_pascal_voc(name, str(root / "VOC2007"), "test", year, data.classes)
    detections = noisy(data, seed)
    theirs = by_detectron2(PascalVOCDetectionEvaluator(name), data, detections)["bbox"]
    assert measure(data, detections).metrics == pytest.approx(dict(theirs), abs=1e-9)


def test_results_are_what_detectron2_writes(scenes, tmp_path):
    data = open_data(COCO, scenes / "coco")
    found = noisy(data, 5)
    predictions = [detections_of(instances(found.get(record["image_id"], []))) for record in data.test]
    write_results(tmp_path / "results.json", predictions, data.test, data.category_ids)
    expected = []
    for record in data.test:
        theirs = instances_to_coco_json(instances(found.get(record["image_id"], [])), record["image_id"])
        expected += [{**each, "category_id": each["category_id"] + 1} for each in theirs]
    assert json.loads((tmp_path / "results.json").read_text()) == expected


def test_results_name_each_class_by_the_files_id(scenes, tmp_path):
    """COCO's 80 classes have ids up to 90: pycocotools takes results with numbers of our own for other classes."""
    root = shutil.copytree(scenes / "coco", tmp_path / "coco")
    for path in (root / "annotations").glob("*.json"):
        file = json.loads(path.read_text())
        for category in file["categories"]:
            category["id"] *= 7
        for annotation in file["annotations"]:
            annotation["category_id"] *= 7
        path.write_text(json.dumps(file))
    data = open_data(COCO, root)
    perfect = [[{**thing, "score": 1.0, "bbox": [0, 0, 9, 9]} for thing in r["annotations"]] for r in data.test]
    write_results(tmp_path / "results.json", perfect, data.test, data.category_ids)
    file = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    expected = sorted((each["image_id"], each["category_id"]) for each in file["annotations"])
    found = json.loads((tmp_path / "results.json").read_text())
    assert sorted((each["image_id"], each["category_id"]) for each in found) == expected


@pytest.mark.parametrize("package", ["hotcoco", "pycocotools", "timm"])
def test_a_result_says_which_version_computed_it(package):
    assert versions()[package] == version(package)


@pytest.mark.parametrize(
    ("rule", "computes"),
    [("coco", "pycocotools"), ("lvis", "hotcoco"), ("cityscapes", ""), ("voc-area", ""), ("voc-11-points", "")],
)
def test_a_result_names_the_evaluator_that_computed_it_and_not_the_one_asked_for(rule, computes):
    """Cityscapes' scores are computed here, and said that hotcoco had."""
    assert computed_by(rule, "pycocotools") == computes


def test_a_detector_that_found_nothing_is_told_by_vocs_rules(scenes):
    data = open_data(VOC, scenes / "VOCdevkit")
    assert "no box was detected at all: AP is 0" in measure(data, {}).notes
