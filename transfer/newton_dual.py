"""Exact Newton on the active set: the batched solver's way where few rows are inside the margin.

With w = X^T b and the Gram matrix K = X X^T, the minimiser for a fixed active set a solves

    (K_aa + diag(1 / (2 C s_a))) b_a = y_a, b = 0 elsewhere,

one Cholesky factorisation of the size of the active set. The outputs of all problems are one product K B. An exact
line search between the old and the new (b, K b) makes it converge from anywhere; it has converged when the active set
stays.
"""

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
    gram: Tensor, y: Tensor, s: Tensor, cost: float, b: Tensor, margins: Tensor, *, tolerance: float, limit: int
) -> DualDescent:
    """Minimise from `b` (N, P) with `margins` = gram b; columns of b that are NaN start from their margins alone.

    A problem is done when its active set stays or its objective falls by less than `tolerance` of itself.
    """
    b, margins = b.clone(), margins.clone()
    iterations = torch.zeros(y.shape[1], dtype=torch.int64)
    live = torch.arange(y.shape[1], device=y.device)
    for _ in range(limit):
        ys, ss, old, out = y[:, live], s[:, live], b[:, live], margins[:, live]
        active = (ys * out < 1) & (ss > 0)
        new = _solved(gram, ys, ss, active, cost)
        reached = gram @ new
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


def _solved(gram: Tensor, y: Tensor, s: Tensor, active: Tensor, cost: float) -> Tensor:
    """Return the minimisers b (N, P) of the problems with their active sets fixed."""
    b = torch.zeros_like(y)
    for p in range(y.shape[1]):
        rows = active[:, p].nonzero()[:, 0]
        matrix = gram[rows[:, None], rows]
        matrix.diagonal().add_(1 / (2 * cost * s[rows, p]))
        b[rows, p] = torch.cholesky_solve(y[rows, p, None], torch.linalg.cholesky(matrix))[:, 0]
    return b
