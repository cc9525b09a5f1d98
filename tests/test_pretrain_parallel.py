"""Many processes: value, gradient and weights are those of the global batch, kills and signals included."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn

import twinbench
from twinbench.convert.files import load
from twinbench.pretrain import train
from twinbench.pretrain.loss import barlow_twins_loss, correlation_statistics
from twinbench.pretrain.monitor import Monitor
from twinbench.pretrain.objectives import OTHERS, objective
from twinbench.protocols.pretraining import RECIPES
from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.process import Process
from twinbench.runtime.progress import read_log

FORK = get_context("fork")
OBJECTIVES_OF = replace(RECIPES["barlow-twins"], batch_size=12)
TINY = ["--recipe", "demo", "--device", "cpu", "--precision", "fp32", "--workers", "0", "--log-steps", "1"]
TINY += [f"--set={pair}" for pair in ("width=0.0625", "batch_size=8", "projector=16,16", "crop=16")]


def compute_part(folder: Path, rank: int, world: int, given: dict[str, Tensor], norm: nn.BatchNorm2d) -> None:
    """Compute what one process of many finds, and save it."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    found: dict[str, object] = {}
    z1, z2, x, g = (given[name].chunk(world)[rank].clone().requires_grad_() for name in ("z1", "z2", "x", "g"))
    for form in ("dense", "chunked", "gram"):
        z1.grad = z2.grad = None
        loss = barlow_twins_loss(z1, z2, 0.02, form=form)
        loss.backward()
        found[form] = loss.detach(), z1.grad, z2.grad
    for name in OTHERS:
        z1.grad = z2.grad = None
        loss = objective(z1, z2, replace(OBJECTIVES_OF, objective=name), "auto")
        loss.backward()
        found[name] = loss.detach(), z1.grad, z2.grad
    found["statistics"] = correlation_statistics(z1, z2)
    synced = GlobalBatchNorm.of(norm)
    y = synced(x)
    (y * g).sum().backward()
    found["norm"] = y.detach(), x.grad, synced.weight.grad, synced.bias.grad, synced.running_mean, synced.running_var
    found["eval"] = synced.eval()(x).detach()
    torch.save(found, folder / f"found{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [2, 3])
def test_loss_and_batch_norm_of_the_global_batch(world: int, tmp_path: Path) -> None:
    """Against one process that sees all images, in float64."""
    torch.manual_seed(world)
    z1 = torch.randn(12, 20, dtype=torch.float64)
    z2 = z1 + torch.randn_like(z1)
    norm = nn.BatchNorm2d(3).double()
    nn.init.uniform_(norm.weight)
    x, g = torch.randn(2, 6, 3, 2, 4, dtype=torch.float64) + 5
    given = {"z1": z1, "z2": z2, "x": x, "g": g}
    run = [FORK.Process(target=compute_part, args=(tmp_path, rank, world, given, norm)) for rank in range(world)]
    for process in run:
        process.start()
    finish(run, 0)
    found = [torch.load(tmp_path / f"found{rank}.pt") for rank in range(world)]

    one, two = z1.clone().requires_grad_(), z2.clone().requires_grad_()
    a, b = (nn.functional.batch_norm(z, None, None, training=True, eps=1e-5) for z in (one, two))
    c = a.T @ b / 12
    loss = (c.diagonal() - 1).square().sum() + 0.02 * (c - torch.diag(c.diagonal())).square().sum()
    loss.backward()
    for form in ("dense", "chunked", "gram"):
        close([rank[form][0] for rank in found], [loss.detach()] * world)
        close(torch.cat([rank[form][1] for rank in found]), one.grad)
        close(torch.cat([rank[form][2] for rank in found]), two.grad)
    for name in OTHERS:
        one.grad = two.grad = None
        loss = objective(one, two, replace(OBJECTIVES_OF, objective=name), "auto")
        loss.backward()
        close([rank[name][0] for rank in found], [loss.detach()] * world)
        close(torch.cat([rank[name][1] for rank in found]), one.grad)
        close(torch.cat([rank[name][2] for rank in found]), two.grad)
    for rank in found:
        assert rank["statistics"]["mean_cii"] == pytest.approx(float(c.diagonal().mean().detach()))

    x.requires_grad_()
    y = norm(x)
    (y * g).sum().backward()
    parts = list(zip(*[rank["norm"] for rank in found], strict=True))
    close(torch.cat(parts[0]), y.detach())
    close(torch.cat(parts[1]), x.grad)
    close(torch.stack(parts[2]).sum(0), norm.weight.grad)
    close(torch.stack(parts[3]).sum(0), norm.bias.grad)
    close(list(parts[4]), [norm.running_mean] * world)
    close(list(parts[5]), [norm.running_var] * world)
    close(torch.cat([rank["eval"] for rank in found]), norm.eval()(x).detach())


def close(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(24):
        path = root / "train" / f"class{i % 2}" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        blocks.resize((24, 24), Image.Resampling.BICUBIC).save(path)
    return root


def start(data: Path, out: Path, *more: str, world: int = 2, dies_at: int = -1) -> list[ForkProcess]:
    """Start the processes of one run, as torchrun would; forked, as importing torch takes seconds.

    Each of them kills itself when it is about to make the step `dies_at`, counted from 0.
    """
    set_rates = train.set_rates

    def set_rates_or_die(optimizer: torch.optim.Optimizer, plan: train.Plan, step: int) -> None:
        if step == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        set_rates(optimizer, plan, step)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def child(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        train.set_rates = set_rates_or_die
        sys.exit(twinbench.main(["pretrain", str(data), str(out), *TINY, *more]))

    run = [FORK.Process(target=child, args=(rank,)) for rank in range(world)]
    for process in run:
        process.start()
    return run


def until(happened: Callable[[], bool], run: list[ForkProcess]) -> None:
    for _ in range(2400):
        if happened() or not all(process.is_alive() for process in run):
            return
        time.sleep(0.05)
    raise TimeoutError


def finish(run: list[ForkProcess], code: int) -> None:
    for process in run:
        process.join(240)
    assert [process.exitcode for process in run] == [code] * len(run)


def steps(out: Path) -> list[int]:
    log = out / "log.jsonl"
    return [line["step"] for line in read_log(log) if "loss" in line] if log.exists() else []


def weights(out: Path) -> dict[str, Tensor]:
    return load(out / "resnet50.pth")


def test_two_processes_compute_what_one_does_even_when_killed(images: Path, tmp_path: Path) -> None:
    """One, two, and two killed with SIGKILL: the same losses; the latter two with the same bits."""
    for world, name in ((1, "one"), (2, "two")):
        finish(start(images, tmp_path / name, "--set=epochs=2", world=world), 0)
    finish(start(images, tmp_path / "killed", "--set=epochs=2", "--save-seconds=0", dies_at=4), -signal.SIGKILL)
    assert load(tmp_path / "killed" / "checkpoint.pth")["twinbench"]["step"] == 4
    finish(start(images, tmp_path / "killed", "--set=epochs=2"), 0)
    two, again = weights(tmp_path / "two"), weights(tmp_path / "killed")
    assert all(torch.equal(two[name], again[name]) for name in two)
    logs = [[line for line in read_log(tmp_path / out / "log.jsonl") if "loss" in line] for out in ("one", "two")]
    for one, other in zip(*(log[:4] for log in logs), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)  # later, float32 rounding has grown


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_goes_on_in_another_number_of_processes(images: Path, tmp_path: Path, first: int, then: int) -> None:
    """Within rounding: a cluster that shrank, or a card that came free, does not begin anew."""
    out, more = tmp_path / "changed", ("--set=epochs=2", "--save-seconds=0")
    killed = start(images, out, *more, world=first)
    until(lambda: len(steps(out)) > 1, killed)
    for process in killed:
        process.kill()
        process.join()
    finish(start(images, out, *more, world=then), 0)
    finish(start(images, tmp_path / "one", *more, world=1), 0)
    assert steps(out) == [1, 2, 3, 4, 5, 6]
    logs = [[line for line in read_log(folder / "log.jsonl") if "loss" in line] for folder in (tmp_path / "one", out)]
    for one, other in zip(*logs, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=2e-3)


def accuracy_in(folder: Path, meet: Path, rank: int, world: int) -> None:
    """Save what one process of many finds with a backbone that all of them have."""
    dist.init_process_group("gloo", init_method=f"file://{meet}/meet", rank=rank, world_size=world)
    monitor = Monitor(folder, 16, Process(rank=rank, world=world), 0)
    torch.save(monitor.accuracy(nn.Flatten(), torch.device("cpu")), meet / f"found{rank}.pt")
    dist.destroy_process_group()


def test_more_processes_than_monitored_images(images: Path, tmp_path: Path) -> None:
    """The fourth one has none of the three, and used to fail alone."""
    for name in ("class0/00.png", "class0/02.png", "class1/01.png"):
        few = tmp_path / "few" / name
        few.parent.mkdir(parents=True, exist_ok=True)
        few.write_bytes((images / "train" / name).read_bytes())
    run = [FORK.Process(target=accuracy_in, args=(tmp_path / "few", tmp_path, rank, 4)) for rank in range(4)]
    for process in run:
        process.start()
    finish(run, 0)
    alone = Monitor(tmp_path / "few", 16, Process(), 0).accuracy(nn.Flatten(), torch.device("cpu"))
    assert [torch.load(tmp_path / f"found{rank}.pt") for rank in range(4)] == [alone] * 4


def test_a_short_last_batch_is_the_same_in_two_processes(images: Path, tmp_path: Path) -> None:
    """Batches of 10, 10 and 4 images; the latter's matrix is divided by 10 all the same. Both are monitored."""
    more = ("--set=batch_size=10", "--set=last_batch=short", "--set=reference_world=2", "--set=epochs=2")
    more += (f"--monitor={images / 'train'}", "--monitor-epochs=1")
    for world, name in ((1, "one"), (2, "two")):
        finish(start(images, tmp_path / name, *more, world=world), 0)
        assert steps(tmp_path / name) == [1, 2, 3, 4, 5, 6]
        log = read_log(tmp_path / name / "log.jsonl")
        assert [line["step"] for line in log if line.get("event") == "monitor"] == [3, 6]
    logs = [[line for line in read_log(tmp_path / out / "log.jsonl") if "loss" in line] for out in ("one", "two")]
    for one, other in zip(*logs, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=2e-3)


def test_two_processes_refuse_another_run_alike(images: Path, tmp_path: Path) -> None:
    finish(start(images, tmp_path, "--set=epochs=1"), 0)
    finish(start(images, tmp_path, "--set=epochs=1", "--seed=3"), 2)


def test_a_signal_to_one_process_stops_all_at_one_step(images: Path, tmp_path: Path) -> None:
    run = start(images, tmp_path, "--set=epochs=2000", "--save-seconds=1000")
    until(lambda: len(steps(tmp_path)) > 2, run)
    os.kill(run[1].pid or 0, signal.SIGUSR2)
    finish(run, 75)
    assert load(tmp_path / "checkpoint.pth")["twinbench"]["step"] == steps(tmp_path)[-1]


def test_a_batch_that_does_not_divide(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert twinbench.main(["pretrain", str(images), str(tmp_path), *TINY, "--set=batch_size=9"]) == 2
    assert "batch_size 9 does not divide by 2 processes" in capsys.readouterr().err
