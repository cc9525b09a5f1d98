"""Two processes on CPUs: they train and evaluate together, and a killed pair ends with the same bits."""

import multiprocessing
import os
import re
import shutil
import signal
import socket
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import SimpleTrainer
from detectron2.layers import NaiveSyncBatchNorm, get_norm
from detectron2.solver import build_optimizer
from fvcore.nn.precise_bn import get_bn_modules

from twinbench.convert.files import load, save
from twinbench.detection import work
from twinbench.detection.models.norms import with_synchronized_norms
from twinbench.detection.options import Options
from twinbench.detection.pictures import draw_predictions
from twinbench.detection.training.checkpoint import checkpoints
from twinbench.detection.training.step import Trainer
from twinbench.detection.trial import measure
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import RunEnded, UserError
from twinbench.report.asked import Asked
from twinbench.report.result import read_result
from twinbench.runtime.process import Process, current_process, process_group
from twinbench.runtime.stopping import EXIT_CODE, StopAsked

SMALL = {"batch_size": 2, "iterations": 8, "steps": "6", "warmup_iterations": 2, "rois_per_image": 8}
SMALL |= {"rpn_post_nms_test": 8, "min_size_train": 64, "min_size_test": 64, "precise_bn_iterations": 2}
SEGMENTER = {"batch_size": 4, "iterations": 6, "long_side": 128, "short_side": 64, "crop": 64}
SEGMENTER |= {"head_channels": 16, "aux_channels": 8}
FORK = multiprocessing.get_context("fork")  # importing torch and Detectron2 takes seconds


def trial(data, out, ends_at, number, settings):
    """Run this process's part of a trial; it sends itself `number` in iteration `ends_at`."""
    step = SimpleTrainer.run_step

    def step_or_die(self):
        if self.iter == ends_at:
            os.kill(os.getpid(), number)
        step(self)

    SimpleTrainer.run_step = step_or_die
    work.draw_predictions = partial(draw_predictions, images=1)
    protocol = find_protocol("demo-voc0712-frcnn-c4").with_settings(SMALL | settings)
    if data.name == "masks":
        protocol = find_protocol("demo-voc12aug-fcn-20k").with_settings(SEGMENTER | settings)
    protocol = replace(protocol, width=0.125)
    asked = Asked(protocol, "random", data, out, device="cpu", workers=0)
    try:
        measure(asked, Options(checkpoint_seconds=1e9 if number == signal.SIGTERM else 0.0))
    except StopAsked:
        sys.exit(EXIT_CODE)
    except (UserError, RunEnded) as error:  # as the front door does
        print(error)
        sys.exit(getattr(error, "exit_code", 2))


def start(data, out, ends_at=(-1, -1), number=signal.SIGKILL, **settings):
    """Start a process of a trial for each of `ends_at`, the iteration in which it sends itself `number`."""
    return start_group(out, trial, *[(data, out, at, number, settings) for at in ends_at])


def start_group(out, work, *words):
    """Start the processes of one group, which do `work` with words of their own; return them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def child(rank):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(len(words)))
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        sys.stdout = sys.stderr = (out / f"said{rank}.txt").open("w", buffering=1)
        work(*words[rank])

    out.mkdir(exist_ok=True)
    processes = [FORK.Process(target=child, args=(rank,)) for rank in range(len(words))]
    for process in processes:
        process.start()
    return processes


def ended(processes):
    """Wait for all; return their exit codes."""
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def finish(processes, out):
    """Wait for all; show what they said if one failed."""
    said = [out / f"said{rank}.txt" for rank in range(len(processes))]
    assert ended(processes) == [0] * len(processes), "".join(path.read_text() for path in said)


@pytest.fixture(scope="module")
def whole(scenes, tmp_path_factory):
    """A detector that two processes trained without a break."""
    out = tmp_path_factory.mktemp("whole") / "out"
    finish(start(scenes / "VOCdevkit", out), out)
    return out


def test_a_pair_that_was_killed_and_then_told_to_stop_ends_with_the_same_bits(scenes, tmp_path, whole):
    data, broken = scenes / "VOCdevkit", tmp_path / "broken"
    assert ended(start(data, broken, ends_at=(3, 3))) == [-signal.SIGKILL] * 2
    assert checkpoints(broken / "checkpoints")[-1].stem == "iteration_0000003"
    told = start(data, broken, ends_at=(-1, 4), number=signal.SIGTERM)  # one of them is told, both stop
    assert ended(told) == [75, 75], (broken / "said0.txt").read_text()
    assert checkpoints(broken / "checkpoints")[-1].stem == "iteration_0000005"
    finish(start(data, broken), broken)
    ours, theirs = (load(out / "model_final.pth")["model"] for out in (broken, whole))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    found, expected = read_result(broken / "result.json"), read_result(whole / "result.json")
    assert found.metrics == expected.metrics
    assert found.curves == expected.curves


def test_a_pair_that_trains_a_segmenter_ends_with_the_same_bits_after_a_kill(scenes, tmp_path):
    data, whole, broken = scenes / "masks", tmp_path / "whole", tmp_path / "broken"
    assert ended(start(data, broken, ends_at=(3, 3))) == [-signal.SIGKILL] * 2
    finish(start(data, broken), broken)
    finish(start(data, whole), whole)
    ours, theirs = (load(out / "model_final.pth")["model"] for out in (broken, whole))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert read_result(broken / "result.json").metrics == read_result(whole / "result.json").metrics


FIXED = {"norm": "FrozenBN", "extra_norm": False, "lr": 0.002, "precise_bn_iterations": 0}


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes_and_the_result_says_so(scenes, tmp_path, before, after):
    """It is killed once more on the way: each number is told once."""
    data, out = scenes / "VOCdevkit", tmp_path / "out"
    assert ended(start(data, out, [3] * before, **FIXED)) == [-signal.SIGKILL] * before
    assert ended(start(data, out, [5] * after, **FIXED)) == [-signal.SIGKILL] * after
    finish(start(data, out, [-1] * after, **FIXED), out)
    assert read_result(out / "result.json").details["processes"] == [before, after]


def test_a_run_on_the_same_number_of_processes_does_not_speak_of_them(scenes, tmp_path):
    data, out = scenes / "VOCdevkit", tmp_path / "out"
    finish(start(data, out, **FIXED), out)
    assert "processes" not in read_result(out / "result.json").details


def test_norms_of_each_processs_own_images_are_not_moved_to_other_processes(scenes, tmp_path):
    data, out = scenes / "VOCdevkit", tmp_path / "out"
    assert ended(start(data, out, (3, 3), norm="naiveSyncBN")) == [-signal.SIGKILL] * 2
    assert ended(start(data, out, [-1], norm="naiveSyncBN")) == [2]
    words = "a run that began with 2 processes, and this one has 1; NaiveSyncBatchNorm depends on how many images"
    assert words in (out / "said0.txt").read_text()


def test_a_finished_training_is_measured_on_any_number_of_processes(scenes, tmp_path, whole):
    data, out = scenes / "VOCdevkit", shutil.copytree(whole, tmp_path / "out")
    trained, metrics = load(out / "model_final.pth")["model"], read_result(out / "result.json").metrics
    (out / "result.json").unlink()
    finish(start(data, out, [-1]), out)
    again = load(out / "model_final.pth")["model"]
    assert [name for name in trained if not torch.equal(again[name], trained[name])] == []
    assert read_result(out / "result.json").metrics == metrics


def test_a_rate_that_is_far_too_high_ends_both_processes_each_in_one_line(scenes, tmp_path):
    data, out = scenes / "VOCdevkit", tmp_path / "out"
    assert ended(start(data, out, lr=1e8, warmup_iterations=0)) == [2, 2]
    for rank in range(2):
        lines = [line for line in (out / f"said{rank}.txt").read_text().splitlines() if "has diverged" in line]
        assert len(lines) == 1
        assert re.search(r"iteration \d+: .* at a rate of 1e\+08; .*; choose a lower rate, --set lr", lines[0])
    assert checkpoints(out / "checkpoints")


def test_a_loss_that_is_lost_in_one_process_ends_both_in_the_same_iteration(scenes, tmp_path, monkeypatch):
    """The state after the iteration before is the newest: the lost one takes no step."""
    original = Trainer._write_metrics

    def write(self, losses, *given):
        if self.iter == 2 and self.process.rank == 1:
            losses["loss_cls"] = losses["loss_cls"] * float("nan")
        original(self, losses, *given)

    monkeypatch.setattr(Trainer, "_write_metrics", write)  # the processes are forks of this one
    data, out = scenes / "VOCdevkit", tmp_path / "out"
    assert ended(start(data, out)) == [2, 2]
    for rank in range(2):
        assert "iteration 2: the training has diverged (loss_cls nan)" in (out / f"said{rank}.txt").read_text()
    assert checkpoints(out / "checkpoints")[-1].stem == "iteration_0000002"


def norm(folder):
    """Apply both norms to this process's part of each batch."""
    process = current_process("cpu")
    found = {}
    with process_group(process):
        for shapes in ("equal", "unequal"):
            for name, norm in (("SyncBN", torch.nn.SyncBatchNorm(4)), ("naiveSyncBN", NaiveSyncBatchNorm(4))):
                layer = with_synchronized_norms(torch.nn.Sequential(norm), process)
                x = torch.load(folder / f"{shapes}{process.rank}.pth").requires_grad_()
                y = layer(x)
                (y * torch.load(folder / f"weight {shapes}{process.rank}.pth")).sum().backward()
                running = {"mean": layer[0].running_mean, "variance": layer[0].running_var}
                found[f"{name} {shapes}"] = {"y": y.detach(), "gradient": x.grad, **running}
    save(found, folder / f"found{process.rank}.pth")


@pytest.fixture(scope="module")
def norms(tmp_path_factory):
    """Return what each of two processes found, and (pixels, channels) of the batch and of a weight for each pixel."""
    folder = tmp_path_factory.mktemp("norms")
    torch.manual_seed(0)
    given = {}
    for shapes, sizes in {"equal": [(2, 4, 5, 6)] * 2, "unequal": [(3, 4, 5, 6), (1, 4, 7, 3)]}.items():
        for kind in ("", "weight "):
            parts = [torch.randn(size) * (rank + 1) + rank for rank, size in enumerate(sizes)]
            given[kind + shapes] = torch.cat([pixels(part) for part in parts])
            for rank, part in enumerate(parts):
                torch.save(part, folder / f"{kind}{shapes}{rank}.pth")
    finish(start_group(folder, norm, (folder,), (folder,)), folder)
    return [load(folder / f"found{rank}.pth") for rank in range(2)], given


def pixels(images):
    """(N, C, H, W) -> (pixels, C)"""
    return images.movedim(1, 3).flatten(0, 2)


def together(norms, case, what):
    return torch.cat([pixels(found[case][what]) for found in norms[0]])


@pytest.mark.parametrize("shapes", ["equal", "unequal"])
def test_syncbn_among_processors_is_batch_norm_of_all_pixels(norms, shapes):
    x = norms[1][shapes].clone().requires_grad_()
    layer = torch.nn.BatchNorm1d(4)
    y = layer(x)
    (y * norms[1][f"weight {shapes}"]).sum().backward()
    case = f"SyncBN {shapes}"
    assert torch.allclose(together(norms, case, "y"), y, atol=1e-6)
    assert torch.allclose(together(norms, case, "gradient"), x.grad, atol=1e-6)
    for found in norms[0]:
        assert torch.allclose(found[case]["mean"], layer.running_mean, atol=1e-6)
        assert torch.allclose(found[case]["variance"], layer.running_var, atol=1e-6)


def test_naive_syncbn_is_the_same_on_batches_of_one_shape_but_for_the_biased_running_variance(norms):
    ours, naive = (together(norms, f"{name} equal", "y") for name in ("SyncBN", "naiveSyncBN"))
    assert torch.allclose(ours, naive, atol=1e-5)
    kept, of_naive = ((norms[0][0][f"{name} equal"]["variance"] - 0.9) / 0.1 for name in ("SyncBN", "naiveSyncBN"))
    n = len(norms[1]["equal"])
    assert torch.allclose(kept / of_naive, torch.tensor(n / (n - 1)), rtol=1e-4)


def test_naive_syncbn_is_another_norm_on_batches_of_two_shapes(norms):
    ours, naive = (together(norms, f"{name} unequal", "y") for name in ("SyncBN", "naiveSyncBN"))
    assert not torch.allclose(ours, naive, atol=0.1)


@pytest.mark.parametrize("norm", ["SyncBN", "naiveSyncBN", "BN"])
def test_on_one_process_all_norms_are_plain_batch_norm(norm):
    x = torch.randn(2, 4, 5, 6)
    layer, plain = with_synchronized_norms(get_norm(norm, 4), Process()), torch.nn.BatchNorm2d(4)
    assert torch.equal(layer(x), plain(x))
    assert torch.equal(layer.running_var, plain.running_var)


def test_what_stands_for_syncbn_is_found_where_norms_are_looked_for_by_class():
    """Precise batch norm and the weight decay of norms would pass over any other class, without a word."""
    pair = Process(world=2)
    model = with_synchronized_norms(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.SyncBatchNorm(4)), pair)
    assert get_bn_modules(model) == [model[1]]
    decay = {id(group["params"][0]): group["weight_decay"] for group in build_optimizer(get_cfg(), model).param_groups}
    assert decay[id(model[1].weight)] == 0
    assert decay[id(model[0].weight)] > 0
