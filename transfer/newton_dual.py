"""Exact Newton on the active set: the batched solver's way where few rows are inside the margin.

With w = X^T b and the Gram matrix K = X X^T, the minimiser for a fixed active set a solves

    (K_aa + diag(1 / (2 C s_a))) b_a = y_a, b = 0 elsewhere,

one Cholesky factorisation of the size of the active set. The outputs of all problems are one product K B. An exact
line search between the old and the new (b, K b) makes it converge from anywhere; it has converged when the active set
stays. Where every problem uses few of the rows, each has a matrix of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transfer.newton_cg import line_search, objective

LONGEST_STEP = 2.0  # near the minimum a direction can be rounding noise, along which a line search runs away


@dataclass(frozen=True)
class DualDescent:
    """Where a minimisation ended, and what it took."""

    b: Tensor  # (N, P), w = X^T b
    margins: Tensor  # (N, P), K b
    iterations: Tensor  # (P,), factorisations


def minimize_dual(
    gram: Tensor | Sequence[Tensor],
    y: Tensor,
    s: Tensor,
    cost: float,
    b: Tensor,
    margins: Tensor,
    *,
    tolerance: float,
    limit: int,
) -> DualDescent:
    """Minimise from `b` (N, P) with `margins` = gram b; columns of b that are NaN start from their margins alone.

    `gram` is one matrix (N, N), or P of them, where row i means another image in every problem. A problem is done when
    its active set stays or its objective falls by less than `tolerance` of itself.
    """
    b, margins = b.clone(), margins.clone()
    iterations = torch.zeros(y.shape[1], dtype=torch.int64)
    live = torch.arange(y.shape[1], device=y.device)
    for _ in range(limit):
        ys, ss, old, out = y[:, live], s[:, live], b[:, live], margins[:, live]
        active = (ys * out < 1) & (ss > 0)
        new, reached = _solved(gram, live, ys, ss, active, cost)
        exact = (((ys * reached < 1) & (ss > 0)) == active).all(0)  # the active set stays: this is the minimum
        started = torch.isfinite(old[0])
        old = old.nan_to_num()
        step, moved = new - old, reached - out
        slope, curvature = (step * out).sum(0), (step * moved).sum(0)
        length = line_search(ys, ss, cost, out, moved, slope, curvature).clamp(max=LONGEST_STEP)
        length = torch.where(started & ~exact, length, 1.0)
        b[:, live] = old + length * step
        margins[:, live] = out + length * moved
        iterations[live.cpu()] += 1
        before = objective((old * out).sum(0), out, ys, ss, cost)
        after = objective((b[:, live] * margins[:, live]).sum(0), margins[:, live], ys, ss, cost)
        live = live[~(exact | (started & (before - after < tolerance * after)))]
        if not len(live):
            break
    return DualDescent(b, margins, iterations)


def _solved(
    gram: Tensor | Sequence[Tensor], live: Tensor, y: Tensor, s: Tensor, active: Tensor, cost: float
) -> tuple[Tensor, Tensor]:
    """Return the minimisers b (N, P) of the `live` problems with their active sets fixed, and gram b."""
    b, reached = torch.zeros_like(y), torch.empty_like(y)
    for column, p in enumerate(live.tolist()):
        matrix = gram if isinstance(gram, Tensor) else gram[p]
        rows = active[:, column].nonzero()[:, 0]
        among_active = block(matrix, rows)
        among_active.diagonal().add_(1 / (2 * cost * s[rows, column]))
        factor = torch.linalg.cholesky(among_active)
        b[rows, column] = torch.cholesky_solve(y[rows, column, None], factor)[:, 0]
        if matrix is not gram:
            reached[:, column] = matrix @ b[:, column]
    return b, gram @ b if isinstance(gram, Tensor) else reached


def block(matrix: Tensor, rows: Tensor) -> Tensor:
    """Return the rows and columns `rows` (n,) of a square matrix, (n, n)."""
    if len(rows) == len(matrix):
        return matrix.clone()
    return matrix.view(-1).take(rows[:, None] * len(matrix) + rows)
