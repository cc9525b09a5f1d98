"""One-vs-rest SVMs of `inat18-svm` on one processor core: what a class and a row cost, and what the whole would take.

Features are synthetic: class directions in noise with the decaying spectrum of pooled features, 2048-d, as many images
of each class. Each size runs in a process of its own. Seconds are CPU time of one thread; set-up is what all classes
share. A product is one of all rows with one class's vector: 2 x rows x features operations. Memory is the peak beyond
the features, beside the bound that `memory_bound` promises for numbers of rows too large for rows x rows matrices.

The projections multiply the dearest cost per class and row of the two largest sizes by iNaturalist 2018's 8,142 classes
and 437,513 rows: they are arithmetic, not measurements.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.loss import status
from twinbench.protocols.svm import INAT_SVM
from twinbench.solver.linear_problems import Solve, Solver
from twinbench.transfer.one_vs_rest import evaluate_one_vs_rest, memory_bound
from twinbench.transfer.svm import choose_solver

SIZES = ((5_000, 50), (5_000, 200), (20_000, 50), (20_000, 200), (40_000, 200))  # rows, classes
WHOLE = (437_513, 8_142)
TEST_ROWS, FEATURES = 2_000, 2048
GPU_TFLOPS = 10.0  # a round number to scale by


def features(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features (rows, FEATURES) float32 and class indices (rows,), without a second array of that size."""
    draw = np.random.default_rng(0)
    spectrum = np.arange(1, FEATURES + 1, dtype=np.float32) ** -0.7
    spectrum *= np.sqrt(FEATURES / (spectrum**2).sum())
    directions = draw.standard_normal((classes, FEATURES), dtype=np.float32)
    x = draw.standard_normal((rows, FEATURES), dtype=np.float32)
    x *= spectrum
    for k, direction in enumerate(directions):
        x[k::classes] += 0.15 * direction
    x += 0.3
    return np.maximum(x, 0, out=x), np.arange(rows) % classes


def noting_setup(machine: Solver, note: Callable[[], None]) -> Solver:
    """Return `machine`, which calls `note` when it has done what all classes share."""

    def solver(train: Tensor, test: Tensor) -> Solve:
        solve = machine(train, test)
        note()
        return solve

    return solver


def measure(rows: int, classes: int) -> dict[str, float]:
    """Evaluate one size in this process."""
    operations, shared = FlopCounterMode(display=False), {}

    def note() -> None:
        shared.update(setup=time.process_time() - began, setup_operations=operations.get_total_flops())

    solver = noting_setup(choose_solver("batched", INAT_SVM), note)
    x, y = features(rows + TEST_ROWS, classes)
    before, began = status("VmRSS"), time.process_time()
    with operations:
        found = evaluate_one_vs_rest(
            x[:rows], y[:rows], x[rows:], y[rows:], classes=classes, recipe=INAT_SVM, solver=solver
        )
    seconds, peak = time.process_time() - began, (status("VmHWM") - before) / 1024
    answer = {"seconds": seconds, "operations": operations.get_total_flops(), "peak_mb": peak}
    return answer | shared | {"top1": found.top1, "converged": found.converged}


def main() -> int:
    """Print the table; return 1 if a fit did not converge. There is no target on a processor."""
    print(
        f"{'rows':>8} {'classes':>8} {'CPU s':>8} {'set-up s':>9} {'ns per class and row':>21} {'products':>9}"
        f" {'GFLOP/s':>8} {'peak MB':>8} {'bound MB':>9} {'top-1':>6}"
    )
    costs, products, finished = [], [], True
    for rows, classes in SIZES:
        command = [sys.executable, "-m", "benchmarks.inat", "--size", str(rows), str(classes)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        costs.append((found["seconds"] - found["setup"]) / rows / classes)
        products.append((found["operations"] - found["setup_operations"]) / (2 * rows * FEATURES * classes))
        finished &= found["converged"]
        bound = memory_bound(rows, TEST_ROWS, FEATURES, classes) / 2**20
        print(
            f"{rows:8} {classes:8} {found['seconds']:8.1f} {found['setup']:9.1f} {1e9 * costs[-1]:21.0f}"
            f" {products[-1]:9.1f} {found['operations'] / found['seconds'] / 1e9:8.1f} {found['peak_mb']:8.0f}"
            f" {bound:9.0f} {found['top1']:6.1f}",
            flush=True,
        )
    hours = max(costs[-2:]) * WHOLE[0] * WHOLE[1] / 3600
    operations = max(products[-2:]) * 2 * WHOLE[0] * FEATURES * WHOLE[1]
    minutes = operations / GPU_TFLOPS / 1e12 / 60
    print(
        f"projections for {WHOLE[0]:,} rows and {WHOLE[1]:,} classes, not measured: {hours:.1f} h on this core;"
        f" {operations / 1e15:.2f} PFLOP in products, {minutes:.1f} min of a GPU that sustains {GPU_TFLOPS:g} TFLOP/s"
    )
    return int(not finished)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs=2, type=int, metavar=("ROWS", "CLASSES"), help="measure one size, print JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.size:
        print(json.dumps(measure(*arguments.size)))
    else:
        sys.exit(main())
