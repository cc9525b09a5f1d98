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

from twinbench.solver.objective import line_search, objective

LONGEST_STEP = 2.0  # near the minimum a direction can be rounding noise, along which a line search runs away


@dataclass(frozen=True)
class DualDescent:
    """Where a minimisation ended, and what it took."""

    b: Tensor  # (P, N), w = X^T b
    margins: Tensor  # (P, N), K b
    iterations: Tensor  # (P,), factorisations


def minimize_dual(
    gram: Tensor | Sequence[Tensor],
    y: Tensor,
    s: Tensor,
    active: Tensor,
    *,
    cost: float,
    tolerance: float,
    limit: int,
) -> DualDescent:
    """Minimise from a guess of the active sets, `active` (P, N) bool.

    `gram` is one matrix (N, N), or P of them, where row i means another image in every problem. A problem is done when
    its objective is within `tolerance` times 1/2 |w|^2 from the least one (duality_gap), when its active set stays, or
    when its objective falls by less than that (rounding, at the highest costs).
    """
    b, margins, active = torch.zeros_like(y), torch.zeros_like(y), active.clone()
    lengths = _lengths(gram)
    iterations, values = torch.zeros_like(y[:, 0], dtype=torch.int64), torch.full_like(y[:, 0], torch.inf)
    live = torch.arange(len(y), device=y.device)
    for step in range(limit):
        ys, ss, sides = y[live], s[live], active[live]
        new, reached = _solved(gram, live, ys, ss, sides, cost)
        exact = (_inside(ys, ss, reached) == sides).all(1)  # the active set stays: this is the minimum
        if step:
            old, out = b[live], margins[live]
            change, moved = new - old, reached - out
            slope, curvature = (change * out).sum(1), (change * moved).sum(1)
            length = line_search(ys, ss, cost, out, moved, slope, curvature).clamp(max=LONGEST_STEP)
            length = torch.where(exact, 1.0, length)[:, None]
            new, reached = old + length * change, out + length * moved
        norm = (new * reached).sum(1)
        value = objective(norm, reached, ys, ss, cost)
        gap = duality_gap(new, reached, ys, ss, cost, lengths if isinstance(gram, Tensor) else lengths[live])
        enough = tolerance * 0.5 * norm
        done = exact | (gap < enough) | (values[live] - value < enough)
        b[live], margins[live], active[live] = new, reached, _inside(ys, ss, reached)
        values[live] = value
        iterations[live] += 1
        live = live[~done]
        if not len(live):
            break
    return DualDescent(b, margins, iterations)


def duality_gap(b: Tensor, margins: Tensor, y: Tensor, s: Tensor, cost: float, lengths: Tensor) -> Tensor:
    """Return at least how far (P,) the objective at w = X^T b is above its minimum.

    The dual variables are y b, those of the wrong sign set to 0; w then moves by the sum of b_i x_i over these, whose
    length is at most the sum of |b_i| |x_i|; `lengths` (1 or P, N) are the |x_i|.
    """
    signed = y * b
    slack, hinge = 1 - y * margins, signed.clamp(min=0) / (2 * cost * s).clamp(min=1e-30)  # hinge: what b says slack is
    apart = (slack.clamp(min=0) - hinge) ** 2 - 2 * hinge * slack.clamp(max=0)
    return cost * (s * apart).sum(1) + 0.5 * (signed.clamp(max=0) * lengths).sum(1) ** 2


def _inside(y: Tensor, s: Tensor, margins: Tensor) -> Tensor:
    """Return which rows (P, N) that count are inside the margin."""
    return (y * margins < 1) & (s > 0)


def _lengths(gram: Tensor | Sequence[Tensor]) -> Tensor:
    """Return |x_i| of all rows, (1, N), or (P, N) where each problem has rows of its own."""
    if isinstance(gram, Tensor):
        return gram.diagonal().sqrt()[None]
    return torch.stack([matrix.diagonal() for matrix in gram]).sqrt()


def _solved(
    gram: Tensor | Sequence[Tensor], live: Tensor, y: Tensor, s: Tensor, active: Tensor, cost: float
) -> tuple[Tensor, Tensor]:
    """Return the minimisers b (P, N) of the `live` problems with their active sets fixed, and their margins b gram."""
    b, reached = torch.zeros_like(y), torch.empty_like(y)
    for row, p in enumerate(live.tolist()):
        matrix = gram if isinstance(gram, Tensor) else gram[p]
        rows = active[row].nonzero()[:, 0]
        among_active = block(matrix, rows)
        among_active.diagonal().add_(1 / (2 * cost * s[row, rows]))
        b[row, rows] = _solved_for(among_active, y[row, rows])
        if matrix is not gram:
            reached[row] = matrix @ b[row]
    return b, b @ gram if isinstance(gram, Tensor) else reached


def _solved_for(matrix: Tensor, y: Tensor) -> Tensor:
    """Return matrix^-1 y (n,) by Cholesky, or in float64 where rounding leaves a float32 matrix no longer positive."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        return torch.linalg.solve(matrix.double(), y.double()).float()
    return torch.cholesky_solve(y[:, None], factor)[:, 0]


def block(matrix: Tensor, rows: Tensor) -> Tensor:
    """Return the rows and columns `rows` (n,) of a square matrix, (n, n)."""
    if len(rows) == len(matrix):
        return matrix.clone()
    return matrix.view(-1).take(rows[:, None] * len(matrix) + rows)
