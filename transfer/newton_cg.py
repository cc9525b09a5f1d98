"""Truncated Newton for hundreds of linear SVMs side by side: the batched solver's way at low and middle costs.

The rows are rotated once to their principal axes, Z = X V with V the eigenvectors of X^T X. There the Hessian of the
objective (see linear_problems), H = I + 2 C Z^T diag(A) Z with A = s on the rows inside the margin and 0 elsewhere, is
near diagonal, so that its exact diagonal preconditions conjugate gradients well. All problems share every product
with Z: the time goes into wide matrix products. The line search is exact: along a direction the objective is a
piecewise quadratic of one variable.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CG_STEPS = 30  # at most, for one Newton direction
CG_RESIDUAL = 0.3  # preconditioned, relative: a Newton direction need not be better
SEARCH_ROUNDS = 6
DIAGONAL_EVERY = 3  # Newton steps between two preconditioners


@dataclass(frozen=True)
class Descent:
    """Where a minimisation ended, and what it took."""

    w: Tensor  # (F, P)
    margins: Tensor  # (N, P), Z w
    iterations: Tensor  # (P,), Newton steps
    products: Tensor  # (P,), columns multiplied by Z or its transpose


def objective(norm: Tensor, margins: Tensor, y: Tensor, s: Tensor, cost: float) -> Tensor:
    """Return 1/2 |w|^2 + C sum s slack^2 (P,), given |w|^2 (P,) and Z w (N, P)."""
    slack = (1 - y * margins).clamp_(min=0)
    return 0.5 * norm + cost * (s * slack * slack).sum(0)


def minimize(
    z: Tensor, y: Tensor, s: Tensor, cost: float, w: Tensor, margins: Tensor, *, tolerance: float, limit: int
) -> Descent:
    """Minimise from `w` (F, P) with `margins` = z w (N, P), z (N, F); y and s as in Problems.

    A problem is done when gradient^T D^-1 gradient, about twice what is left to gain, falls under `tolerance` times
    its objective; it then leaves the block. `iterations` equal to `limit` means that it was not done.
    """
    w, margins = w.clone(), margins.clone()
    iterations, products = torch.zeros(y.shape[1], dtype=torch.int64), torch.zeros(y.shape[1], dtype=torch.int64)
    live, diagonal, squares = torch.arange(y.shape[1], device=y.device), y.new_empty(0), z * z
    for step in range(limit):
        here = _At(y[:, live], s[:, live], w[:, live], margins[:, live])
        slack = (1 - here.y * here.margins).clamp_(min=0)
        weighted = here.s * slack
        active = here.s * (slack > 0)
        gradient = here.w - 2 * cost * (z.T @ (here.y * weighted))  # (F, live)
        if step % DIAGONAL_EVERY == 0:
            diagonal = torch.empty_like(w)
            diagonal[:, live] = 1 + 2 * cost * (squares.T @ active)
            products[live.cpu()] += 1
        d = diagonal[:, live]
        value = 0.5 * (here.w * here.w).sum(0) + cost * (weighted * slack).sum(0)
        going = (gradient * gradient / d).sum(0) > tolerance * value
        products[live.cpu()] += 1
        if not going.any():
            break
        live, here = live[going], here.only(going)
        direction, moved, used = _newton_direction(z, gradient[:, going], 2 * cost * active[:, going], d[:, going])
        length = line_search(here.y, here.s, cost, here.margins, moved, *_squared_length(here.w, direction))
        w[:, live] = here.w + length * direction
        margins[:, live] = here.margins + length * moved
        iterations[live.cpu()] += 1
        products[live.cpu()] += used
    return Descent(w, z @ w, iterations, products + 1)


@dataclass(frozen=True)
class _At:
    """The columns still being minimised."""

    y: Tensor
    s: Tensor
    w: Tensor
    margins: Tensor

    def only(self, columns: Tensor) -> "_At":
        return _At(*(block[:, columns] for block in (self.y, self.s, self.w, self.margins)))


def _newton_direction(z: Tensor, gradient: Tensor, weights: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor, int]:
    """Solve (I + Z^T diag(weights) Z) d = -gradient roughly by conjugate gradients; return d, Z d and products used."""
    d, zd = torch.zeros_like(gradient), torch.zeros_like(weights)
    residual = -gradient
    p = residual / diagonal
    size = (residual * p).sum(0)
    enough, going = CG_RESIDUAL**2 * size, torch.ones_like(size, dtype=torch.bool)
    for step in range(1, CG_STEPS + 1):
        zp = z @ p  # (N, live)
        hp = p + z.T @ (weights * zp)  # (F, live)
        length = torch.where(going, size / (p * hp).sum(0), 0.0)
        d.addcmul_(p, length)
        zd.addcmul_(zp, length)
        residual.addcmul_(hp, length, value=-1)
        scaled = residual / diagonal
        new = (residual * scaled).sum(0)
        going &= new > enough
        if not going.any():
            return d, zd, 2 * step
        p = scaled.addcmul_(p, torch.where(going, new / size, 0.0))
        size = torch.where(going, new, size)
    return d, zd, 2 * CG_STEPS


def _squared_length(w: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slope w.d and the curvature d.d of 1/2 |w + t d|^2 at t = 0."""
    return (w * d).sum(0), (d * d).sum(0)


def line_search(
    y: Tensor, s: Tensor, cost: float, margins: Tensor, moved: Tensor, slope: Tensor, curvature: Tensor
) -> Tensor:
    """Return the step lengths (P,) that minimise the objective along directions with margins + t moved.

    `slope` and `curvature` belong to the regulariser. The derivative is piecewise linear and rises: Newton's method
    ends exactly once it is on the right piece, and bisection keeps it from jumping to and fro between two others.
    """
    length, base, rate = torch.ones_like(slope), 1 - y * margins, y * moved
    low, high = torch.zeros_like(slope), torch.full_like(slope, torch.inf)
    for _ in range(SEARCH_ROUNDS):
        slack = torch.addcmul(base, rate, length, value=-1).clamp_(min=0)
        first = slope + length * curvature - 2 * cost * (s * slack * rate).sum(0)
        second = curvature + 2 * cost * (s * (slack > 0) * rate * rate).sum(0)
        low, high = torch.where(first < 0, length, low), torch.where(first < 0, high, length)
        length = length - first / second.clamp(min=1e-30)
        inside = (length >= low) & (length <= high)
        length = torch.where(inside, length, torch.where(high.isfinite(), (low + high) / 2, 2 * low))
    return length
