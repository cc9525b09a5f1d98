"""The batched SVM solver: the objective of LIBLINEAR for all classes, folds and costs at once, on a CPU or a GPU.

Each problem is solved at rising costs, from where its last solutions point (cost_path). At low costs, where most rows
lie inside the margin, the problems share the products of a truncated Newton method (newton_cg); once a problem's active
set is small enough that factorising it is less work, it moves to exact Newton in the dual (newton_dual) for good.
Everything is float32, but for rough products where they do, and deterministic for a machine and number of threads.
Letters: C costs, P problems, N rows, M test rows, F features, R axes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from twinbench.runtime.progress import bar
from twinbench.solver.cost_path import CostPath
from twinbench.solver.linear_problems import Problems, Solution, Solve, relative_gradient
from twinbench.solver.newton_cg import Descents
from twinbench.solver.newton_dual import block, minimize_dual
from twinbench.solver.principal_rows import PrincipalRows

TOLERANCE = 1e-6
LIMIT = 60  # Newton steps of either kind, for one problem at one cost
FACTORISATIONS = 4  # what a problem takes at one cost in the dual
SLOWER = 4  # a factorisation's operations against those of a wide product, gathering the matrix included
NARROW = 80  # products of fewer problems than this take about as long
MOST_GRAM_ROWS = 20_000  # with more, the dual's rows x rows matrix is out of the question
MOST_OWN = 1 << 26  # numbers in all matrices of the problems' own rows: 256 MB


@dataclass(frozen=True)
class Batched:
    """A Solver (see linear_problems); `tolerance` is of 1/2 |w|^2, for what is left above the least objective."""

    device: str = "cpu"
    tolerance: float = TOLERANCE
    limit: int = LIMIT

    def __call__(self, train: Tensor, test: Tensor) -> Solve:
        """Return what solves problems on features `train` (N, F), scoring `test` (M, F); all share the axes."""
        rows = PrincipalRows.of(train.to(self.device, torch.float32))
        return partial(self._along, rows, test.to(self.device, torch.float32))

    def _along(
        self, rows: PrincipalRows, test: Tensor, problems: Problems, costs: Sequence[float]
    ) -> Iterator[Solution]:
        """Yield the solutions of `problems` along rising costs."""
        y, s = (part.to(self.device, torch.float32).T.contiguous() for part in (problems.labels, problems.weights))
        path = CostPath.empty(costs, y, s, rows.z.shape[1])
        dual = Dual(rows, path)
        descents = Descents(rows, path)
        with bar(range(len(costs) * len(y)), what="SVM", unit="fit") as progress:
            for count in descents.run(self.tolerance, self.limit, dual.is_cheaper):
                progress.update(count)
            for at, cost in enumerate(costs):
                p = (descents.at <= at).nonzero()[:, 0]
                dual.solve(at, p, self.tolerance, self.limit)
                progress.update(len(p))
                w, margins, iterations = path.w[at], path.margins[at], path.iterations[at].cpu()
                yield Solution(
                    train_scores=margins.T.cpu(),
                    test_scores=rows.scores(w, test).T.cpu(),
                    iterations=iterations,
                    gradient=partial(relative_gradient, rows.z, w.T, margins.T, Problems(y.T, s.T), cost),
                    converged=iterations < self.limit,
                )


@dataclass(frozen=True)
class Dual:
    """The problems of a path that are solved in the dual."""

    rows: PrincipalRows
    path: CostPath

    def is_cheaper(self, descents: Descents, i: Tensor) -> Tensor:
        """Guess for which of the problems i (p,) it takes less time at the costs that they have come to."""
        count, axes = self.rows.z.shape
        if count > MOST_GRAM_ROWS:
            return torch.zeros_like(i, dtype=torch.bool)
        at = descents.at[i]
        growth = torch.where(at > 0, descents.costs[at] / descents.costs[at - 1], 1.0).sqrt()
        narrow = max(1.0, NARROW / int(descents.running.sum()))
        primal = narrow * growth * descents.products[i] * 2 * count * axes
        active = ((self.path.y[i] * descents.margins[i] < 1) & (self.path.s[i] > 0)).sum(1).double()
        return FACTORISATIONS * (SLOWER * active**3 / 3 + 2 * self.size**2) < primal

    def solve(self, at: int, p: Tensor, tolerance: float, limit: int) -> None:
        """Solve the problems p at cost number `at` and put them on the path."""
        if not len(p):
            return
        path, rows, cost = self.path, self.rows, self.path.costs[at]
        y, s, active = path.y[p], path.s[p], path.active(at, p)
        if self.used is None:
            found = minimize_dual(rows.gram, y, s, active, cost=cost, tolerance=tolerance, limit=limit)
            w, margins = rows.onto_axes(found.b), found.margins
        else:
            used = self.used[p]  # (p, n)
            own = [part.gather(1, used) for part in (y, s, active)]
            found = minimize_dual([self.own[k] for k in p.tolist()], *own, cost=cost, tolerance=tolerance, limit=limit)
            w = rows.onto_axes(torch.zeros_like(y).scatter_(1, used, found.b))
            margins = rows.onto_rows(w)
        path.w[at, p], path.margins[at, p], path.iterations[at, p] = w, margins, found.iterations

    @cached_property
    def used(self) -> Tensor | None:
        """The rows of each problem (P, n), some of weight 0 where it has fewer; none if problems use most rows."""
        used = (self.path.s > 0).to(torch.uint8)
        size = int(used.sum(1, dtype=torch.int64).max())
        if 2 * size > used.shape[1] or size**2 * len(used) > MOST_OWN:
            return None
        return used.sort(dim=1, descending=True, stable=True).indices[:, :size].contiguous()

    @property
    def size(self) -> int:
        """The number of rows of a problem's matrix."""
        return self.path.y.shape[1] if self.used is None else self.used.shape[1]

    @cached_property
    def own(self) -> list[Tensor]:
        """The matrix of each problem's own rows, P of (n, n)."""
        assert self.used is not None
        return [block(self.rows.gram, row) for row in self.used]
