"""Two processes against one: the same classifier, the same features, every image counted once."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import twinbench
from tests.forks import launch, start
from twinbench.convert import files
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.classification import BT_LINEAR, BT_SEMI, INAT_LINEAR
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.protocols.layers import VISSL_LAYERS
from twinbench.runtime.process import current_process, process_group
from twinbench.transfer import probe as probes
from twinbench.transfer.cache import cached_features
from twinbench.transfer.probe import Probe

CROP = ImageTransform(resize=32, crop=32, shape="center-crop")
LARGE = ImageTransform(resize=224, crop=224, shape="center-crop")
LINEAR, NORM, TUNED = (
    replace(recipe, transform=CROP, epochs=2, batch_size=4, lr_head=0.001)
    for recipe in (BT_LINEAR, INAT_LINEAR, BT_SEMI)
)
LAYERS = replace(VISSL_LAYERS, transform=LARGE, epochs=2, batch_size=4, lr_head=0.001)
TUNED = replace(TUNED, transform=replace(CROP, crop=64, resize=64), lr_backbone=1e-5, epochs=1)
RECIPES = {  # a recipe, and of how many images
    "linear": (LINEAR, 9),
    "norm, uneven end": (NORM, 11),
    "norm, a process without images": (replace(NORM, transform=LARGE, feature="res5-avg6"), 9),
    "layers, uneven end": (LAYERS, 11),
    "layers, a process without images": (replace(LAYERS, layers=("conv1", "res5")), 9),
    "fine-tuned, a group shared": (replace(TUNED, norm_groups=1), 11),
    "fine-tuned, a process without images": (replace(TUNED, norm_groups=1), 5),
    "fine-tuned, a group each": (replace(TUNED, norm_groups=2), 11),
    "fine-tuned, two groups each": (replace(TUNED, norm_groups=4), 9),
    "fine-tuned, two groups each in parts": (replace(TUNED, norm_groups=4, batch_size=8, accumulate=2), 11),
    "norm, fine-tuned": (replace(TUNED, norm_groups=4, head="batchnorm-linear"), 11),
}
PROBES = list(RECIPES)


def train(folder, out, saves, *names):
    """Run probes by name in one process of a group, and die after so many checkpoints, one after each step; 0: never"""
    if saves:
        probes.SAVE_SECONDS, save, left = -1, Probe._save, iter(range(saves - 1))
        Probe._save = lambda self: (save(self), next(left))
    process = current_process("cpu")
    backbone = open_backbone("random", 0.125)
    with process_group(process):
        for name in names:
            recipe, count = RECIPES[name]
            paths = file_list(sorted(folder.iterdir())[:count])
            split = LabelledImages(paths, np.arange(count) % 2, ("a", "b"))
            given = {"identity": name, "out": out / name, "cache": out / "cache", "process": process}
            probe = Probe(backbone, recipe, split, split, **given)
            if recipe.train_backbone:  # in float64: a random network blows up what float32 rounds
                probe.model.double()
                inputs = probe.inputs
                probe.inputs = lambda images, inputs=inputs: inputs(images).double()
            probe.run()
        wanted = Features(CROP, "gap", "fp32")
        features = cached_features(out / "cache", backbone, paths, wanted, process=process, workers=0)
    assert features.shape == (len(paths), 256), features.shape


def test_a_signal_to_one_process_stops_all_and_the_same_command_goes_on(scenes, tmp_path, monkeypatch):
    """Between two steps, with exit code 75. That the numbers are equal: test_transfer_probe.py."""
    out, said, step = tmp_path / "out", tmp_path / "said", Probe._step
    words = ["transfer", "demo-imagenet-linear", "random", str(scenes / "imagenet"), str(out), "--partial"]
    words += ["--workers", "0", "--device", "cpu", "--set", "epochs=4", "--set", "batch_size=16"]

    def told_in_the_third_epoch(self, *batch):
        if len(self.history) == 2 and self.step == 1 and self.process.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *batch)

    with monkeypatch.context() as told:
        told.setattr(Probe, "_step", told_in_the_third_epoch)
        runs = start(2, said, twinbench.main, words)
    for run in runs:
        run.join(240)
    error = (said / "said0.txt").read_text()
    assert [run.exitcode for run in runs] == [75, 75], error
    assert "the same command goes on from there" in error
    assert len(files.load(out / "checkpoint.pth")["history"]) == 2
    assert not (out / "result.json").exists()
    launch(2, said, twinbench.main, words)
    curves = json.loads((out / "result.json").read_text())["curves"]
    assert [epoch for epoch, _ in curves["loss"]] == [1, 2, 3, 4]
    assert [json.loads(line)["epoch"] for line in (out / "log.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


def test_the_trials_own_features_are_removed_when_no_process_needs_them(scenes, tmp_path):
    """The main process may be done while the others still look for features: it waits for them."""
    words = ["demo-imagenet-knn", "random", str(scenes / "imagenet"), str(tmp_path / "out"), "--partial"]
    launch(2, tmp_path / "said", twinbench.main, ["transfer", *words, "--workers", "0", "--device", "cpu"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.json"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Eleven images, of two classes."""
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(11):
        pixels = draw.integers(0, 90, size=(40, 40, 3)) + 150 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """Return the last checkpoint of every probe in one process and in two."""
    outs = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for world, out in enumerate(outs, start=1):
        launch(world, out, train, images, out, 0, *PROBES)
    return [{name: files.load(out / name / "checkpoint.pth") for name in PROBES} for out in outs]


@pytest.mark.parametrize("name", PROBES)
def test_two_processes_train_and_count_as_one_does(trained, name):
    """With running statistics: batches of four, of which the last one holds three images or one."""
    one, two = (probes[name] for probes in trained)
    for key, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][key], tensor, rtol=1e-4, atol=1e-5)
    for key, state in one["optimizer"]["state"].items():  # the gradients, whatever the rate
        theirs = two["optimizer"]["state"][key]["momentum_buffer"]
        torch.testing.assert_close(theirs, state["momentum_buffer"], rtol=1e-3, atol=1e-5)
    assert ("0.running_var" in one["model"] or "head.0.running_var" in one["model"]) == name.startswith("norm")
    for first, second in zip(one["history"], two["history"], strict=True):
        assert first.keys() == second.keys()
        assert all(first[metric] == second[metric] for metric in first if metric.startswith("top"))
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)


def test_two_processes_killed_within_an_epoch_end_as_if_never_killed(images, trained, tmp_path):
    name = "norm, uneven end"
    launch(2, tmp_path, train, images, tmp_path, 2, name, fails=True)
    assert files.load(tmp_path / name / "checkpoint.pth")["step"] == 2  # of three
    launch(2, tmp_path, train, images, tmp_path, 0, name)
    cut, two = files.load(tmp_path / name / "checkpoint.pth"), trained[1][name]
    assert cut["history"] == two["history"]
    for key, tensor in two["model"].items():
        assert torch.equal(cut["model"][key], tensor), key


@pytest.mark.parametrize("name", ["norm, uneven end", "fine-tuned, a group shared"])
def test_one_process_goes_on_where_two_were_killed(images, trained, tmp_path, name):
    launch(2, tmp_path, train, images, tmp_path, 2, name, fails=True)
    launch(1, tmp_path, train, images, tmp_path, 0, name)
    changed, one = files.load(tmp_path / name / "checkpoint.pth"), trained[0][name]
    assert [epoch["top1"] for epoch in changed["history"]] == [epoch["top1"] for epoch in one["history"]]
    for key, tensor in one["model"].items():
        torch.testing.assert_close(changed["model"][key], tensor, rtol=1e-4, atol=1e-5)
