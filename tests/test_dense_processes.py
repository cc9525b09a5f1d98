"""A head trained by two processes is the one that one process trains, to rounding; a bank is the very same."""

import json
from dataclasses import replace

import pytest
import torch

from tests.coloured_shapes import make_voc
from tests.depth_scenes import write_depth
from tests.forks import launch
from tests.patch_colours import asked, write_noise
from twinbench.convert.files import load
from twinbench.dense.nearest import bank
from twinbench.dense.options import Options
from twinbench.dense.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.report.asked import Asked

SETTINGS = {
    "voc12-linear-vicregl": {"long_side": 128},
    "ade20k-linear-dinov3": {"warmup_iterations": 2, "test_crop": 64, "test_stride": 48, "norm": "none"},
    "voc12-linear-neco": {"grid": 16, "steps": 3},
}
DEPTH = {"batch_size": 4, "iterations": 4, "warmup_iterations": 1, "loss_warmup": 1, "crop": "64,96", "bins": 16}
NEAREST = ("voc12-hummingbird", "ade20k-knn-capi", "ade20k-logreg-capi")
CACHED = "cached"  # CAPI's logistic regression, by patches that both processes put into a cache
SMALL = {"batch_size": 4, "iterations": 4, "short_side": 64, "crop": 64}


def train(voc, out):
    """Measure each recipe; its loss is over all pixels, over the labelled ones, and dropout takes channels."""
    torch.set_num_threads(1)
    for name, settings in SETTINGS.items():
        protocol = replace(find_protocol(f"{name}@shapes"), width=0.125).with_settings({**SMALL, **settings})
        measure(Asked(protocol, "random", voc, out / name, "ours", device="cpu", workers=0))


def test_two_processes_train_and_count_as_one(tmp_path):
    voc = make_voc(tmp_path)
    for world in (1, 2):
        launch(world, tmp_path / str(world), train, voc, tmp_path / str(world))
    for name in SETTINGS:
        one, two = (load(tmp_path / world / name / "head.pth")["head"] for world in ("1", "2"))
        for key, values in one.items():
            torch.testing.assert_close(two[key], values, rtol=1e-4, atol=1e-5, msg=f"{name} {key}")
        first, second = (json.loads((tmp_path / world / name / "result.json").read_text()) for world in ("1", "2"))
        assert abs(first["metrics"]["aAcc"] - second["metrics"]["aAcc"]) < 0.1, name


def train_depth(data, out):
    """Measure linear depth, whose losses are of two images each; its norm sees all four."""
    torch.set_num_threads(1)
    protocol = replace(find_protocol("nyuv2-linear-dinov3@mine"), width=0.125).with_settings(DEPTH)
    measure(Asked(protocol, "random", data, out, "ours", device="cpu", workers=0))


def test_two_processes_train_and_measure_depth_as_one(tmp_path):
    data = write_depth(tmp_path / "data")
    for world in (1, 2):
        launch(world, tmp_path / str(world), train_depth, data, tmp_path / str(world))
    one, two = (load(tmp_path / world / "head.pth")["head"] for world in ("1", "2"))
    for key, values in one.items():
        torch.testing.assert_close(two[key], values, rtol=1e-4, atol=1e-5, msg=key)
    first, second = (json.loads((tmp_path / world / "result.json").read_text())["metrics"] for world in ("1", "2"))
    assert first == pytest.approx(second, rel=1e-3)


def search(data, out):
    """Measure each recipe on a bank of patches, a few images a piece."""
    torch.set_num_threads(1)
    bank.IMAGES = 3
    for name in NEAREST:
        measure(asked(data, out / name, name, side=64))
    measure(asked(data, out / CACHED, "ade20k-logreg-capi", side=64), Options(cache=out / "cache"))


def test_two_processes_fill_and_search_a_bank_as_one(tmp_path):
    data = write_noise(tmp_path / "data")
    for world in (1, 2):
        launch(world, tmp_path / str(world), search, data, tmp_path / str(world))
    for name in (*NEAREST, CACHED):
        first, second = (json.loads((tmp_path / world / name / "result.json").read_text()) for world in ("1", "2"))
        assert first["metrics"] == second["metrics"], name
        assert first["curves"] == second["curves"], name
