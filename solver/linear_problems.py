"""Two-class linear SVM problems side by side, and what a solver answers: the seam between protocol and solver.

Every problem p minimises LIBLINEAR's objective for L2-regularised squared hinge loss over the same rows x_i,

    1/2 (|w|^2 + b^2) + C sum_i s_i max(0, 1 - y_i (w.x_i + b))^2,

with its own labels y and weights s; s = 0 leaves a row out. The bias is a feature that is 1 everywhere, so it is
regularised (LinearSVC's intercept_scaling = 1). Letters: N rows, M test rows, F features, P problems.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Problems:
    """What to solve, for each of P problems at once."""

    labels: Tensor  # (N, P), +1 or -1
    weights: Tensor  # (N, P), s >= 0

    def __len__(self) -> int:
        return self.labels.shape[1]


@dataclass(frozen=True)
class Solution:
    """All problems solved at one cost."""

    train_scores: Tensor  # (N, P), w.x + b of every row, those left out included
    test_scores: Tensor  # (M, P)
    iterations: Tensor  # (P,)
    gradient: Callable[[Tensor], Tensor]  # of columns (p,): their |gradient| at the end over |gradient| at w = 0, (p,)
    converged: Tensor  # (P,), bool: stopped by its tolerance, not by its iteration limit


Solve = Callable[[Problems, Sequence[float]], Iterator[Solution]]  # at rising costs, one Solution each, in that order


class Solver(Protocol):
    """Anything that solves Problems, one set or many on the same features."""

    def __call__(self, train: Tensor, test: Tensor) -> Solve:
        """Return what solves problems on features `train` (N, F) and scores `test` (M, F)."""
        ...


def relative_gradient(
    rows: Tensor, w: Tensor, margins: Tensor, problems: Problems, cost: float, columns: Tensor
) -> Tensor:
    """Return |gradient at w| / |gradient at 0| of the problems `columns` (p,), (p,).

    rows (N, F + 1) have the bias column; w (F + 1, P); margins = rows w (N, P).
    """
    y, s, margins = (part[:, columns] for part in (problems.labels, problems.weights, margins))
    slack = (1 - y * margins).clamp(min=0)
    gradient = w[:, columns] - 2 * cost * rows.T @ (s * y * slack)
    at_zero = 2 * cost * rows.T @ (s * y)
    return gradient.norm(dim=0) / at_zero.norm(dim=0)


def with_bias(x: Tensor) -> Tensor:
    """Append the constant feature: (N, F) -> (N, F + 1)."""
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)
