"""Two processes on one card against one: gloo takes NCCL's place, and both compute what one does, or end together.

Where a second card is there, each has one of its own, and NCCL its turn. The processes are started anew, not forked:
CUDA does not outlive a fork. Each start costs ten seconds on a GPU, so that one pair does all that it can.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import twinbench
from twinbench.convert.files import load, save
from twinbench.pretrain.loss import barlow_twins_loss
from twinbench.runtime.progress import read_log

ROOT = Path(__file__).parent.parent.parent
PRETRAIN = ["--recipe", "demo", "--precision", "fp32", "--workers", "0", "--log-steps", "1"]
PRETRAIN += [f"--set={pair}" for pair in ("width=0.0625", "batch_size=8", "projector=16,16", "crop=16", "epochs=1")]
TRANSFER = ["--partial", "--workers", "0"]
# Small steps: a random network's batch norms blow up what float32 rounds, and each step takes that further.
TUNING = [f"--set={pair}" for pair in ("epochs=1", "batch_size=8", "lr_backbone=1e-5", "lr_head=1e-3")]
FORMS = ("dense", "chunked", "gram")

WORK = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch import nn
import twinbench
from twinbench.convert.files import load, save
from twinbench.pretrain.loss import barlow_twins_loss
from twinbench.runtime.batchnorm import GlobalBatchNorm, synchronize
from twinbench.runtime.distributed import from_main, meet, summed
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import current_process, process_group

torch.set_num_threads(1)
device, folder, *commands = sys.argv[1:]
folder = Path(folder)
process = current_process(device)
found = {}
with process_group(process) as place, network_precision("fp32", place):
    given = load(folder / "given.pth")
    z1, z2, x, g = (given[name].chunk(2)[process.rank].to(place) for name in ("z1", "z2", "x", "g"))
    for form in ("dense", "chunked", "gram"):
        ones, others = z1.clone().requires_grad_(), z2.clone().requires_grad_()
        loss = barlow_twins_loss(ones, others, 0.02, form=form)
        loss.backward()
        found[form] = [loss.detach().cpu(), ones.grad.cpu(), others.grad.cpu()]
    norm = nn.BatchNorm2d(3)
    for name, layer in (("torch", synchronize(nn.Sequential(norm), place)), ("ours", GlobalBatchNorm.of(norm))):
        if name == "ours":
            norm.reset_running_stats()
        layer.to(place)
        inputs = x.clone().requires_grad_()
        outputs = layer(inputs)
        (outputs * g).sum().backward()
        found[name] = [outputs.detach().cpu(), inputs.grad.cpu()]
    found["backend"] = dist.get_backend()
    found["told"] = from_main(process, lambda: process.rank)
    found["sum"] = summed(torch.tensor([process.rank + 1.0]), process)
    meet(process)
save(found, folder / f"found{process.rank}.pth")
for words in commands:
    code = twinbench.main([*words.split("|"), "--device", device])
    if code:
        sys.exit(code)
"""

ENDS = """
import os, signal, sys, time, torch, torch.distributed as dist
import twinbench.cli
from twinbench.runtime.process import current_process, process_group

class Room:
    def add_arguments(parser): pass
    def run(arguments):
        process = current_process(sys.argv[1])
        with process_group(process) as place:
            dist.all_reduce(torch.zeros(1, device=place))
            if process.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            dist.all_reduce(torch.zeros(1, device=place))
            torch.zeros(1, device=place).item()
            time.sleep(300)

twinbench.cli._load = lambda name: Room
sys.exit(twinbench.cli.main(["transfer"]))
"""


def run_pair(folder: Path, code: str, *words: str) -> tuple[list[int], list[list[str]]]:
    """Run Python `code` in two processes; return their exit codes and what they said on stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    run: list[subprocess.Popen[bytes]] = []
    for rank in range(2):
        group = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        with (folder / f"said{rank}").open("w") as said:
            command = [sys.executable, "-c", code, *words]
            run.append(subprocess.Popen(command, env=os.environ | group, stdout=said, stderr=said))
    codes = [process.wait(timeout=240) for process in run]
    return codes, [(folder / f"said{rank}").read_text().splitlines() for rank in range(2)]


def make_images(root: Path) -> None:
    """Write an ImageNet tree of two classes: 24 images of training, 10 of test."""
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 10)):
        for i in range(count):
            path = root / split / f"n0000000{i % 2}" / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            blocks = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            blocks.resize((24, 24), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def given() -> dict[str, torch.Tensor]:
    """Embeddings, and a batch with what its outputs are weighed by."""
    torch.manual_seed(0)
    z1 = torch.randn(16, 24)
    return {"z1": z1, "z2": z1 + torch.randn_like(z1), "x": torch.randn(6, 3, 4, 4) + 2, "g": torch.randn(6, 3, 4, 4)}


@pytest.fixture(scope="module")
def pair(
    device: str, scenes: Path, given: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What two processes on one card found, and one process on the same card."""
    folder, images = tmp_path_factory.mktemp("pair"), tmp_path_factory.mktemp("images")
    make_images(images)
    root = str(scenes / "imagenet")
    save(given, folder / "given.pth")

    def commands(name: str) -> list[list[str]]:
        out = folder / name
        return [
            ["pretrain", str(images), str(out / "pretrain"), *PRETRAIN],
            ["transfer", "demo-imagenet-10pct", "random", root, str(out / "tuned"), *TRANSFER, *TUNING],
            ["transfer", "demo-imagenet-knn", "random", root, str(out / "knn"), *TRANSFER],
        ]

    codes, said = run_pair(folder, WORK, device, str(folder), *["|".join(words) for words in commands("two")])
    assert codes == [0, 0], said
    for words in commands("one"):
        assert twinbench.main([*words, "--device", device]) == 0
    return {"found": [load(folder / f"found{rank}.pth") for rank in range(2)], "said": said, "folder": folder}


def joined(pair: dict[str, Any], name: str, part: int) -> torch.Tensor:
    return torch.cat([found[name][part] for found in pair["found"]])


def test_two_on_one_card_exchange_by_gloo(pair: dict[str, Any]) -> None:
    assert [found["backend"] for found in pair["found"]] == ["gloo", "gloo"]


def test_who_shares_a_card_is_told_so_once(pair: dict[str, Any], only_gpu: None) -> None:
    warnings = [[line for line in said if "NCCL takes no two of one card" in line] for said in pair["said"]]
    assert [len(lines) for lines in warnings] == [4, 0]  # once a group, from the main process


def test_words_and_sums_reach_both(pair: dict[str, Any]) -> None:
    assert [(found["told"], found["sum"].item()) for found in pair["found"]] == [(0, 3.0), (0, 3.0)]


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_of_the_global_batch(pair: dict[str, Any], given: dict[str, torch.Tensor], form: str) -> None:
    """Against the processor in float64. float32 has 24 bits: sums of 24^2 squares keep five digits."""
    z1, z2 = (given[name].double().requires_grad_() for name in ("z1", "z2"))
    loss = barlow_twins_loss(z1, z2, 0.02, form="dense")
    loss.backward()
    assert z1.grad is not None
    expected = [loss.detach(), z1.grad]
    close = {"rtol": 1e-4, "atol": 1e-4 * float(z1.grad.abs().max())}
    torch.testing.assert_close(pair["found"][1][form][0].double(), expected[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(joined(pair, form, 1).double(), expected[1], **close)


@pytest.mark.parametrize("norm", ["torch", "ours"])
def test_batch_norm_of_the_global_batch(pair: dict[str, Any], given: dict[str, torch.Tensor], norm: str) -> None:
    x = given["x"].double().requires_grad_()
    y = nn.BatchNorm2d(3).double()(x)
    (y * given["g"].double()).sum().backward()
    torch.testing.assert_close(joined(pair, norm, 0).double(), y.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(joined(pair, norm, 1).double(), x.grad, rtol=1e-4, atol=1e-5)


def test_pretraining_has_the_curve_of_one_process(pair: dict[str, Any]) -> None:
    """Three steps: float32 sums in another order, which LARS's steps make grow."""
    logs = [read_log(pair["folder"] / name / "pretrain" / "log.jsonl") for name in ("one", "two")]
    one, two = ([line["loss"] for line in log if "loss" in line] for log in logs)
    assert len(one) == 3
    assert two == pytest.approx(one, rel=2e-3)


def test_fine_tuning_has_the_loss_of_one_process(pair: dict[str, Any]) -> None:
    curves = []
    for name in ("one", "two"):
        curves.append(json.loads((pair["folder"] / name / "tuned" / "result.json").read_text())["curves"]["loss"])
    assert curves[1][0] == pytest.approx(curves[0][0], rel=2e-3)


def test_nearest_neighbours_are_those_of_one_process(pair: dict[str, Any]) -> None:
    """Features are of each image alone, whichever process makes them: the same kernels, the same bits."""
    results = [json.loads((pair["folder"] / name / "knn" / "result.json").read_text()) for name in ("one", "two")]
    assert results[1]["metrics"] == results[0]["metrics"]


def test_when_one_is_killed_the_other_ends_in_one_line(device: str, tmp_path: Path) -> None:
    began = time.monotonic()
    codes, said = run_pair(tmp_path, ENDS, device)
    assert codes == [1, -9], said
    lines = [line for line in said[0] if "cannot go on alone" in line]
    assert len(lines) == 1, said
    assert "Traceback" not in "".join(said[0])
    assert time.monotonic() - began < 90  # two imports on a busy machine; gloo's own limit is 30 minutes


def test_two_that_take_what_there_is_are_refused_one_card(tmp_path: Path, only_gpu: None) -> None:
    if torch.cuda.device_count() > 1:
        pytest.skip("this machine has a card for each")
    codes, said = run_pair(tmp_path, ENDS, "auto")
    assert codes == [2, 2], said
    assert "processes 0 and 1 are both on cuda:0" in said[0][-1]


def test_two_on_two_cards_exchange_by_nccl_and_end_together(tmp_path: Path, only_gpu: None) -> None:
    """Nothing wakes a process that waits in NCCL's collective: the watch ends it."""
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two cards, for NCCL to take part")
    began = time.monotonic()
    codes, said = run_pair(tmp_path, ENDS, "auto")
    assert codes == [1, -9], said
    assert sum("cannot go on alone" in line for line in said[0]) == 1
    assert time.monotonic() - began < 90
