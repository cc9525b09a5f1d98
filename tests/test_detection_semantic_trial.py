"""Whole trials of a segmenter on coloured shapes: it learns, is killed and ends with the same bits, and draws."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

import twinbench
from tests.coloured_shapes import SIDE, TEST, TRAIN, make_voc
from twinbench.convert.files import load
from twinbench.data.identity import identify
from twinbench.data.pixels.matrix import MATRIX
from twinbench.detection import command
from twinbench.detection.kinds import PICTURE
from twinbench.detection.semantic.images import TrainImages
from twinbench.detection.training.checkpoint import checkpoints
from twinbench.detection.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError
from twinbench.report.asked import Asked
from twinbench.report.result import read_result
from twinbench.runtime.stopping import StopAsked

SMALL = {"batch_size": 4, "iterations": 60, "lr": 0.05, "long_side": 128, "short_side": 64, "crop": 64}
SMALL |= {"head_channels": 16, "aux_channels": 8, "distortion": "false"}


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return make_voc(tmp_path_factory.mktemp("pixels"))


def wanted(data, out, name="voc12aug-fcn-20k", **settings):
    protocol = replace(find_protocol(name), width=0.125)
    protocol = replace(protocol, data_set=replace(protocol.data_set, images=(TRAIN, TEST)))
    return Asked(protocol.with_settings(SMALL | settings), "random", data, out, method="ours", device="cpu", workers=0)


def test_it_learns_and_says_so(voc, tmp_path, capsys):
    start = measure(wanted(voc, tmp_path / "start", iterations=1))
    result = measure(wanted(voc, tmp_path / "end", iterations=120))  # 60 sufficed on some processors alone
    assert start.metrics["mIoU"] < 35
    assert result.metrics["mIoU"] > start.metrics["mIoU"] + 30
    assert result.metrics.keys() == {"aAcc", "mAcc", "mIoU"}
    assert result.headline == "mIoU"
    assert result.images == {"train": TRAIN, "test": TEST}
    assert read_result(tmp_path / "end" / "result.json") == result
    assert result.details["per_class"]["IoU"]["cat"] > 50
    train, test = result.details["notes"]
    assert train.startswith("train: no mask shows 18 of 21 classes: aeroplane")
    assert test.startswith("no test pixel of aeroplane")
    losses = [loss for _, loss in result.curves["total_loss"]]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    with Image.open(tmp_path / "end" / PICTURE) as picture:
        assert picture.width > 10 * SIDE
    assert result.pictures == [PICTURE, MATRIX]
    assert (tmp_path / "end" / MATRIX).is_file()
    assert {path.name for path in (tmp_path / "end").iterdir()} >= {"config.yaml", "model_final.pth", "log.jsonl"}
    assert not (tmp_path / "end" / "confusions").exists()
    predicted_as_measured(voc, tmp_path / "end", tmp_path, result, capsys)


def predicted_as_measured(voc, trial, tmp_path, result, capsys):
    """`twinbench predict` paints what the trial was measured on: its areas give the same accuracy."""
    images = voc / "VOC2012" / "JPEGImages"
    tests = sorted(images.glob("val*.jpg"))
    words = ["predict", str(trial), *map(str, tests), str(tmp_path / "out"), "--device", "cpu"]
    assert twinbench.main([*words, "--threshold", "0.5"]) == 2
    assert "a trial of a segmenter, whose pixels have no scores; leave --threshold out" in capsys.readouterr().err
    assert twinbench.main(words) == 0
    assert f"{TEST} images, " in capsys.readouterr().out
    areas = json.loads((tmp_path / "out" / "predictions.json").read_text())
    right = labelled = 0
    for number, path in enumerate(tests, 1):
        truth = np.array(Image.open(voc / "VOC2012" / "SegmentationClass" / f"{path.stem}.png"))
        mine = [area for area in areas if area["image_id"] == number]
        masks = [run_lengths.decode(area["segmentation"]).astype(bool) for area in mine]
        assert np.sum(masks, axis=0).tolist() == np.ones((SIDE, SIDE)).tolist()  # each pixel has one class
        right += sum((mask & (truth == area["category_id"] - 1)).sum() for mask, area in zip(masks, mine, strict=True))
        labelled += (truth != 255).sum()
    assert 100 * right / labelled == pytest.approx(result.metrics["aAcc"])
    assert len(COCO(str(tmp_path / "out" / "images.json")).loadRes(areas).anns) == len(areas)


def stop_at(monkeypatch, images):
    """Have a signal come while the image of this number is read."""
    read, count = TrainImages.__call__, [0]

    def reading(self, record):
        count[0] += 1
        if count[0] == images:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(self, record)

    monkeypatch.setattr(TrainImages, "__call__", reading)


def test_a_killed_training_ends_with_the_same_bits(voc, tmp_path, monkeypatch):
    short = {"iterations": 8, "distortion": "true"}
    whole = measure(wanted(voc, tmp_path / "whole", **short))
    stop_at(monkeypatch, 4 * 3 + 1)
    with pytest.raises(StopAsked, match="stopped after iteration"):
        measure(wanted(voc, tmp_path / "killed", **short))
    assert checkpoints(tmp_path / "killed" / "checkpoints")
    monkeypatch.undo()
    again = measure(wanted(voc, tmp_path / "killed", **short))
    first, second = (load(tmp_path / name / "model_final.pth")["model"] for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.metrics == whole.metrics


def test_halves_and_parts_of_a_batch_are_recipe_fields(voc, tmp_path):
    plain = measure(wanted(voc, tmp_path / "plain", iterations=3))
    told = {"precision": "bf16", "accumulate": 2}
    result = measure(wanted(voc, tmp_path / "told", iterations=3, **told))
    assert result.overrides == {**plain.overrides, "precision": "bf16", "accumulate": "2"}
    first, second = (run.curves["total_loss"][0][1] for run in (plain, result))
    assert first != second
    assert first == pytest.approx(second, rel=0.05)
    config = (tmp_path / "told" / "config.yaml").read_text()
    assert "AMP:\n    ENABLED: true" in config
    with pytest.raises(UserError, match="precision fp16 on cpu: expected a GPU"):
        measure(wanted(voc, tmp_path / "fp16", precision="fp16"))


def test_byols_recipe_trains_on_images_in_their_own_size(voc, tmp_path):
    settings = {"long_side": 0, "short_side": 0, "iterations": 2, "steps": "1", "test_crop": 65}
    settings |= {"crop": 65, "norm": "BN"}
    result = measure(wanted(voc, tmp_path, "voc12-fcn-byol", **settings))
    assert 0 <= result.metrics["mIoU"] <= 100


def test_the_state_of_the_rate_is_in_the_log(voc, tmp_path):
    measure(wanted(voc, tmp_path, iterations=4))
    rates = [json.loads(line)["lr"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([(0.05 - 1e-4) * (1 - done / 4) ** 0.9 + 1e-4 for done in range(4)])


def copy_of(voc, tmp_path):
    return shutil.copytree(voc, tmp_path / "VOCdevkit")


def refused(data, tmp_path, message):
    with pytest.raises(UserError, match=message) as found:
        measure(wanted(data, tmp_path / "out", iterations=1))
    assert "\n" not in str(found.value)
    assert not (tmp_path / "out" / "result.json").exists()


def test_a_mask_of_another_size_than_its_image_is_told(voc, tmp_path):
    data = copy_of(voc, tmp_path)
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(data / "VOC2012" / "SegmentationClass" / "train003.png")
    refused(data, tmp_path, r"train003.png: 7 x 9 pixels, its image train003.jpg has 64 x 64; expected the same")


def test_a_number_that_is_no_class_is_told(voc, tmp_path):
    data = copy_of(voc, tmp_path)
    mask = np.full((SIDE, SIDE), 40, np.uint8)
    Image.fromarray(mask).save(data / "VOC2012" / "SegmentationClass" / "val000.png")
    refused(data, tmp_path, r"val000.png: number 40 in a mask; expected 0 to 20, or 255 for no label")


def test_a_mask_in_colours_is_told(voc, tmp_path):
    data = copy_of(voc, tmp_path)
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(data / "VOC2012" / "SegmentationClass" / "val000.png")
    refused(data, tmp_path, r"val000.png: a mask of mode RGB; expected one number of 8 bits a pixel")


def test_sbd_that_is_not_there_is_told_with_what_to_do(voc, tmp_path):
    data = copy_of(voc, tmp_path)
    shutil.rmtree(data / "VOC2012" / "SegmentationClassAug")
    refused(data, tmp_path, r"no SBD masks; expected SegmentationClassAug/\*.png and .*aug.txt.*write each as a PNG")


def test_a_folder_without_masks_is_told(tmp_path):
    refused(tmp_path, tmp_path, r"VOC2012: no ImageSets/Segmentation; expected VOC 2012 .* give VOCdevkit")


def test_a_repainted_mask_is_other_data(voc, tmp_path):
    data = copy_of(voc, tmp_path)
    before = identify("voc-pixels-aug", data, task="segmentation")
    path = data / "VOC2012" / "SegmentationClassAug" / "aug000.png"
    mask = np.array(Image.open(path))
    mask[mask == 3] = 5
    Image.fromarray(mask).save(path)
    after = identify("voc-pixels-aug", data, task="segmentation")
    assert after["train"] != before["train"]
    assert after["test"] == before["test"]


def test_the_linear_rule_is_said_to_be_of_detectors(voc, tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["voc12aug-fcn-20k", "random", str(voc), str(tmp_path), "--scale-to", "2"]
    with pytest.raises(UserError, match="--scale-to 2: the linear rule is of detectors' recipes"):
        command.run(parser.parse_args(words))
