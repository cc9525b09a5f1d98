"""Whole trials on an easy set, one large coloured shape a picture: the detectors learn, and the files are there."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from detectron2.engine import SimpleTrainer
from PIL import Image

from tests.small_networks import NARROW
from twinbench.detection import command, work
from twinbench.detection.config import bases
from twinbench.detection.evaluation.evaluate import scored
from twinbench.detection.evaluation.predictions import predict_all
from twinbench.detection.kinds import PICTURE
from twinbench.detection.pictures import draw_predictions
from twinbench.detection.training import train as training
from twinbench.detection.training.checkpoint import checkpoints
from twinbench.detection.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError
from twinbench.report.asked import Asked
from twinbench.report.result import read_result

CLASSES = ("blue", "red")
COLORS = ((40, 60, 220), (220, 50, 40))
SIZE, TRAIN, TEST = 64, 24, 8
SMALL = {"iterations": 50, "steps": "40", "warmup_iterations": 5, "lr": 0.05, "batch_size": 4, "rois_per_image": 8}
SMALL |= {"min_size_train": 64, "min_size_test": 64, "anchor_sizes": "24,32", "rpn_post_nms_test": 8}

XML = """<annotation><size><width>64</width><height>64</height><depth>3</depth></size><object><name>{name}</name>
<pose>Frontal</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object></annotation>"""


def shapes(count, seed):
    """Yield (picture, class, (x, y, width, height)) of one bright rectangle on dark noise."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        width, height = rng.integers(24, 36, 2)
        x, y = rng.integers(2, SIZE - 2 - width), rng.integers(2, SIZE - 2 - height)
        pixels = rng.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
        pixels[y : y + height, x : x + width] = COLORS[k % 2]
        yield Image.fromarray(pixels), k % 2, (int(x), int(y), int(width), int(height))


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("easy") / "VOCdevkit"
    base = root / "VOC2007"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (base / folder).mkdir(parents=True)
    for split, count in (("trainval", TRAIN), ("test", TEST)):
        lists = {name: [] for name in CLASSES}
        for k, (picture, label, (x, y, w, h)) in enumerate(shapes(count, seed=count)):
            image = f"{split}{k:03d}"
            picture.save(base / "JPEGImages" / f"{image}.jpg", quality=95)
            box = {"x1": x + 1, "y1": y + 1, "x2": x + w, "y2": y + h}
            (base / "Annotations" / f"{image}.xml").write_text(XML.format(name=CLASSES[label], **box))
            for number, name in enumerate(CLASSES):
                lists[name].append(f"{image} {1 if number == label else -1}")
        for name, lines in lists.items():
            (base / "ImageSets" / "Main" / f"{name}_{split}.txt").write_text("\n".join(lines) + "\n")
        (base / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{split}{k:03d}\n" for k in range(count)))
    return root


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    root = tmp_path_factory.mktemp("easy") / "coco"
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train2017", TRAIN), ("val2017", TEST)):
        (root / split).mkdir()
        file = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "blue"}, {"id": 7, "name": "red"}]}
        for k, (picture, label, (x, y, w, h)) in enumerate(shapes(count, seed=count), 1):
            picture.save(root / split / f"{k:012d}.jpg", quality=95)
            file["images"].append({"id": k, "file_name": f"{k:012d}.jpg", "width": SIZE, "height": SIZE})
            outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            thing = {"id": k, "image_id": k, "category_id": (3, 7)[label], "bbox": [x, y, w, h], "area": w * h}
            file["annotations"].append(thing | {"iscrowd": 0, "segmentation": outline})
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(file))
    return root


def wanted(name, data, out, **settings):
    protocol = replace(find_protocol(name), width=0.125)
    if "@" not in name:
        protocol = replace(protocol, data_set=replace(protocol.data_set, classes=2, images=(TRAIN, TEST)))
    protocol = protocol.with_settings(SMALL | settings)
    return Asked(protocol, "random", data, out, method="ours", device="cpu", workers=0)


@pytest.fixture(autouse=True)
def one_picture(monkeypatch):
    """Twelve take as long as all else in a trial of one iteration."""
    monkeypatch.setattr(work, "draw_predictions", partial(draw_predictions, images=1))


def test_voc_learns_and_says_so(voc, tmp_path, capsys):
    start = measure(wanted("demo-voc0712-frcnn-c4", voc, tmp_path / "start", iterations=1))
    result = measure(wanted("demo-voc0712-frcnn-c4", voc, tmp_path / "end"))
    assert start.metrics["AP50"] < 10
    assert result.metrics["AP50"] > start.metrics["AP50"] + 40
    assert result.metrics.keys() == {"AP", "AP50", "AP75"}
    assert result.headline == "AP"
    losses = [loss for _, loss in result.curves["total_loss"]]
    assert len(losses) == 50
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:10])
    assert read_result(tmp_path / "end" / "result.json") == result
    assert (result.method, result.images) == ("ours", {"train": TRAIN, "test": TEST})
    with Image.open(tmp_path / "end" / result.pictures[0]) as picture:
        picture.load()
        assert picture.width > 4 * SIZE


def test_coco_learns_boxes_and_masks(coco, tmp_path):
    start = measure(wanted("demo-coco-mrcnn-c4-1x", coco, tmp_path / "start", iterations=1))
    result = measure(wanted("demo-coco-mrcnn-c4-1x", coco, tmp_path / "end"))
    for kind in ("box", "mask"):
        assert start.metrics[f"{kind}-AP50"] < 10
        assert result.metrics[f"{kind}-AP50"] > start.metrics[f"{kind}-AP50"] + 40


def test_fpn_learns_with_its_norms(coco, tmp_path, monkeypatch):
    monkeypatch.setattr(bases, "FPN", bases.FPN | NARROW)  # its heads are not scaled by width
    sizes = {"anchor_sizes": "8,16,32,64,128", "lr": 0.02, "rois_per_image": 4}
    start = measure(wanted("demo-coco-mrcnn-fpn-1x", coco, tmp_path / "start", iterations=1, **sizes))
    result = measure(wanted("demo-coco-mrcnn-fpn-1x", coco, tmp_path / "end", iterations=100, steps="80", **sizes))
    for kind in ("box", "mask"):
        assert start.metrics[f"{kind}-AP50"] < 10
        assert result.metrics[f"{kind}-AP50"] > start.metrics[f"{kind}-AP50"] + 40
    said = (tmp_path / "end" / "config.yaml").read_text()
    assert "build_resnet_fpn_backbone" in said
    assert said.count("NORM: SyncBN") == 2


def test_a_finished_trial_is_not_measured_again(voc, tmp_path, monkeypatch):
    trial = wanted("demo-voc0712-frcnn-c4", voc, tmp_path, iterations=1)
    first = measure(trial)
    (tmp_path / PICTURE).unlink()
    monkeypatch.setattr("twinbench.detection.work.build_detector", lambda *_: pytest.fail("measured again"))
    assert measure(trial) == first


@pytest.fixture
def own_voc(voc, tmp_path):
    """The same pictures as somebody's own data: no class lists, and classes that no list could name."""
    root = shutil.copytree(voc, tmp_path / "cells")
    for path in (root / "VOC2007" / "ImageSets" / "Main").glob("*_*.txt"):
        path.unlink()
    for path in (root / "VOC2007" / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<name>red", "<name>red_cell"))
    return root


def test_a_recipe_runs_on_own_data_in_vocs_layout(own_voc, tmp_path, capsys):
    result = measure(wanted("demo-voc0712-frcnn-c4@cells", own_voc, tmp_path / "out", iterations=1))
    assert result.details["classes"] == ["blue", "red_cell"]
    assert (result.protocol, result.data) == ("demo-voc0712-frcnn-c4@cells", "cells")
    assert result.metrics.keys() == {"AP", "AP50", "AP75"}
    assert "partial" not in capsys.readouterr().err  # any number of images is complete


def test_a_detector_of_boxes_runs_on_cocos_layout_and_is_measured_by_cocos_rules(coco, tmp_path):
    result = measure(wanted("demo-voc0712-frcnn-c4@cells", coco, tmp_path / "out", iterations=1))
    assert result.details["classes"] == ["blue", "red"]
    assert result.details["evaluator"] == "hotcoco"
    assert {"AP", "AP50", "AP75"} <= result.metrics.keys()
    assert not [name for name in result.metrics if "mask" in name]


def test_a_detector_of_masks_runs_on_own_data_in_cocos_layout(coco, tmp_path):
    result = measure(wanted("demo-coco-mrcnn-c4-1x@cells", coco, tmp_path / "out", iterations=1))
    assert result.details["classes"] == ["blue", "red"]
    assert {"box-AP", "mask-AP"} <= result.metrics.keys()


def test_masks_are_not_to_be_had_from_boxes(voc, tmp_path):
    with pytest.raises(UserError, match="boxes only, and demo-coco-mrcnn-c4-1x@cells .mrcnn-c4. needs masks; expected"):
        measure(wanted("demo-coco-mrcnn-c4-1x@cells", voc, tmp_path / "out", iterations=1))


def test_the_number_of_other_data_is_refused_and_the_same_data_elsewhere_is_taken(voc, tmp_path, monkeypatch):
    first = measure(wanted("demo-voc0712-frcnn-c4", voc, tmp_path / "out", iterations=1))
    monkeypatch.setattr("twinbench.detection.work.build_detector", lambda *_: pytest.fail("measured again"))
    other = shutil.copytree(voc, tmp_path / "other" / "VOCdevkit")
    trial = wanted("demo-voc0712-frcnn-c4", other, tmp_path / "out", iterations=1)
    assert measure(trial) == first
    path = next((other / "VOC2007" / "Annotations").glob("trainval*.xml"))
    path.write_text(path.read_text().replace("<xmin>", "<xmin>1"))
    path.write_text(path.read_text().replace("<xmax>", "<xmax>1"))
    with pytest.raises(UserError, match=r"result.json: holds .* on other data \(.*; choose another OUT") as found:
        measure(trial)
    assert "\n" not in str(found.value)


def test_a_training_is_not_gone_on_with_on_other_data(voc, coco, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_precise_batch_norm", stop)
        with pytest.raises(KeyboardInterrupt):
            measure(wanted("demo-voc0712-frcnn-c4@cells", voc, tmp_path / "out", iterations=1))
    with pytest.raises(UserError, match="belongs to a run with data .*, this one has .*; choose another OUT") as found:
        measure(wanted("demo-voc0712-frcnn-c4@cells", coco, tmp_path / "out", iterations=1))
    assert "\n" not in str(found.value)
    assert "recipe" not in str(found.value)


def test_float32_is_exact_in_training_and_at_test_and_what_was_set_comes_back(voc, tmp_path, monkeypatch):
    seen = []

    def noted(function):
        def call(*arguments):
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return function(*arguments)

        return call

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # PyTorch's own choice
    monkeypatch.setattr(SimpleTrainer, "run_step", noted(SimpleTrainer.run_step))
    monkeypatch.setattr(training, "update_bn_stats", noted(training.update_bn_stats))
    monkeypatch.setattr("twinbench.detection.work.predict_all", noted(predict_all))
    result = measure(wanted("demo-voc0712-frcnn-c4", voc, tmp_path, iterations=1))
    assert seen == [(False, False)] * 3
    assert result.precision == "fp32"
    assert torch.backends.cudnn.allow_tf32


def run_command(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(list(map(str, words))))


def test_the_command_answers_on_stdout_and_the_libraries_in_a_file(scenes, tmp_path, capfd):
    settings = [word for pair in (SMALL | {"iterations": 1}).items() for word in ("--set", "=".join(map(str, pair)))]
    assert (
        run_command(
            "demo-voc0712-frcnn-c4",
            "random",
            scenes / "VOCdevkit",
            tmp_path,
            "--workers",
            0,
            "--device",
            "cpu",
            *settings,
        )
        == 0
    )
    out, err = capfd.readouterr()
    assert out.startswith("demo-voc0712-frcnn-c4  random  seed 0  AP ")
    assert out.count("\n") == 1
    assert "partial data: {'train'" in err
    assert "Warning" not in err
    assert "detectron2" in (tmp_path / "log.txt").read_text()
    found = read_result(tmp_path / "result.json")
    assert found.overrides["iterations"] == "1"
    assert found.images != found.images_expected


def test_sigterm_saves_and_asks_to_be_requeued(scenes, tmp_path):
    settings = [word for pair in (SMALL | {"iterations": 5000}).items() for word in ("--set", "=".join(map(str, pair)))]
    words = ["demo-voc0712-frcnn-c4", "random", scenes / "VOCdevkit", tmp_path, "--device", "cpu", "--workers", 2]
    command = [sys.executable, "-m", "twinbench", "detection", *map(str, words), *settings]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    log, end = tmp_path / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and log.read_text()) and run.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGTERM)  # to the loader's processes too, as SLURM does
    out, err = run.communicate(timeout=120)
    assert run.returncode == 75, err
    assert "stopped after iteration" in err
    assert "the same command goes on from there" in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert len(checkpoints(tmp_path / "checkpoints")) == 1


def test_a_missing_detectron2_is_said_with_what_brings_it(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="detectron2 is not installed, which detection needs; run: make setup"):
        run_command("demo-voc0712-frcnn-c4", "random", scenes / "VOCdevkit", tmp_path)


def test_the_evaluator_asked_for_is_the_one_that_measures(scenes, tmp_path, monkeypatch):
    asked = []

    def noted(*words):
        asked.append(words[-1])
        return scored(*words)

    monkeypatch.setattr("twinbench.detection.work.scored", noted)
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: name)
    words = ["demo-coco-mrcnn-c4-1x", "random", scenes / "coco", tmp_path, "--workers", 0, "--device", "cpu"]
    words += [word for pair in (SMALL | {"iterations": 1}).items() for word in ("--set", "=".join(map(str, pair)))]
    assert run_command(*words, "--evaluator", "faster-coco-eval") == 0
    assert asked == ["faster-coco-eval"]


def test_an_evaluator_that_is_not_installed_is_said(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None if name == "faster_coco_eval" else name)
    words = ["demo-coco-mrcnn-c4-1x", "random", scenes / "coco", tmp_path / "out", "--evaluator", "faster-coco-eval"]
    with pytest.raises(UserError, match="--evaluator faster-coco-eval: not installed; run: pip install"):
        run_command(*words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["voc0712-frcn-c4", "random", "{data}", "{out}"], "Did you mean 'voc0712-frcnn-c4'"),
        (
            ["voc07-svm", "random", "{data}", "{out}"],
            "is a transfer protocol; run it with: twinbench transfer voc07-svm",
        ),
        (["demo-voc0712-frcnn-c4", "random", "{data}", "{out}", "--set", "lrr=1"], "unknown setting 'lrr'"),
        (
            ["demo-voc0712-frcnn-c4", "random", "{data}", "{out}", "--device", "cpu", "--set", "precision=tf32"],
            "precision tf32 on cpu: expected a GPU",
        ),
        (["demo-voc0712-frcnn-c4", "random", "{data}", "{out}", "--seed", "-1"], "--seed -1: expected 0 or more"),
        (["demo-voc0712-frcnn-c4", "random", "{data}/nowhere", "{out}", "--device", "cpu"], "nowhere: no such folder"),
        (
            [
                "demo-coco-mrcnn-fpn-1x",
                "random",
                "{scenes}/coco",
                "{out}",
                "--device",
                "cpu",
                "--set",
                "anchor_sizes=24,32",
            ],
            "anchor_sizes=24,32: expected 5 sizes",
        ),
        (["voc0712-frcnn-c4", "{data}/none.pth", "{data}", "{out}", "--device", "cpu"], "none.pth"),
    ],
)
def test_a_users_mistakes_are_one_line_and_leave_no_result(voc, scenes, tmp_path, words, message):
    with pytest.raises(UserError, match=message) as found:
        run_command(*(word.format(data=voc, scenes=scenes, out=tmp_path / "out") for word in words))
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out").exists()


def test_annotations_that_are_refused_while_they_are_packed_leave_nothing(scenes, tmp_path):
    data = shutil.copytree(scenes / "coco", tmp_path / "coco")
    (file,) = data.glob("annotations/instances_train*.json")
    lists = json.loads(file.read_text())
    lists["annotations"][-1]["bbox"] = [0, 0, "x", 3]  # the last one: all others are packed before it
    file.write_text(json.dumps(lists))
    with pytest.raises(UserError, match="expected left, top, width and height"):
        run_command("demo-coco-mrcnn-c4-1x", "random", data, tmp_path / "out", "--device", "cpu")
    assert not (tmp_path / "out").exists()
