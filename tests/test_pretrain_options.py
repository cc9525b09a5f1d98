"""Options that move no number: deterministic kernels, loader processes; and what a GPU that is too small is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import twinbench
from twinbench.pretrain.images import views_from_files
from twinbench.pretrain.train import Run
from twinbench.runtime.process import Process, loader_workers
from twinbench.runtime.progress import read_log

TINY = ["--recipe", "demo", "--device", "cpu", "--precision", "fp32", "--log-steps", "1"]
TINY += [f"--set={pair}" for pair in ("width=0.0625", "epochs=1", "batch_size=8", "projector=16,16", "crop=16")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(8):
        path = root / "train" / "one" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 20 + i, 3), dtype=np.uint8)).save(path)
    return root


def pretrain(data: Path, out: Path, *more: str) -> int:
    return twinbench.main(["pretrain", str(data), str(out), *TINY, *more])


@pytest.mark.parametrize(("more", "expected"), [(("--deterministic",), True), ((), False)])
def test_deterministic_kernels_compute_the_steps(
    more: tuple[str, ...], expected: bool, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    step = Run._step

    def look(run: Run, *views: Any) -> Any:
        found.append(torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark)
        return step(run, *views)

    monkeypatch.setattr(Run, "_step", look)
    assert pretrain(images, tmp_path, "--workers=0", *more) == 0
    assert found == [expected]


def test_the_log_tells_whether_kernels_were_deterministic(images: Path, tmp_path: Path) -> None:
    assert pretrain(images, tmp_path, "--workers=0", "--deterministic") == 0
    start = next(iter(read_log(tmp_path / "log.jsonl")))
    assert start["deterministic"] is True


def test_compiled_kernels_promise_no_equal_bits(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain(images, tmp_path, "--deterministic", "--compile") == 2
    assert "--deterministic with --compile" in capsys.readouterr().err


def test_a_gpu_without_memory_takes_one_line(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words are those of PyTorch 2.14 on a full card, which go on for 600 characters."""

    def fail(run: Run, *views: Any) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.06 GiB"
            " is free. Including non-PyTorch memory, this process has 14.70 GiB memory in use."
        )

    monkeypatch.setattr(Run, "_step", fail)
    assert pretrain(images, tmp_path, "--workers=0") == 1
    assert capsys.readouterr().err == (
        "twinbench pretrain: cpu: CUDA out of memory. Tried to allocate 2.25 GiB; its share is 8 images of 16 px; start"
        " more processes, or choose --precision bf16 or a smaller batch_size\n"
    )


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the loader processes of each run that follows."""
    found: list[int] = []

    def look(*given: Any, workers: int, **more: Any) -> Any:
        found.append(workers)
        return views_from_files(*given, workers=0, **more)

    monkeypatch.setattr("twinbench.pretrain.train.views_from_files", look)
    return found


@pytest.mark.parametrize(("device", "expected"), [("cpu", 2), ("cuda:0", 12)])
def test_loader_processes_suit_the_machine(
    device: str,
    expected: int,
    images: Path,
    tmp_path: Path,
    loaders: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two beside a processor; beside a GPU, which two starve, every core: here 12 of them, and the GPU is a name."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)))
    beside = lambda _, asked: loader_workers(Process(device=device), asked)  # noqa: E731
    monkeypatch.setattr("twinbench.pretrain.train.loader_workers", beside)
    assert pretrain(images, tmp_path) == 0
    assert loaders == [expected]
