"""Two processes on CPUs: they train and evaluate together, and a killed pair ends with the same bits."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from twinbench.convert.files import load
from twinbench.detection.checkpoint import checkpoints
from twinbench.detection.trial import require_norm
from twinbench.protocols.detection import VOC_C4
from twinbench.report.result import read_result
from twinbench.report.trial import TrialError
from twinbench.runtime.process import Process

PAIR = """
import os, signal, sys, torch
from pathlib import Path
from detectron2.engine import SimpleTrainer
from twinbench.detection.trial import Wanted, run_trial
from twinbench.protocols.catalogue import find_protocol
from twinbench.runtime.stopping import EXIT_CODE, StopAsked
torch.set_num_threads(1)
data, out, ends_at, number, *settings = sys.argv[1:]
step = SimpleTrainer.run_step

def step_or_die(self):
    if self.iter == int(ends_at):
        os.kill(os.getpid(), int(number))
    step(self)

SimpleTrainer.run_step = step_or_die
protocol = find_protocol("demo-voc0712-frcnn-c4").with_settings(dict(word.split("=") for word in settings))
seconds = 1e9 if int(number) == signal.SIGTERM else 0.0
try:
    run_trial(Wanted(protocol, "random", Path(data), Path(out), device="cpu", workers=0, checkpoint_seconds=seconds))
except StopAsked:
    sys.exit(EXIT_CODE)
"""
SMALL = ["batch_size=2", "iterations=8", "steps=6", "warmup_iterations=2", "rois_per_image=8", "rpn_post_nms_test=8"]
SMALL += ["min_size_train=64", "min_size_test=64", "precise_bn_iterations=2"]


def start(data, out, ends_at=(-1, -1), number=signal.SIGKILL):
    """Start both processes of a trial, which send themselves `number` in iteration `ends_at`; return them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out.mkdir(exist_ok=True)
    processes = []
    for rank in range(2):
        place = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in place.items()} | {"OMP_NUM_THREADS": "1"}
        with (out / f"said{rank}.txt").open("w") as said:
            command = [sys.executable, "-c", PAIR, data, out, str(ends_at[rank]), str(int(number)), *SMALL]
            processes.append(subprocess.Popen(command, env=environment, stdout=said, stderr=said))
    return processes


def finish(processes, out):
    """Wait for both; show what they said if one failed."""
    codes = [process.wait(timeout=300) for process in processes]
    assert codes == [0, 0], "".join((out / f"said{rank}.txt").read_text() for rank in range(2))


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    finish(start(scenes / "VOCdevkit", out), out)
    return out


@pytest.mark.parametrize(
    ("ends_at", "number", "codes"),
    [((5, 5), signal.SIGKILL, [-signal.SIGKILL] * 2), ((-1, 4), signal.SIGTERM, [75, 75])],  # one of them is told
    ids=["killed", "told to stop"],
)
def test_a_pair_that_was_ended_goes_on_to_the_same_bits(scenes, tmp_path, whole, ends_at, number, codes):
    data, broken = scenes / "VOCdevkit", tmp_path / "broken"
    pair = start(data, broken, ends_at, number)
    assert [process.wait(timeout=300) for process in pair] == codes, (broken / "said0.txt").read_text()
    assert checkpoints(broken / "checkpoints")[-1].stem == "iteration_0000005"
    finish(start(data, broken), broken)
    ours, theirs = (load(out / "model_final.pth")["model"] for out in (broken, whole))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    found, expected = read_result(broken / "result.json"), read_result(whole / "result.json")
    assert found.metrics == expected.metrics
    assert found.curves == expected.curves


def test_torchs_synchronized_norm_on_cpus_is_refused_with_a_way_out():
    recipe = replace(VOC_C4, norm="SyncBN")
    with pytest.raises(TrialError, match="norm SyncBN among 2 CPU processes: .*--set norm=naiveSyncBN"):
        require_norm(recipe, Process(rank=1, world=2, device="cpu"))
    require_norm(recipe, Process(device="cpu"))  # alone it is plain batch norm
    require_norm(recipe, Process(world=2, device="cuda:0"))
    require_norm(VOC_C4, Process(world=2, device="cpu"))
