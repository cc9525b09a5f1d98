"""Whole trials on a GPU: killed, told to stop, and gone on with to the same bits; two processes on one card."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from twinbench.convert.files import load
from twinbench.detection.options import Options
from twinbench.detection.training.checkpoint import checkpoints
from twinbench.detection.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.report.asked import Asked
from twinbench.report.result import read_result
from twinbench.runtime.progress import read_log
from twinbench.runtime.stopping import EXIT_CODE

C4, FPN = "demo-voc0712-frcnn-c4", "demo-coco-mrcnn-fpn-1x"
FOLDERS = {C4: "VOCdevkit", FPN: "coco"}
SMALL = {"batch_size": "2", "iterations": "6", "steps": "5", "warmup_iterations": "2", "rpn_post_nms_test": "8"}
SMALL |= {"min_size_train": "64", "min_size_test": "64", "precise_bn_iterations": "2", "rois_per_image": "8"}
# Of a pair. With this many regions no draw, which is of a device's own generator, decides which are trained on.
FIRST = {"iterations": "2", "steps": "1", "rois_per_image": "4096", "precise_bn_iterations": "1"}

# One process of a trial, which sends itself a signal in the middle of an iteration.
TRIAL = """
import json, os, signal, sys, torch
from pathlib import Path
from detectron2.engine import SimpleTrainer
from twinbench.detection.options import Options
from twinbench.detection.trial import measure
from twinbench.report.asked import Asked
from twinbench.protocols.catalogue import find_protocol
from twinbench.runtime.stopping import EXIT_CODE, StopAsked
torch.set_num_threads(1)
name, data, out, device, ends_at, number, settings = sys.argv[1:]
step = SimpleTrainer.run_step

def step_or_die(self):
    if self.iter == int(ends_at):
        os.kill(os.getpid(), int(number))
    step(self)

SimpleTrainer.run_step = step_or_die
protocol = find_protocol(name).with_settings(json.loads(settings))
seconds = 0.0 if int(number) == signal.SIGKILL else 1e9
try:
    asked = Asked(protocol, "random", Path(data), Path(out), device=device, workers=2)
    measure(asked, Options(deterministic=True, checkpoint_seconds=seconds))
except StopAsked:
    sys.exit(EXIT_CODE)
"""
NEVER = -1


@pytest.fixture(autouse=True)
def one_thread(same_start):
    torch.set_num_threads(1)  # as in the processes


def words(name, scenes, out, device, ends_at=NEVER, number=signal.SIGTERM, **settings):
    """Return the command of one process of a trial."""
    given = [name, scenes / FOLDERS[name], out, device, ends_at, int(number), json.dumps(SMALL | settings)]
    return [sys.executable, "-c", TRIAL, *map(str, given)]


def here(name, scenes, out, device):
    """Run a trial, or what is left of it, in this process."""
    asked = Asked(
        find_protocol(name).with_settings(SMALL), "random", scenes / FOLDERS[name], out, device=device, workers=0
    )
    return measure(asked, Options(deterministic=True))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_run_that_was_killed_and_then_told_to_stop_ends_with_the_same_bits(scenes, tmp_path, device, on_gpu, name):
    if name == FPN and not on_gpu:
        pytest.skip("the same code as for C4, and minutes of a processor: a rehearsal leaves it out")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    killed = subprocess.run(words(name, scenes, broken, device, ends_at=3, number=signal.SIGKILL), timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoints(broken / "checkpoints")[-1].stem == "iteration_0000003"
    told = subprocess.run(words(name, scenes, broken, device, ends_at=4), timeout=300)
    assert told.returncode == EXIT_CODE
    assert checkpoints(broken / "checkpoints")[-1].stem == "iteration_0000005"
    found, expected = here(name, scenes, broken, device), here(name, scenes, whole, device)
    ours, theirs = (load(out / "model_final.pth")["model"] for out in (broken, whole))
    assert [tensor for tensor in theirs if not torch.equal(ours[tensor], theirs[tensor])] == []
    assert found.metrics == expected.metrics
    assert found.curves == expected.curves


def pair(name, scenes, out, device, **settings):
    """Run a trial by two processes on one device; return the losses of its first iteration."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out.mkdir()
    processes = []
    for rank in range(2):
        place = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = os.environ | {variable: str(value) for variable, value in place.items()}
        with (out / f"said{rank}.txt").open("w") as said:
            command = words(name, scenes, out, device, **settings)
            processes.append(subprocess.Popen(command, env=environment, stdout=said, stderr=said))
    codes = [process.wait(timeout=300) for process in processes]
    assert codes == [0, 0], "".join((out / f"said{rank}.txt").read_text() for rank in range(2))
    return next(iter(read_log(out / "log.jsonl")))


def test_two_processes_on_one_card_train_as_two_on_processors(scenes, tmp_path, device, on_gpu):
    """The first losses: a region that is suppressed on the one side alone is one of a hundred, 1 % of a loss."""
    found = pair(C4, scenes, tmp_path / "device", device, **FIRST)
    assert read_result(tmp_path / "device" / "result.json").device.startswith(device)
    if on_gpu:
        expected = pair(C4, scenes, tmp_path / "cpu", "cpu", **FIRST)
        assert found == pytest.approx(expected, rel=0.02, abs=1e-3)
