"""Whole trials of linear depth on squares whose colours tell their depth."""

import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import twinbench
from tests.depth_scenes import SIDES, Patches, write_depth
from twinbench.convert.files import load
from twinbench.data.errors import DataError
from twinbench.dense.depth import trial
from twinbench.dense.depth.images import TrainPairs
from twinbench.dense.places import DenseError
from twinbench.dense.trial import PICTURE, measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.report.asked import Asked
from twinbench.report.result import read_result
from twinbench.runtime.stopping import StopAsked

SMALL = {"batch_size": 4, "iterations": 150, "warmup_iterations": 30, "loss_warmup": 5, "lr": 0.1, "crop": "64,96"}
SMALL |= {"bins": 16}


@pytest.fixture
def colours(monkeypatch):
    monkeypatch.setattr(trial, "Places", Patches)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_depth(tmp_path_factory.mktemp("depth"))


def wanted(data, out, **given):
    protocol = replace(find_protocol("nyuv2-linear-dinov3@mine"), width=0.125)
    texts = {name: str(value) for name, value in (SMALL | given).items()}
    return Asked(protocol.with_settings(texts), "random", data, out, "ours", device="cpu", workers=0)


def constant_rmse(data):
    """Return the error of who says the training images' mean depth everywhere."""

    def maps(split):
        for path in sorted((data / "depth" / split).iterdir()):
            yield np.asarray(Image.open(path)) / 1000

    mean = np.mean(np.concatenate([depth[depth > 0] for depth in maps("train")]))
    return np.mean([np.sqrt(np.mean((depth[depth > 0] - mean) ** 2)) for depth in maps("val")])


def test_it_learns_depth_that_colours_tell(data, tmp_path, colours):
    result = measure(wanted(data, tmp_path, train_area="", test_area="", coloured=0))
    assert result.metrics["rmse"] < 0.35 * constant_rmse(data)
    assert result.metrics["d1"] > 85
    assert result.headline == "rmse"
    assert result.images == {"train": 12, "test": 4}
    assert result.pictures == [PICTURE]
    assert [step for step, _ in result.curves["loss"]] == [50, 100, 150]
    assert read_result(tmp_path / "result.json") == result
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "head.pth", "log.jsonl", PICTURE}
    with Image.open(tmp_path / PICTURE) as picture:
        assert picture.height > 4 * SIDES[0]


def test_images_are_padded_as_the_recipe_says(data, tmp_path, monkeypatch):
    given = []

    class Noting(Patches):
        def __init__(self, trunk, blocks, padding):
            given.append(padding)
            super().__init__(trunk, blocks)

    monkeypatch.setattr(trial, "Places", Noting)
    for padding in ("around", "end"):
        measure(wanted(data, tmp_path / padding, iterations=1, warmup_iterations=0, padding=padding))
    assert given == ["around", "end"]


def test_a_killed_training_ends_with_the_same_bits(data, tmp_path, colours, monkeypatch):
    short = {"iterations": 8, "warmup_iterations": 3}
    whole = measure(wanted(data, tmp_path / "whole", **short))
    read, count = TrainPairs.__getitem__, [0]

    def reading(self, key):
        count[0] += 1
        if count[0] == 4 * 3 + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(self, key)

    monkeypatch.setattr(TrainPairs, "__getitem__", reading)
    with pytest.raises(StopAsked, match="stopped after step 5 of 8"):
        measure(wanted(data, tmp_path / "killed", **short))
    again = measure(wanted(data, tmp_path / "killed", **short))
    first, second = (load(tmp_path / name / "head.pth")["head"] for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.metrics == whole.metrics


def test_the_command_runs_on_a_backbone_and_so_does_python(data, tmp_path, capsys):
    given = SMALL | {"iterations": 2, "warmup_iterations": 1}
    words = ["nyuv2-linear-dinov3@mine", "timm:vit_tiny_patch16_224=random", str(data), str(tmp_path / "a")]
    options = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    assert twinbench.main(["dense", *words, "--workers", "0", "--device", "cpu", *options]) == 0
    assert "rmse" in capsys.readouterr().out
    rows = twinbench.table(twinbench.read_results([tmp_path / "a"]))
    assert {row["metric"] for row in rows} == {"rmse", "abs_rel", "d1"}
    result = twinbench.evaluate("random", words[0], data, tmp_path / "b", settings=given, device="cpu", workers=0)
    assert result.headline == "rmse"


def test_a_map_of_8_bits_ends_a_trial_before_anything_trains(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "data")
    Image.fromarray(np.zeros(SIDES, np.uint8)).save(copy / "depth" / "train" / "3.png")
    with pytest.raises(DataError, match=r"3.png: pixels of mode L; expected depth in millimetres as a PNG of 16 bits"):
        measure(wanted(copy, tmp_path / "out"))
    assert not (tmp_path / "out" / "data").exists()


def test_tests_without_a_depth_in_the_range_end_before_anything_trains(data, tmp_path):
    with pytest.raises(DenseError, match=r"no test pixel has a depth between 0.001 and 0.002 m; expected some"):
        measure(wanted(data, tmp_path, most_depth=0.002))
    assert not (tmp_path / "log.jsonl").exists()
