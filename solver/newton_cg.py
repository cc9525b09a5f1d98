"""Truncated Newton for hundreds of linear SVMs side by side: the batched solver's way at low and middle costs.

In the rows' principal axes z (principal_rows) the Hessian of the objective (linear_problems), H = I + 2 C z^T diag(A) z
with A = s on the rows inside the margin and 0 elsewhere, is near diagonal, so that its exact diagonal D preconditions
conjugate gradients well. The line search is exact: along a direction the objective is a piecewise quadratic of one
variable.

The time goes into products with z, which are fast only where they are wide. So every problem walks along the costs by
itself: at any moment some want their gradient, which ends a Newton step or a cost, the others another step of conjugate
gradients, and the larger of the two groups gets it in one product. A Newton direction need not be exact, so conjugate
gradients multiply roughly; gradients and margins are float32 throughout.
Letters: P problems, N rows, R axes, C costs. Arrays have one problem a row; i, j are numbers of problems.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from twinbench.solver.cost_path import CostPath
from twinbench.solver.objective import line_search
from twinbench.solver.principal_rows import PrincipalRows

CG_STEPS = 30  # at most, for one Newton direction
CG_RESIDUAL = 0.2  # preconditioned, relative: a Newton direction need not be better
DIAGONAL_EVERY = 3  # Newton steps between two preconditioners
FIRST_PRODUCTS = 20  # guess for the first cost: products with the rows that one problem takes


class Descents:
    """Minimisations of all problems of a path from w = 0 along its costs."""

    def __init__(self, rows: PrincipalRows, path: CostPath) -> None:
        """Prepare to fill in `path`."""
        self.rows, self.path, y = rows, path, path.y
        self.costs = y.new_tensor(path.costs)
        self.running = y.new_ones(len(y), dtype=torch.bool)
        self.at = torch.zeros_like(y[:, 0], dtype=torch.int64)  # the cost each problem is at; where one left, or C
        self.products = torch.full_like(self.at, FIRST_PRODUCTS)  # with the rows, that the last cost took
        self.w, self.diagonal = (torch.zeros_like(path.w[0]) for _ in range(2))
        self.margins = torch.zeros_like(y)
        self.steps, self.used = torch.zeros_like(self.at), torch.zeros_like(self.at)  # Newton's, products: at this cost
        # Conjugate gradients for H d = -gradient: d so far, residual, search direction p, and 2 C A.
        self.searching = torch.zeros_like(self.running)
        self.d, self.residual, self.p = (torch.zeros_like(self.w) for _ in range(3))
        self.weights = torch.zeros_like(y)
        self.size, self.enough = y.new_zeros(len(y)), y.new_zeros(len(y))  # of the residual: now, and to end at
        self.inner = torch.zeros_like(self.at)

    def run(self, tolerance: float, limit: int, leaves: Callable[["Descents", Tensor], Tensor]) -> Iterator[int]:
        """Solve every problem at its costs until `leaves` says, at a new cost, that it is better solved elsewhere.

        A problem is done at a cost when gradient^T D^-1 gradient, about twice what is left to gain, falls under
        `tolerance` times 1/2 |w|^2. Yields how many were, each time; in the end `at` is the first cost not solved.
        """
        self._enter(torch.arange(len(self.at), device=self.at.device), leaves)
        while self.running.any():
            searching = (self.running & self.searching).nonzero()[:, 0]
            waiting = (self.running & ~self.searching).nonzero()[:, 0]
            if len(searching) > len(waiting):
                self._search(searching)
            else:
                done = self._evaluate(waiting, tolerance, limit)
                if len(done):
                    self._keep(done)
                    self._enter(done, leaves)
                    yield len(done)

    def _enter(self, i: Tensor, leaves: Callable[["Descents", Tensor], Tensor]) -> None:
        """Start at the costs that the problems i have come to: with a step from 0 to where the path leads."""
        self.running[i] = self.at[i] < len(self.costs)
        i = i[self.running[i]]
        if len(i):
            self.running[i] = ~leaves(self, i)
            i = i[self.running[i]]
        for at in self.at[i].unique().tolist():
            here = i[self.at[i] == at]
            self.d[here] = self.path.start(at, here)
        self.w[i], self.margins[i], self.steps[i], self.used[i] = 0, 0, -1, 0

    def _keep(self, i: Tensor) -> None:
        """Put the solutions of the problems i on the path."""
        at = self.at[i]
        self.path.w[at, i], self.path.margins[at, i] = self.w[i], self.margins[i]
        self.path.iterations[at, i], self.products[i] = self.steps[i], self.used[i]
        self.at[i] = at + 1

    def _evaluate(self, i: Tensor, tolerance: float, limit: int) -> Tensor:
        """Go along d as far as the objective of the problems i falls; return those that are done, turn the others."""
        y, s, cost = self.path.y[i], self.path.s[i], self.costs[self.at[i], None]
        w, margins = self._step(i, y, s, cost)
        slack = (1 - y * margins).clamp_(min=0)
        active = 2 * cost * s * (slack > 0)
        gradient = w - self.rows.onto_axes(active * y * slack)
        due = self.steps[i] % DIAGONAL_EVERY == 0
        if due.any():
            self.diagonal[i[due]] = 1 + self.rows.onto_squares(active[due])
        scaled = gradient / self.diagonal[i]
        size = (gradient * scaled).sum(1)
        self.used[i] += 2 + due.long()
        going = (size > tolerance * 0.5 * (w * w).sum(1)) & (self.steps[i] < limit)
        j = i[going]
        self.residual[j], self.p[j], self.weights[j] = -gradient[going], -scaled[going], active[going]
        self.d[j], self.inner[j], self.searching[j] = 0, 0, True
        self.size[j], self.enough[j] = size[going], CG_RESIDUAL**2 * size[going]
        return i[~going]

    def _step(self, i: Tensor, y: Tensor, s: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
        """Take the Newton step along d, the whole of it at the beginning of a cost; return w and margins."""
        w, margins, d = self.w[i], self.margins[i], self.d[i]
        moved = self.rows.onto_rows(d)
        length = line_search(y, s, cost, margins, moved, (w * d).sum(1), (d * d).sum(1))
        length = torch.where(self.steps[i] < 0, 1.0, length)[:, None]
        self.w[i], self.margins[i] = w.addcmul_(length, d), margins.addcmul_(length, moved)
        self.steps[i] += 1
        return w, margins

    def _search(self, i: Tensor) -> None:
        """Take a step of conjugate gradients for the problems i."""
        p, size = self.p[i], self.size[i]
        curved = p + self.rows.onto_axes(self.weights[i] * self.rows.onto_rows(p, rough=True), rough=True)  # H p
        length = (size / (p * curved).sum(1))[:, None]
        self.d[i] += length * p
        self.residual[i] -= length * curved
        scaled = self.residual[i] / self.diagonal[i]
        self.size[i] = new = (self.residual[i] * scaled).sum(1)
        self.p[i] = scaled + (new / size)[:, None] * p
        self.inner[i] += 1
        self.used[i] += 2
        self.searching[i] = (new > self.enough[i]) & (self.inner[i] < CG_STEPS)
