"""Two processes against one: the same classifier, the same features, every image counted once."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convert import files

WORK = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from convert.load import open_backbone
from data.layouts import LabelledImages
from protocols.classification import BT_LINEAR
from protocols.schema import ImageTransform
from slurm.process import current_process, process_group
from transfer import probe as probes
from transfer.cache import cached_features
from transfer.probe import Probe

torch.set_num_threads(1)
images, out = map(Path, sys.argv[1:3])
if saves := int(sys.argv[3]):  # die after so many checkpoints, one after each step
    probes.SAVE_SECONDS, save, left = -1, Probe._save, iter(range(saves - 1))
    Probe._save = lambda self: (save(self), next(left))
paths = sorted(images.iterdir())
split = LabelledImages(tuple(paths), np.arange(len(paths)) % 2, ("a", "b"))
crop = ImageTransform(resize=32, crop=32, shape="center-crop")
recipe = replace(BT_LINEAR, transform=crop, epochs=2, batch_size=4, lr_head=0.001)
process = current_process("cpu")
backbone = open_backbone("random", 0.125)
with process_group(process):
    probe = Probe(backbone, recipe, split, split, identity="x", out=out, process=process)
    probe.run()
    features = cached_features(out / "cache", backbone, paths, crop, "gap", process=process, workers=0)
assert features.shape == (9, 256), features.shape
"""


def launch(world: int, images: Path, out: Path, saves: int = 0) -> None:
    """Run WORK in `world` processes; with `saves`, they die after so many checkpoints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    shared |= {"PYTHONPATH": str(Path(__file__).parent.parent), "WORLD_SIZE": str(world)}
    command = [sys.executable, "-c", WORK, str(images), str(out), str(saves)]
    runs = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(world)
    ]
    for run in runs:
        _, error = run.communicate(timeout=240)
        assert (run.returncode == 0) == (saves == 0), error.decode()[-2000:]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Nine images: with batches of four, the last batch leaves one of two processes without any."""
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(9):
        pixels = draw.integers(0, 90, size=(40, 40, 3)) + 150 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def two(images, tmp_path_factory):
    """Return the last checkpoint of two processes."""
    out = tmp_path_factory.mktemp("two")
    launch(2, images, out)
    return files.load(out / "checkpoint.pth")


def test_two_processes_train_and_count_as_one_does(images, two, tmp_path):
    launch(1, images, tmp_path)
    one = files.load(tmp_path / "checkpoint.pth")
    for name, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, rtol=1e-4, atol=1e-5)
    for first, second in zip(one["history"], two["history"], strict=True):
        assert (first["top1"], first["top5"]) == (second["top1"], second["top5"])
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)


def test_two_processes_killed_within_an_epoch_end_as_if_never_killed(images, two, tmp_path):
    launch(2, images, tmp_path, saves=2)
    assert files.load(tmp_path / "checkpoint.pth")["step"] == 2  # of three
    launch(2, images, tmp_path)
    cut = files.load(tmp_path / "checkpoint.pth")
    assert cut["history"] == two["history"]
    for name, tensor in two["model"].items():
        assert torch.equal(cut["model"][name], tensor), name
