"""Exact Newton on the active set: the batched solver's way where few rows are inside the margin.

With w = X^T b and the Gram matrix K = X X^T, the minimiser for a fixed active set a solves

    (K_aa + diag(1 / (2 C s_a))) b_a = y_a, b = 0 elsewhere,

one Cholesky factorisation of the size of the active set. The outputs of all problems are one product K B. The first
step goes all the way to that minimiser, the later ones as far as an exact line search on (b, K b) says, so that it
converges from any active set. Where every problem uses few of the rows, each has a matrix of its own.
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
    active: Tensor,
    *,
    tolerance: float,
    limit: int,
) -> DualDescent:
    """Minimise from a guess of the active sets, `active` (N, P) bool.

    `gram` is one matrix (N, N), or P of them, where row i means another image in every problem. A problem is done when
    its objective is within `tolerance` of itself from the least one (duality_gap), when its active set stays, or when
    its objective falls by less than `tolerance` of itself (rounding, at the highest costs).
    """
    b, margins, active = torch.zeros_like(y), torch.zeros_like(y), active.clone()
    lengths = _lengths(gram)
    iterations, values = torch.zeros(y.shape[1], dtype=torch.int64), y.new_full((y.shape[1],), torch.inf)
    live = torch.arange(y.shape[1], device=y.device)
    for step in range(limit):
        ys, ss, sides = y[:, live], s[:, live], active[:, live]
        new, reached = _solved(gram, live, ys, ss, sides, cost)
        exact = (_inside(ys, ss, reached) == sides).all(0)  # the active set stays: this is the minimum
        if step:
            old, out = b[:, live], margins[:, live]
            change, moved = new - old, reached - out
            slope, curvature = (change * out).sum(0), (change * moved).sum(0)
            length = line_search(ys, ss, cost, out, moved, slope, curvature).clamp(max=LONGEST_STEP)
            length = torch.where(exact, 1.0, length)
            new, reached = old + length * change, out + length * moved
        value = objective((new * reached).sum(0), reached, ys, ss, cost)
        gap = duality_gap(new, reached, ys, ss, cost, lengths if isinstance(gram, Tensor) else lengths[:, live])
        done = exact | (gap < tolerance * value) | (values[live] - value < tolerance * value)
        b[:, live], margins[:, live], active[:, live] = new, reached, _inside(ys, ss, reached)
        values[live] = value
        iterations[live.cpu()] += 1
        live = live[~done]
        if not len(live):
            break
    return DualDescent(b, margins, iterations)


def duality_gap(b: Tensor, margins: Tensor, y: Tensor, s: Tensor, cost: float, lengths: Tensor) -> Tensor:
    """Return at least how far (P,) the objective at w = X^T b is above its minimum.

    The dual variables are y b, those of the wrong sign set to 0; w then moves by the sum of b_i x_i over these, whose
    length is at most the sum of |b_i| |x_i|; `lengths` (N, 1 or P) are the |x_i|.
    """
    signed = y * b
    slack, hinge = 1 - y * margins, signed.clamp(min=0) / (2 * cost * s).clamp(min=1e-30)  # hinge: what b says slack is
    apart = (slack.clamp(min=0) - hinge) ** 2 - 2 * hinge * slack.clamp(max=0)
    return cost * (s * apart).sum(0) + 0.5 * (signed.clamp(max=0) * lengths).sum(0) ** 2


def _inside(y: Tensor, s: Tensor, margins: Tensor) -> Tensor:
    """Return which rows (N, P) that count are inside the margin."""
    return (y * margins < 1) & (s > 0)


def _lengths(gram: Tensor | Sequence[Tensor]) -> Tensor:
    """Return |x_i| of all rows, (N, 1), or (N, P) where each problem has rows of its own."""
    if isinstance(gram, Tensor):
        return gram.diagonal().sqrt()[:, None]
    return torch.stack([matrix.diagonal() for matrix in gram], dim=1).sqrt()


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
