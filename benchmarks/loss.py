"""Barlow Twins loss, forward and backward on one processor core, against plain autograd of the formula.

Times are medians of paired runs in one process; memory is the peak of a fresh process beyond its loaded inputs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from twinbench.pretrain.loss import barlow_twins_loss, choose_form

# images, features, least speed-up, largest share of the plain form's memory
CASES = ((256, 8192, 20.0, 1 / 20), (2048, 8192, 2.5, 1 / 3), (4096, 2048, 1.0, 1.0))
REPEATS = 3


def plain(z1: Tensor, z2: Tensor, lambd: float = 0.0051) -> Tensor:
    """Equation 1 as it stands, left to autograd."""
    a, b = ((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in (z1, z2))
    c = a.T @ b / len(a)
    on = c.diagonal().sub(1).square().sum()
    off = c.square().sum() - c.diagonal().square().sum()
    return on + lambd * off


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"plain": plain, "ours": barlow_twins_loss}


def inputs(images: int, features: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Two views that agree about as much as in training."""
    torch.manual_seed(0)
    z1, apart = (torch.randn(images, features, device=device) for _ in range(2))
    return z1.clone().requires_grad_(), (z1 + apart).requires_grad_()


def seconds(name: str, z1: Tensor, z2: Tensor) -> float:
    """Time one forward and backward pass, on a GPU to its end."""
    z1.grad = z2.grad = None
    wait = torch.cuda.synchronize if z1.is_cuda else lambda: None
    wait()
    began = time.perf_counter()
    LOSSES[name](z1, z2).backward()
    wait()
    return time.perf_counter() - began


def times(images: int, features: int, device: str = "cpu", repeats: int = REPEATS) -> dict[str, list[float]]:
    """Time both by turns, after one pass to warm up."""
    z1, z2 = inputs(images, features, device)
    found: dict[str, list[float]] = {name: [] for name in LOSSES}
    for repeat in range(repeats + 1):
        for name in LOSSES:
            spent = seconds(name, z1, z2)
            if repeat:
                found[name].append(spent)
    return found


def peak_mb(name: str, images: int, features: int) -> float:
    """Measure the memory of one pass in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loss", "--memory", name, str(images), str(features)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _memory(name: str, images: int, features: int) -> float:
    """Return megabytes at the peak of one pass, gradients of z included, beyond what the inputs took."""
    seconds(name, *inputs(8, 8))  # libraries allocate on first use
    z1, z2 = inputs(images, features)
    before = status("VmRSS")
    seconds(name, z1, z2)
    return (status("VmHWM") - before) / 1024


def status(field: str) -> int:
    """Return a size of this process in kB; unlike getrusage's peak, VmHWM starts anew with each program."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    torch.set_num_threads(1)
    print("Loss forward + backward, float32, one core. Plain: autograd of the formula.")
    print("   N     D   form    plain s   ours s  faster  target | plain MB  ours MB   share  target")
    missed = 0
    for images, features, faster, share in CASES:
        found = times(images, features)
        plain_s, ours_s = (statistics.median(found[name]) for name in LOSSES)
        ratio = statistics.median(p / o for p, o in zip(found["plain"], found["ours"], strict=True))
        plain_mb, ours_mb = (peak_mb(name, images, features) for name in LOSSES)
        form = choose_form(images, features, torch.device("cpu"))
        missed += ratio < faster or ours_mb > share * plain_mb
        print(
            f"{images:5} {features:5}  {form:6} {plain_s:8.3f} {ours_s:8.3f} {ratio:6.1f}x {faster:6.1f}x |"
            f" {plain_mb:8.0f} {ours_mb:8.0f} {ours_mb / plain_mb:7.3f} {share:7.3f}",
            flush=True,
        )
    return int(missed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", nargs=3, metavar=("NAME", "N", "D"), help="print the peak of one pass in MB")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        print(_memory(arguments.memory[0], int(arguments.memory[1]), int(arguments.memory[2])))
    else:
        sys.exit(main())
