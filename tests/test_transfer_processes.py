"""Two processes against one: the same classifier, the same features, every image counted once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from twinbench.convert import files

WORK = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from twinbench.data.paths import file_list
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.protocols.classification import BT_LINEAR, BT_SEMI, INAT_LINEAR
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.runtime.process import current_process, process_group
from twinbench.transfer import probe as probes
from twinbench.transfer.cache import cached_features
from twinbench.transfer.probe import Probe

torch.set_num_threads(1)
folder, out = map(Path, sys.argv[1:3])
if saves := int(sys.argv[3]):  # die after so many checkpoints, one after each step
    probes.SAVE_SECONDS, save, left = -1, Probe._save, iter(range(saves - 1))
    Probe._save = lambda self: (save(self), next(left))
crop = ImageTransform(resize=32, crop=32, shape="center-crop")
large = ImageTransform(resize=224, crop=224, shape="center-crop")
short = {"transform": crop, "epochs": 2, "batch_size": 4, "lr_head": 0.001}
linear, norm, tuned = (replace(recipe, **short) for recipe in (BT_LINEAR, INAT_LINEAR, BT_SEMI))
tuned = replace(tuned, transform=replace(crop, crop=64, resize=64), lr_backbone=1e-5, epochs=1)
recipes = {  # a recipe, and of how many images
    "linear": (linear, 9),
    "norm, uneven end": (norm, 11),
    "norm, a process without images": (replace(norm, transform=large, feature="res5-avg6"), 9),
    "fine-tuned, a group shared": (replace(tuned, norm_groups=1), 11),
    "fine-tuned, a process without images": (replace(tuned, norm_groups=1), 5),
    "fine-tuned, a group each": (replace(tuned, norm_groups=2), 11),
    "fine-tuned, two groups each": (replace(tuned, norm_groups=4), 9),
    "fine-tuned, two groups each in parts": (replace(tuned, norm_groups=4, batch_size=8, accumulate=2), 11),
    "norm, fine-tuned": (replace(tuned, norm_groups=4, head="batchnorm-linear"), 11),
}
process = current_process("cpu")
backbone = open_backbone("random", 0.125)
with process_group(process):
    for name in sys.argv[4:]:
        recipe, count = recipes[name]
        paths = file_list(sorted(folder.iterdir())[:count])
        split = LabelledImages(paths, np.arange(count) % 2, ("a", "b"))
        given = {"identity": name, "out": out / name, "cache": out / "cache", "process": process}
        probe = Probe(backbone, recipe, split, split, **given)
        if recipe.train_backbone:  # in float64: a random network blows up what float32 rounds
            probe.model.double()
            inputs = probe.inputs
            probe.inputs = lambda images: inputs(images).double()
        probe.run()
    wanted = Features(crop, "gap", "fp32")
    features = cached_features(out / "cache", backbone, paths, wanted, process=process, workers=0)
assert features.shape == (len(paths), 256), features.shape
"""
PROBES = [
    "linear",
    "norm, uneven end",
    "norm, a process without images",
    "fine-tuned, a group shared",
    "fine-tuned, a process without images",
    "fine-tuned, a group each",
    "fine-tuned, two groups each",
    "fine-tuned, two groups each in parts",
    "norm, fine-tuned",
]
ROOT = Path(__file__).parent.parent


def start(world: int, *words: object) -> list["subprocess.Popen[bytes]"]:
    """Start a command of Python in `world` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    shared |= {"PYTHONPATH": str(ROOT), "WORLD_SIZE": str(world)}
    command = [sys.executable, *map(str, words)]
    return [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(world)
    ]


def launch(world: int, *words: object, fails: bool = False) -> None:
    """Run a command of Python in `world` processes."""
    for run in start(world, *words):
        _, error = run.communicate(timeout=240)
        assert (run.returncode != 0) == fails, error.decode()[-2000:]


def test_a_signal_to_one_process_stops_all_and_the_same_command_goes_on(scenes, tmp_path):
    """Between two steps, with exit code 75. That the numbers are equal: test_transfer_probe.py."""
    command = ("-m", "twinbench", "transfer", "demo-imagenet-linear", "random", scenes / "imagenet", tmp_path)
    more = ("--partial", "--workers", 0, "--device", "cpu", "--set", "epochs=15", "--set", "batch_size=16")
    runs, log = start(2, *command, *more), tmp_path / "log.jsonl"
    while all(run.poll() is None for run in runs) and not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.02)
    runs[1].send_signal(signal.SIGTERM)
    errors = [run.communicate(timeout=240)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [75, 75], errors
    assert "the same command goes on from there" in errors[0]
    done = len(files.load(tmp_path / "checkpoint.pth")["history"])
    assert 2 <= done < 15
    assert not (tmp_path / "result.json").exists()
    launch(2, *command, *more)
    curves = json.loads((tmp_path / "result.json").read_text())["curves"]
    assert [epoch for epoch, _ in curves["loss"]] == list(range(1, 16))
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == list(range(1, 16))


def test_the_trials_own_features_are_removed_when_no_process_needs_them(scenes, tmp_path):
    """The main process may be done while the others still look for features: it waits for them."""
    words = ("demo-imagenet-knn", "random", scenes / "imagenet", tmp_path, "--workers", 0, "--device", "cpu")
    launch(2, "-m", "twinbench", "transfer", *words, "--partial")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


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
        launch(world, "-c", WORK, images, out, 0, *PROBES)
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
        assert (first["top1"], first["top5"]) == (second["top1"], second["top5"])
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)


def test_two_processes_killed_within_an_epoch_end_as_if_never_killed(images, trained, tmp_path):
    name = "norm, uneven end"
    launch(2, "-c", WORK, images, tmp_path, 2, name, fails=True)
    assert files.load(tmp_path / name / "checkpoint.pth")["step"] == 2  # of three
    launch(2, "-c", WORK, images, tmp_path, 0, name)
    cut, two = files.load(tmp_path / name / "checkpoint.pth"), trained[1][name]
    assert cut["history"] == two["history"]
    for key, tensor in two["model"].items():
        assert torch.equal(cut["model"][key], tensor), key


@pytest.mark.parametrize("name", ["norm, uneven end", "fine-tuned, a group shared"])
def test_one_process_goes_on_where_two_were_killed(images, trained, tmp_path, name):
    launch(2, "-c", WORK, images, tmp_path, 2, name, fails=True)
    launch(1, "-c", WORK, images, tmp_path, 0, name)
    changed, one = files.load(tmp_path / name / "checkpoint.pth"), trained[0][name]
    assert [epoch["top1"] for epoch in changed["history"]] == [epoch["top1"] for epoch in one["history"]]
    for key, tensor in one["model"].items():
        torch.testing.assert_close(changed["model"][key], tensor, rtol=1e-4, atol=1e-5)
