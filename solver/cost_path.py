"""Solutions of many SVM problems along rising costs, and where to look for those at the next cost.

Over u = log(C / (C + TURN)) solutions run smoothly: at low costs w is about proportional to C, at high ones it changes
with 1 / C. So the next one lies near the polynomial through the last ones.
Letters: C costs, P problems, N rows, R axes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from twinbench.solver.objective import objective

TURN = 10.0  # between the two; in the middle of the usual costs
MAX_REACH = 3.0  # in units of the last two costs' distance in u: further out a polynomial misleads


@dataclass(frozen=True)
class CostPath:
    """What is solved so far; arrays have one problem a row."""

    costs: Sequence[float]
    y: Tensor  # (P, N), labels
    s: Tensor  # (P, N), weights
    w: Tensor  # (C, P, R), the minima
    margins: Tensor  # (C, P, N), w z^T
    iterations: Tensor  # (C, P)

    @classmethod
    def empty(cls, costs: Sequence[float], y: Tensor, s: Tensor, axes: int) -> "CostPath":
        """Return a path with nothing solved."""
        count, problems, rows = len(costs), *y.shape
        w = y.new_empty(count, problems, axes)
        margins = y.new_empty(count, problems, rows)
        iterations = torch.zeros(count, problems, dtype=torch.int64, device=y.device)
        return cls(costs, y, s, w, margins, iterations)

    def start(self, at: int, p: Tensor) -> Tensor:
        """Return where problems p begin at cost `at`, w (p, R): on the best of the polynomials of order 0, 1 and 2."""
        if at == 0:
            return self.w.new_zeros(len(p), self.w.shape[2])
        y, s, cost = self.y[p], self.s[p], self.costs[at]
        w, margins = self.w[at - 1, p], self.margins[at - 1, p]
        value = objective((w * w).sum(1), margins, y, s, cost)
        for order in range(1, min(2, at - 1) + 1):
            ahead = self._ahead(self.w, at, p, order)
            new = objective((ahead * ahead).sum(1), self._ahead(self.margins, at, p, order), y, s, cost)
            better = new < value
            w = torch.where(better[:, None], ahead, w)
            value = torch.where(better, new, value)
        return w

    def active(self, at: int, p: Tensor) -> Tensor:
        """Guess which rows (p, N) will be inside the margin at cost `at`.

        By the line through their last two dual variables, which at high costs hardly change while slack falls as 1 / C,
        and by that through their margins where the last dual variable is 0.
        """
        y, s = self.y[p], self.s[p]
        counts = s > 0
        if at == 0:
            return counts
        if at == 1:
            return counts & (y * self.margins[0, p] < 1)
        last, before = self._duals(at - 1, p), self._duals(at - 2, p)
        one, other = self._coefficients(at, 1)
        margins = self._ahead(self.margins, at, p, 1)
        return counts & torch.where(last == 0, y * margins < 1, one * last + other * before > 0)

    def _duals(self, at: int, p: Tensor) -> Tensor:
        """Return the dual variables (p, N) of the solutions at cost `at`."""
        slack = (1 - self.y[p] * self.margins[at, p]).clamp(min=0)
        return 2 * self.costs[at] * self.s[p] * slack

    def _ahead(self, solved: Tensor, at: int, p: Tensor, order: int) -> Tensor:
        """Return where the polynomial of `order` through the last solutions is at cost `at`."""
        first, *others = self._coefficients(at, order)
        ahead = first * solved[at - 1, p]
        for back, c in enumerate(others, 2):
            ahead = ahead + c * solved[at - back, p]
        return ahead

    def _coefficients(self, at: int, order: int) -> list[float]:
        """Return Lagrange's coefficients for cost `at` of the last order + 1 solutions, the last one first."""
        u = [math.log(cost / (cost + TURN)) for cost in self.costs[at - 1 - order : at + 1]]
        past = u[-2::-1]
        now = min(u[-1], past[0] + MAX_REACH * (past[0] - past[1]))
        coefficients: list[float] = []
        for a in past:
            others = [b for b in past if b != a]
            coefficients.append(math.prod((now - b) / (a - b) for b in others))
        return coefficients
