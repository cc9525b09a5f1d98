"""The benchmarks compare like with like, and say which ones there are."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.loss import LOSSES, inputs, peak_mb


def test_both_losses_are_one_loss() -> None:
    z1, z2 = inputs(48, 96)
    values = {name: loss(z1, z2) for name, loss in LOSSES.items()}
    gradients = {name: torch.autograd.grad(value, (z1, z2)) for name, value in values.items()}
    assert float(values["ours"].detach()) == pytest.approx(float(values["plain"].detach()), rel=1e-5)
    for ours, plain in zip(gradients["ours"], gradients["plain"], strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))


def test_memory_is_that_of_the_pass() -> None:
    """The plain form holds two (2048, 2048) matrices at least, 32 MB; gram at N = 16 needs next to nothing."""
    assert peak_mb("plain", 16, 2048) > 32 > 8 > peak_mb("ours", 16, 2048)


def test_an_unknown_benchmark_is_named() -> None:
    root = Path(__file__).resolve().parent.parent
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "los"], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "unknown benchmark 'los'. Did you mean 'loss'?" in run.stderr
