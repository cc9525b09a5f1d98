"""Softmax regression at 45 penalties on one processor core: our solver against scikit-learn's L-BFGS.

Shapes of DTD (47 classes, 3,760 x 2048) and Food-101 (101 classes, 75,750 x 2048); features are synthetic and not
negative, with the spectrum of pooled ones and classes about as hard to tell apart. All of ours is timed. Of
scikit-learn, on DTD's shape all 45 fits at its default tolerance are, and single fits at DINOv2's settings (float64,
tolerance 1e-12); on Food-101's single fits at the default tolerance. The rest is extrapolated, linear in log penalty.
Seconds are CPU time of one process with one thread, so that a busy machine slows both alike.
DTD's shape alone is run unless others are named: Food-101's, `python -m benchmarks.logistic food101`, takes a quarter
of an hour.
"""

import argparse
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from twinbench.solver.softmax import Softmax, SoftmaxSolution
from twinbench.solver.softmax_check import gradient_norms

PENALTIES = tuple(np.logspace(5, -6, 45).tolist())
TARGET, MOST_MB, MOST_APART = 20.0, 4000, 0.2  # times; MB; points of test accuracy where scikit-learn has converged
TOLERANCE = 1e-6  # of the float64 gradient
CONVERGED = 1e-5  # |gradient| over that at zero weights, from where a fit of scikit-learn's counts as its solution
TEST_ROWS = 4000


@dataclass(frozen=True)
class Shape:
    """A data set's size, and at which penalties scikit-learn is timed on it."""

    rows: int
    classes: int
    default: tuple[float, ...]  # at tolerance 1e-4 in float32
    tight: tuple[float, ...]  # at tolerance 1e-12 in float64


SHAPES = {
    "dtd": Shape(3760, 47, PENALTIES, (1e5, 1e3, 1e1, 1e-2)),
    "food101": Shape(75_750, 101, (1e5, 1e3, 1e1, 1e-2, 1e-6), ()),
}
DEFAULT = ("dtd",)  # what `python -m benchmarks` has the minutes for
Data = tuple[Tensor, Tensor, Tensor, Tensor]


def features(shape: Shape, size: int = 2048) -> Data:
    """Return features (N, size) and labels (N,) of training rows, and of test rows."""
    draw, count = np.random.default_rng(0), shape.rows + TEST_ROWS
    y = draw.permutation(np.arange(count) % shape.classes)
    spectrum = np.arange(1, size + 1, dtype=np.float32) ** -0.7
    spectrum *= np.sqrt(size / (spectrum**2).sum())
    turn = np.linalg.qr(draw.standard_normal((size, size), dtype=np.float32))[0] * spectrum[:, None]
    classes = draw.standard_normal((shape.classes, size), dtype=np.float32)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    strength = (draw.uniform(0.2, 1.6, size=count) * 0.075 * np.sqrt(size)).astype(np.float32)
    x = np.empty((count, size), np.float32)
    for start in range(0, count, 4096):
        at = slice(start, start + 4096)
        noise = draw.standard_normal((len(x[at]), size), dtype=np.float32) @ turn
        x[at] = np.maximum(noise + strength[at, None] * classes[y[at]] + np.float32(0.3), 0)
    rows, labels = torch.from_numpy(x), torch.from_numpy(y)
    return rows[: shape.rows], labels[: shape.rows], rows[shape.rows :], labels[shape.rows :]


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Return the percentage of rows whose own class has the highest score."""
    return 100 * float((scores.argmax(1) == labels).double().mean())


def ours(shape: Shape, data: Data) -> tuple[list[SoftmaxSolution], float, float]:
    """Return our solutions, their CPU seconds and the process's peak MB."""
    x, y, *_ = data
    began = time.process_time()
    solved = list(Softmax()(x, y, torch.ones(len(x), 1), PENALTIES, shape.classes))
    return solved, time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def theirs(
    shape: Shape, data: Data, solved: Sequence[SoftmaxSolution], timed: Sequence[float], tolerance: float, dtype: type
) -> tuple[float, float]:
    """Return scikit-learn's CPU seconds for all penalties, and how many points its converged fits are from ours."""
    x, y, other, other_labels = data
    rows, seconds, apart = x.numpy().astype(dtype), [], 0.0
    for penalty in timed:
        machine = LogisticRegression(C=1 / penalty, tol=tolerance, max_iter=1000)
        began = time.process_time()
        machine.fit(rows, y.numpy())
        seconds.append(time.process_time() - began)
        w, b = torch.as_tensor(machine.coef_), torch.as_tensor(machine.intercept_)
        now, zero = gradient_norms(x, y, torch.ones(len(x)), w, b, penalty, bias=True)
        near = min(solved, key=lambda each: abs(np.log(each.penalty / penalty)))
        reached = accuracy(other.double() @ w.double().T + b, other_labels)
        mine = accuracy(near.scores(other)[:, 0], other_labels)
        print(
            f"  penalty {penalty:7.1e}: {seconds[-1]:6.1f} s, {int(machine.n_iter_.max()):4} iterations, "
            f"gradient {now / zero:.0e}, accuracy {reached:.2f}, ours {mine:.2f}",
            flush=True,
        )
        if now / zero < CONVERGED:
            apart = max(apart, abs(reached - mine))
    order = np.argsort(timed)
    logs, values = np.log(np.asarray(timed)[order]), np.asarray(seconds)[order]
    return float(np.interp(np.log(PENALTIES), logs, values).sum()), apart


def compare(name: str) -> bool:
    """Print one shape's figures; return whether they meet the targets."""
    shape = SHAPES[name]
    data = features(shape)
    solved, seconds, memory = ours(shape, data)
    steps = sum(int(each.iterations.sum()) for each in solved)
    print(
        f"{name}, ours: {seconds:.1f} CPU s, {steps} Newton steps, peak {memory:.0f} MB (target {MOST_MB})", flush=True
    )
    met = all(bool(each.converged.all()) for each in solved) and memory <= MOST_MB
    x, y, *_ = data
    worst = 0.0
    for each in solved[:: 11 if name == "dtd" else 22]:
        at = each.weights[0], each.biases[0]
        now, zero = gradient_norms(x, y, torch.ones(len(x)), *at, each.penalty, bias=True)
        worst = max(worst, now / zero)
    print(f"{name}, ours: float64 |gradient| at most {worst:.1e} of its start (target {TOLERANCE:g})", flush=True)
    met &= worst <= TOLERANCE
    for timed, tolerance, dtype in ((shape.default, 1e-4, np.float32), (shape.tight, 1e-12, np.float64)):
        if timed:
            whole, apart = theirs(shape, data, solved, timed, tolerance, dtype)
            how = "measured" if len(timed) == len(PENALTIES) else "extrapolated"
            print(
                f"{name}, scikit-learn, tolerance {tolerance:g}, {dtype.__name__}: {whole:.0f} CPU s ({how}): "
                f"{whole / seconds:.1f} times ours (target {TARGET:g}); accuracies of its converged fits at most "
                f"{apart:.2f} points from ours (target {MOST_APART:g})",
                flush=True,
            )
            met &= whole / seconds >= TARGET and apart <= MOST_APART
    return met


def main(names: Sequence[str] = DEFAULT) -> int:
    """Print the figures; return 1 if a target is missed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    return int(not all([compare(name) for name in names]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=SHAPES, help=f"shapes (default {' '.join(DEFAULT)})")
    sys.exit(main(parser.parse_args().names or DEFAULT))
