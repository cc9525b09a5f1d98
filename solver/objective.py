"""The objective of many linear SVM problems (linear_problems), and its minimum along a line.

Letters: P problems, N rows. Arrays have one problem a row.
"""

import math

import torch
from torch import Tensor

SEARCH_ROUNDS = 6


def objective(norm: Tensor, margins: Tensor, y: Tensor, s: Tensor, cost: float) -> Tensor:
    """Return 1/2 |w|^2 + C sum s slack^2 (P,), given |w|^2 (P,) and margins, y and s (P, N)."""
    slack = (1 - y * margins).clamp_(min=0)
    return 0.5 * norm + cost * (s * slack * slack).sum(1)


def line_search(
    y: Tensor, s: Tensor, cost: Tensor | float, margins: Tensor, moved: Tensor, slope: Tensor, curvature: Tensor
) -> Tensor:
    """Return the step lengths (P,) that minimise the objective along directions with margins + t moved, both (P, N).

    `cost` is one for all, or (P, 1); `slope` and `curvature` (P,) belong to the regulariser. The derivative is
    piecewise linear and rises: Newton's method ends exactly once it is on the right piece, and bisection keeps it from
    jumping to and fro between two others.
    """
    length, base, rate = torch.ones_like(slope), 1 - y * margins, y * moved
    pull = 2 * cost * s * rate
    low, high = torch.zeros_like(slope), torch.full_like(slope, math.inf)
    for _ in range(SEARCH_ROUNDS):
        slack = torch.addcmul(base, rate, length[:, None], value=-1)
        inside = pull * (slack > 0)
        first = slope + length * curvature - (inside * slack).sum(1)
        second = curvature + (inside * rate).sum(1)
        low, high = torch.where(first < 0, length, low), torch.where(first < 0, high, length)
        length = length - first / second.clamp(min=1e-30)
        within = (length >= low) & (length <= high)
        length = torch.where(within, length, torch.where(high.isfinite(), (low + high) / 2, 2 * low))
    return length
