"""Probes and fine-tuning on a GPU: the processor's curves, equal bits in deterministic mode, kills, two processes.

In a rehearsal the references are computed by PyTorch's plain convolutions and not by oneDNN's.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import twinbench
from twinbench.convert import files
from twinbench.convert.inputs import Inputs
from twinbench.convert.load import load_backbone
from twinbench.convert.opening import open_backbone
from twinbench.convert.write import write_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.classification import BT_LINEAR, BT_SEMI, INAT_LINEAR
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.report.result import read_result
from twinbench.report.trial import Trial
from twinbench.runtime.determinism import deterministic
from twinbench.runtime.process import Process
from twinbench.runtime.stopping import Stopper
from twinbench.transfer.features import feature_loader
from twinbench.transfer.probe import Probe

ROOT = Path(__file__).resolve().parents[2]
CROP = ImageTransform(resize=64, crop=64, shape="center-crop")
SHORT = {"transform": CROP, "epochs": 2, "batch_size": 16}
LINEAR = replace(BT_LINEAR, **SHORT, lr_head=0.01)
NORM = replace(INAT_LINEAR, **SHORT)  # nesterov, weight decay, and a batch norm in the head
TUNED = replace(BT_SEMI, **SHORT, lr_head=0.01, lr_backbone=1e-4, norm_groups=2)
RECIPES = {"linear": LINEAR, "norm": NORM, "fine-tuned": TUNED}


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Forty training images, so that a batch of 16 is left with 8, and ten of test: of two brightnesses."""
    draw, folder, made = np.random.default_rng(0), tmp_path_factory.mktemp("images"), []
    for split, count in (("train", 40), ("test", 10)):
        targets, paths = np.arange(count) % 2, []
        for number in range(count):
            pixels = draw.integers(0, 160, (70, 80, 3)) + 90 * targets[number]
            paths.append(folder / f"{split}{number:02}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
        made.append(LabelledImages(file_list(paths), targets.astype(np.int64), ("dark", "bright")))
    return made


@pytest.fixture(scope="module")
def checkpoint(splits, tmp_path_factory):
    """A file with a small ResNet-50 as after a training: branches weigh less than shortcuts, running statistics fit."""
    fresh = open_backbone("random", 1 / 16)
    model = fresh.build().train()
    for name, part in model.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
            nn.init.constant_(part.weight, 0.2 if name.endswith("bn3") else 1.0)
            nn.init.constant_(part.bias, 0.01)  # else it passes for a fresh one, which is refused
    images = torch.cat([images for images, _ in feature_loader(splits[0].paths, CROP, "cpu", 0)])
    with torch.no_grad():
        model(Inputs(fresh.convention, "cpu")(images))
    path = tmp_path_factory.mktemp("backbone") / "resnet50.pth"
    write_backbone(replace(fresh, state_dict=dict(model.state_dict())), path)
    return path


def trained(recipe, checkpoint, splits, out, device, **more):
    """Train; return what the last checkpoint holds."""
    given = {"identity": "this trial", "out": out, "cache": out / "features", "process": Process(device=device)}
    Probe(load_backbone(checkpoint), recipe, *splits, **(given | more)).run()
    return files.load(out / "checkpoint.pth")


def train_on_both(name, checkpoint, splits, device, reference, tmp_path_factory):
    """Return a recipe's last checkpoint from the device and from the processor."""
    given = RECIPES[name], checkpoint, splits
    found = trained(*given, tmp_path_factory.mktemp("device"), device)
    with reference():
        return found, trained(*given, tmp_path_factory.mktemp("processor"), "cpu")


@pytest.fixture(scope="module", params=RECIPES)
def pair(request, checkpoint, splits, device, reference, tmp_path_factory):
    return train_on_both(request.param, checkpoint, splits, device, reference, tmp_path_factory)


@pytest.fixture(scope="module", params=RECIPES)
def smooth_pair(request, checkpoint, splits, device, reference, tmp_path_factory):
    """The same of a network without kinks: where rounding moves a value over one, its gradient is another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.ReLU, "forward", lambda self, x: functional.softplus(x))
        patch.setattr(nn.MaxPool2d, "forward", lambda self, x: functional.avg_pool2d(x, 3, 2, 1))
        return train_on_both(request.param, checkpoint, splits, device, reference, tmp_path_factory)


def test_losses_are_the_processors(pair):
    """Six steps at low rates, so that float32's 1e-6 of a feature or gradient has not grown to 1e-4."""
    found, expected = ([epoch["loss"] for epoch in state["history"]] for state in pair)
    assert expected[1] < expected[0]
    assert found == pytest.approx(expected, rel=1e-4)


def test_gradients_are_the_processors(smooth_pair):
    """The momentum, whatever the rate: of each tensor, to a thousandth of its length."""
    found, expected = (state["optimizer"]["state"] for state in smooth_pair)
    for key, values in expected.items():
        ours, theirs = found[key]["momentum_buffer"], values["momentum_buffer"]
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm() + 1e-6


def test_what_was_trained_lies_on_the_processor_when_it_is_read(pair):
    assert {values.device.type for values in pair[0]["model"].values()} == {"cpu"}


def equal(one, other):
    """Say whether two checkpoints hold the same history, network and momentum, bit for bit."""
    same = one["history"] == other["history"] and one["step"] == other["step"]
    for key, values in one["model"].items():
        same &= torch.equal(values, other["model"][key])
    for key, state in one["optimizer"]["state"].items():
        same &= torch.equal(state["momentum_buffer"], other["optimizer"]["state"][key]["momentum_buffer"])
    return same


@pytest.mark.parametrize("name", RECIPES)
def test_deterministic_mode_repeats_every_bit_with_loaders_too(name, checkpoint, splits, device, tmp_path):
    with deterministic():
        one = trained(RECIPES[name], checkpoint, splits, tmp_path / "one", device)
        other = trained(RECIPES[name], checkpoint, splits, tmp_path / "two", device, workers=2)
    assert equal(one, other)


@pytest.mark.usefixtures("only_gpu")
@pytest.mark.parametrize("name", RECIPES)
def test_no_step_waits_for_the_one_before(name, checkpoint, splits, device, tmp_path):
    """torch raises for whatever would: a number read, a copy from memory that is not pinned."""
    given = {"identity": "", "out": tmp_path, "cache": tmp_path, "process": Process(device=device)}
    probe = Probe(load_backbone(checkpoint), RECIPES[name], *splits, **given)
    probe.model.train()
    batches = list(probe.loader)
    with Stopper(1, device) as stopper:
        for turn, (images, targets) in enumerate(batches):
            if turn:  # the first one begins what CUDA needs
                torch.cuda.set_sync_debug_mode("error")
            try:
                probe.loss += probe._step(images, targets)
                asked = stopper.agreed()
            finally:
                torch.cuda.set_sync_debug_mode("default")
            assert not asked


def test_tf32_trains_on_a_gpu(only_gpu, checkpoint, splits, device, tmp_path):
    """Ten bits in a convolution's products, and of their sums' signs either: near, and another number."""
    exact, lower = (
        trained(replace(TUNED, precision=name), checkpoint, splits, tmp_path / name, device)["history"][0]["loss"]
        for name in ("fp32", "tf32")
    )
    assert exact != lower
    assert lower == pytest.approx(exact, rel=0.01)


# --- the command, killed and in two processes ---

KILLED = {"probe": "demo-imagenet-linear", "fine-tuning": "demo-imagenet-1pct"}


def words(protocol, checkpoint, scenes, out, device, *more):
    rates = ("--set", "lr_head=0.01") + (("--set", "lr_backbone=1e-4") if "1pct" in protocol else ())
    known = ("--partial", "--workers", 0, "--device", device, "--set", "batch_size=16", *rates)
    return [str(word) for word in ("transfer", protocol, checkpoint, scenes / "imagenet", out, *known, *more)]


def start(arguments, **environment):
    """Start the command in a process of its own."""
    shared = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    shared.pop("CUBLAS_WORKSPACE_CONFIG", None)  # the command sees to it by itself
    command = [sys.executable, "-m", "twinbench", *arguments]
    return subprocess.Popen(command, env=shared | environment, stderr=subprocess.PIPE, cwd=ROOT)


def struck(arguments, log, epoch, number):
    """Start the command, send it a signal after `epoch`; return its exit code."""
    run = start(arguments)
    while run.poll() is None and not (log.exists() and log.read_text().count("\n") >= epoch):
        time.sleep(0.005)
    run.send_signal(number)
    _, error = run.communicate(timeout=120)
    assert run.returncode in (75, -signal.SIGKILL), error.decode()[-2000:]
    return run.returncode


@pytest.mark.parametrize("kind", KILLED)
def test_a_run_that_was_stopped_and_killed_ends_as_if_it_never_was(
    kind, checkpoint, scenes, device, on_gpu, tmp_path, monkeypatch
):
    """SIGTERM, the same command, SIGKILL, the same command; the whole run is in this very process."""
    finish = Trial.finish

    def keep_last(trial, **found):  # a trial that has finished leaves no state
        shutil.copy(trial.out / "checkpoint.pth", trial.out / "last.pth")
        return finish(trial, **found)

    monkeypatch.setattr(Trial, "finish", keep_last)
    epochs = 40 if on_gpu else 10  # not over before the signal is there
    more = ("--deterministic", "--set", f"epochs={epochs}")
    whole, cut = (words(KILLED[kind], checkpoint, scenes, tmp_path / name, device, *more) for name in ("whole", "cut"))
    log = tmp_path / "cut" / "log.jsonl"
    assert twinbench.main(whole) == 0
    assert struck(cut, log, 2, signal.SIGTERM) == 75
    done = log.read_text().count("\n")
    assert struck(cut, log, done + 2, signal.SIGKILL) == -signal.SIGKILL
    assert not (tmp_path / "cut" / "result.json").exists()
    assert twinbench.main(cut) == 0
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == list(range(1, epochs + 1))
    assert equal(*(files.load(tmp_path / name / "last.pth") for name in ("cut", "whole")))


@pytest.mark.parametrize("kind", KILLED)
def test_two_processes_on_one_card_count_as_one_does(kind, checkpoint, scenes, device, on_gpu, tmp_path):
    if kind == "probe" and not on_gpu:
        pytest.skip("of processors tests/test_transfer_processes.py asks it")
    more = ("--set", "epochs=2", *(("--set", "norm_groups=2") if kind == "fine-tuning" else ()))
    one, two = (words(KILLED[kind], checkpoint, scenes, tmp_path / name, device, *more) for name in ("one", "two"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    runs = [start(two, RANK=str(rank), LOCAL_RANK=str(rank), **group) for rank in range(2)]
    assert twinbench.main(one) == 0
    errors = [run.communicate(timeout=120)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    first, second = (read_result(tmp_path / name / "result.json") for name in ("one", "two"))
    assert first.metrics == second.metrics
    losses = ([loss for _, loss in result.curves["loss"]] for result in (first, second))
    np.testing.assert_allclose(*losses, rtol=1e-4)
