"""The batched SVM solver: the objective of LIBLINEAR for all classes, folds and costs at once, on a CPU or a GPU.

Costs are solved in rising order, each starting on a straight line through the last two solutions over log C. At low
costs, where most rows lie inside the margin, all problems share the products of a truncated Newton method (newton_cg);
once a problem's active set is small enough that factorising it is less work, it moves to exact Newton in the dual
(newton_dual) for good. Everything is float32 and deterministic for a number of threads.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from slurm.progress import bar
from transfer.linear_problems import Problems, Solution, Solve, relative_gradient, with_bias
from transfer.newton_cg import minimize, objective
from transfer.newton_dual import block, minimize_dual

TOLERANCE = 1e-6  # of the objective, relative
LIMIT = 60  # Newton steps of either kind, for one problem at one cost
FIRST_PRODUCTS = 20  # guess for the first cost: products with the features that one problem takes
FACTORISATIONS = 4  # what a problem takes at one cost in the dual
SLOWER = 2  # a factorisation's operations against those of a wide product, gathering the matrix included
MOST_GRAM_ROWS = 20_000  # with more, the dual's rows x rows matrix is out of the question
MOST_OWN = 1 << 26  # numbers in all matrices of the problems' own rows: 256 MB
MAX_REACH = 1.0  # of a line through two solutions, in units of their distance in log C: further out it misleads
NEGLIGIBLE = 1e-7  # eigenvalues under this part of the largest one are float32's noise


@dataclass(frozen=True)
class Axes:
    """Rows in their principal axes, z = x v."""

    z: Tensor  # (N, R), R <= F + 1
    parts: tuple[Tensor, ...]  # matrices whose product is v

    @classmethod
    def of(cls, x: Tensor) -> "Axes":
        """Find the axes of x (N, F + 1) through the smaller of its two products with itself."""
        if x.shape[1] <= x.shape[0]:
            v = torch.linalg.eigh(x.T @ x).eigenvectors
            return cls(x @ v, (v,))
        sizes, u = torch.linalg.eigh(x @ x.T)
        kept = sizes > NEGLIGIBLE * sizes[-1]
        length = sizes[kept].sqrt()
        return cls(u[:, kept] * length, (x.T, u[:, kept] / length))

    def project(self, rows: Tensor) -> Tensor:
        """Return other rows (M, F + 1) in the same axes, (M, R); their scores are project(rows) w."""
        for matrix in self.parts:
            rows = rows @ matrix
        return rows


@dataclass(frozen=True)
class _Rows:
    """What problems on the same images share."""

    x: Tensor  # (N, F + 1)
    axes: Axes
    test: Tensor  # (M, R), in these axes

    @classmethod
    def of(cls, train: Tensor, test: Tensor, device: str) -> "_Rows":
        x, t = (with_bias(rows.to(device, torch.float32)) for rows in (train, test))
        axes = Axes.of(x)
        return cls(x, axes, axes.project(t))

    @cached_property
    def gram(self) -> Tensor:  # (N, N)
        return self.x @ self.x.T


@dataclass(frozen=True)
class _Dual:
    """The matrices of the dual: one for all rows, or one for each problem where all use few of them (low shots)."""

    rows: _Rows
    problems: Problems

    @cached_property
    def used(self) -> Tensor | None:  # (n, P), the rows of each problem, some of weight 0 where it has fewer than n
        used = (self.problems.weights > 0).to(torch.uint8)
        size = int(used.sum(0, dtype=torch.int64).max())
        if 2 * size > len(used) or size**2 * used.shape[1] > MOST_OWN:
            return None
        return used.sort(dim=0, descending=True, stable=True).indices[:size]

    @property
    def size(self) -> int:
        return len(self.problems.labels) if self.used is None else len(self.used)

    @cached_property
    def own(self) -> list[Tensor]:  # P of (n, n)
        assert self.used is not None
        return [block(self.rows.gram, column) for column in self.used.T]

    def minimize(self, p: Tensor, active: Tensor, cost: float, **limits: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Solve the problems `p` from a guess of the active sets (N, P): w (R, p), margins (N, p) and iterations."""
        z = self.rows.axes.z
        y, s, active = (part[:, p] for part in (self.problems.labels, self.problems.weights, active))
        if self.used is None:
            found = minimize_dual(self.rows.gram, y, s, cost, active, **limits)
            return z.T @ found.b, found.margins, found.iterations
        used, all_rows = self.used[:, p], torch.zeros_like(y)
        y, s, active = (part.gather(0, used) for part in (y, s, active))
        found = minimize_dual([self.own[i] for i in p.tolist()], y, s, cost, active, **limits)
        w = z.T @ all_rows.scatter_(0, used, found.b)
        return w, z @ w, found.iterations


@dataclass
class _State:
    """All problems at one cost."""

    cost: float
    w: Tensor  # (R, P), in the principal axes
    margins: Tensor  # (N, P)
    dual: Tensor  # (P,), bool: solved there
    products: Tensor  # (P,), of the last cost in conjugate gradients
    iterations: Tensor = field(default_factory=lambda: torch.zeros(0))

    def value(self, problems: Problems, cost: float) -> Tensor:
        return objective((self.w * self.w).sum(0), self.margins, problems.labels, problems.weights, cost)

    def pull(self, problems: Problems) -> Tensor:
        """Return the dual variables (N, P) at the minimum, y b >= 0."""
        return 2 * self.cost * problems.weights * (1 - problems.labels * self.margins).clamp(min=0)


@dataclass(frozen=True)
class _Begin:
    """Where to start at a cost: conjugate gradients from w and margins, the dual from the active set."""

    w: Tensor  # (R, P)
    margins: Tensor  # (N, P)
    active: Tensor  # (N, P), bool


@dataclass(frozen=True)
class Batched:
    """Solves Problems within `tolerance` of the least objective; see `transfer.linear_problems.Solver`."""

    device: str = "cpu"
    tolerance: float = TOLERANCE
    limit: int = LIMIT

    def __call__(self, train: Tensor, test: Tensor) -> Solve:
        """Return what solves problems on features `train` (N, F), scoring `test` (M, F); all share the axes."""
        return partial(self._along, _Rows.of(train, test, self.device))

    def _along(self, rows: "_Rows", problems: Problems, costs: Sequence[float]) -> Iterator[Solution]:
        """Yield the solutions of `problems` along rising costs."""
        problems = Problems(*(part.to(self.device, torch.float32) for part in (problems.labels, problems.weights)))
        before, now, dual = None, self._start(rows.axes, problems), _Dual(rows, problems)
        for cost in bar(costs, what="SVM", unit="cost") if len(costs) > 1 else costs:
            begin = _extrapolated(before, now, problems, cost)
            chosen = now.dual | self._cheaper_in_dual(now, begin, dual, cost)
            before, now = now, self._solve(dual, begin, chosen, now.products, cost)
            yield Solution(
                train_scores=now.margins.cpu(),
                test_scores=(rows.test @ now.w).cpu(),
                iterations=now.iterations,
                gradient=partial(relative_gradient, rows.axes.z, now.w, now.margins, problems, cost),
                converged=now.iterations < self.limit,
            )

    def _start(self, axes: Axes, problems: Problems) -> _State:
        """Return w = 0, where every row is active."""
        nothing = torch.zeros_like(problems.labels)
        w = axes.z.new_zeros(axes.z.shape[1], len(problems))
        products = torch.full((len(problems),), FIRST_PRODUCTS)
        return _State(0.0, w, nothing, torch.zeros(len(problems), dtype=torch.bool, device=nothing.device), products)

    def _cheaper_in_dual(self, now: _State, begin: _Begin, dual: _Dual, cost: float) -> Tensor:
        """Guess, for each problem, which way takes fewer operations at this cost."""
        z = dual.rows.axes.z
        if len(z) > MOST_GRAM_ROWS:
            return torch.zeros_like(now.dual)
        growth = math.sqrt(cost / now.cost) if now.cost else 1.0
        primal = growth * now.products.to(z.device) * 2 * z.numel()
        active = begin.active.sum(0).double()
        return FACTORISATIONS * (SLOWER * active**3 / 3 + 2 * dual.size**2) < primal

    def _solve(self, dual: _Dual, begin: _Begin, chosen: Tensor, products: Tensor, cost: float) -> _State:
        """Solve the `chosen` problems in the dual, the others by conjugate gradients, and put the answers together."""
        problems, z = dual.problems, dual.rows.axes.z
        state = _State(cost, begin.w.clone(), begin.margins.clone(), chosen, products.clone())
        state.iterations = torch.zeros(len(problems), dtype=torch.int64)
        y, s, limits = problems.labels, problems.weights, {"tolerance": self.tolerance, "limit": self.limit}
        if not chosen.all():
            p = (~chosen).nonzero()[:, 0]
            found = minimize(z, y[:, p], s[:, p], cost, begin.w[:, p], begin.margins[:, p], **limits)
            state.w[:, p], state.margins[:, p] = found.w, found.margins
            state.products[p.cpu()], state.iterations[p.cpu()] = found.products, found.iterations
        if chosen.any():
            p = chosen.nonzero()[:, 0]
            state.w[:, p], state.margins[:, p], iterations = dual.minimize(p, begin.active, cost, **limits)
            state.iterations[p.cpu()] = iterations
        return state


def _extrapolated(before: _State | None, now: _State, problems: Problems, cost: float) -> _Begin:
    """Return where to start at `cost` on the lines through the last two solutions over log C.

    Of w and margins the last solution is taken where that is better. A row is guessed inside the margin by its dual
    variable, which at high costs hardly changes while its slack falls as 1 / C, and by its margin where that is 0.
    """
    inside = problems.weights > 0
    if before is None or before.cost == 0:
        return _Begin(now.w, now.margins, inside & (problems.labels * now.margins < 1))
    reach = min(MAX_REACH, math.log(cost / now.cost) / math.log(now.cost / before.cost))

    def ahead(new: Tensor, old: Tensor) -> Tensor:
        return new + reach * (new - old)

    w, margins = ahead(now.w, before.w), ahead(now.margins, before.margins)
    pull = ahead(now.pull(problems), before.pull(problems))
    active = inside & torch.where(pull == 0, problems.labels * margins < 1, pull > 0)
    line = _State(now.cost, w, margins, now.dual, now.products)
    better = line.value(problems, cost) < now.value(problems, cost)
    return _Begin(torch.where(better, w, now.w), torch.where(better, margins, now.margins), active)
