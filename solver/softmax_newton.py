"""Truncated Newton for softmax regression, several problems on the same rows side by side.

A Newton direction comes from conjugate gradients, preconditioned by a Hessian that can be inverted: were every row's
curvature over the classes the mean one, the Hessian would be kron(mean curvature, scatter) + penalty, which is diagonal
in the mean's eigenvectors and the rows' principal axes. What the classes have in common matters more here than how the
rows differ: a diagonal alone, which takes the classes for independent, needs five times as many products at middle
penalties, since weights that several classes share change hardly any probability. What all classes share changes none;
it is kept out, where rounding would grow.

Products with the curvature are rough, scores and gradients are not, so a step has what it should to some digits and
the next one mends the rest. Of the last steps of a solution the change of scores and gradients is rough, too: it is so
small that what rounding leaves unseen is a part of what ends the solution.
Letters: N rows, A axes, P problems, K classes, L penalties. p are numbers of problems.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from twinbench.solver.softmax_path import Guesses
from twinbench.solver.softmax_rows import AxisRows
from twinbench.solver.softmax_terms import Terms

CG_STEPS = 50  # at most, for one Newton direction
CG_RESIDUAL = 0.02  # relative: a direction need not be better, unless that ends the solution
CG_FINEST = 0.005  # what rough products allow
CG_ENOUGH = 0.8  # of the gradient that ends a solution: less is not worth a product
HALVINGS = 30  # of a Newton step, at most
ROUNDING = 1e-6  # by which part of itself an objective may seem to rise
ROUGHLY = 2**-8  # of the gradient before a step is what rough products may leave unseen after it; measured
UNSEEN = 0.25  # of the gradient that ends a solution may be unseen
FALLS = 0.7  # to at most this part of the last one a gradient falls that still falls
AIM = 0.6  # of the tolerance; the rest is for the rounding of axes and weights turned back
FLAT = 1e-5  # eigenvalues under this part of the largest one are taken for it


@dataclass(frozen=True)
class Stop:
    """When a solution is good enough, and when it is given up."""

    tolerance: float  # |gradient| over that at zero weights
    distance: float  # |gradient| over penalty |W|, as far as rounding lets it: so far can the weights be from the best
    limit: int  # Newton steps at one penalty


@dataclass(frozen=True)
class Ends:
    """Where the problems' solutions ended."""

    w: Tensor  # (P, K, A)
    steps: Tensor  # (P,), int64
    gradient: Tensor  # (P,), |gradient| over that at zero weights
    distance: Tensor  # (P,), |gradient| over penalty |W|
    converged: Tensor  # (P,), bool


class Newton:
    """Problems on the same rows, each with its weights of the rows, and their solutions along falling penalties."""

    def __init__(self, rows: AxisRows, labels: Tensor, weights: Tensor, classes: int, stop: Stop) -> None:
        """Prepare to solve for `labels` (N,) of `classes` and `weights` (N, P) of the rows."""
        self.rows, self.stop = rows, stop
        counts = weights.new_zeros(classes, weights.shape[1]).index_add_(0, labels, weights).T  # (P, K)
        self.present = (counts > 0).to(weights.dtype)
        self.penalised = rows.penalised
        self.absent = torch.where(counts > 0, 0.0, -torch.inf)  # added to scores
        self.counts, self.lengths, self.scatter = counts, rows.lengths(), rows.scatter(weights)
        some_weights = None if bool((weights == 1).all()) else weights
        self.scores = weights.new_zeros(len(labels), *counts.shape) + self.absent
        self.terms = Terms(rows, labels, some_weights, torch.empty_like(self.scores))
        self.terms.refresh(self.scores)
        self.at_zero = rows.gradient_norm(self.terms.gradient())
        equal = (1 / self.present.sum(1)).clamp(max=0.5)
        self.guesses = Guesses(self.scatter[:, None] * (equal * (1 - equal))[:, None, None], self.penalised)

    def solve(self, penalty: float) -> Ends:
        """Return the solutions at `penalty`, begun where the last ones point."""
        w = self.guesses.start(penalty)
        w = self._begin() if w is None else _between(w, self.present)  # guesses make rounding grow
        self.scores = self.rows.onto_rows(w).add_(self.absent)
        value = self.terms.refresh(self.scores) + self._penalty(w, penalty)
        losses = self.terms.gradient()
        steps = torch.zeros(len(w), dtype=torch.int64, device=w.device)
        size, small = torch.full_like(self.at_zero, torch.inf), self.stop.tolerance * self.at_zero
        while True:
            gradient = _between(torch.addcmul(losses, w, self.penalised, value=penalty), self.present)
            last, size = size, self.rows.gradient_norm(gradient)
            held = penalty * (w * self.penalised).norm(dim=(1, 2))
            want = torch.where(held > 0, (AIM * small).minimum(self.stop.distance * held), AIM * small)
            stuck = (size <= small) & (size > FALLS * last)  # rounding leaves no more to gain
            p = ((size > want) & ~stuck & (steps < self.stop.limit)).nonzero()[:, 0]
            if not len(p):
                break
            d = self._direction(p, gradient[p], penalty, CG_ENOUGH * want[p])
            rough = bool((ROUGHLY * size[p] < UNSEEN * want[p]).all())
            before = self.terms.residuals.clone() if rough else None
            value = self._step(p, w, d, value, penalty, rough=rough)
            losses = self.terms.gradient() if before is None else losses + self.terms.gradient_since(before)
            steps[p] += 1
        self.guesses.add(penalty, w)
        relative, distance = size / self.at_zero.clamp(min=1e-30), size / held.clamp(min=1e-30)
        return Ends(w.clone(), steps, relative, distance, size <= small)

    def _begin(self) -> Tensor:
        """Return no weights, and with a bias that which gives the classes' shares."""
        w = self.scatter.new_zeros(*self.counts.shape, len(self.penalised))
        if self.rows.mean is not None:
            w[:, :, -1] = self.counts.clamp(min=1e-30).log()
        return _between(w, self.present)

    def _penalty(self, w: Tensor, penalty: float) -> Tensor:
        return penalty / 2 * (w * w * self.penalised).sum((1, 2), dtype=torch.float64)

    def _step(self, p: Tensor, w: Tensor, d: Tensor, value: Tensor, penalty: float, *, rough: bool) -> Tensor:
        """Go along d (p, K, A) from w (P, K, A), in place, halving where the objective rises; return the objective.

        Scores may move roughly where d is so short that this costs the sums no digit they have.
        """
        moved = torch.zeros_like(self.scores)
        moved[:, p] = self.rows.onto_rows(d, rough=rough)
        length = torch.zeros_like(value)
        length[p] = 1.0
        done = torch.zeros_like(length)
        before, begun = value, w[p]
        for _ in range(HALVINGS):
            self.scores.addcmul_(moved, (length - done).to(w.dtype)[:, None])
            w[p] = begun + length[p].to(w.dtype)[:, None, None] * d
            value = self.terms.refresh(self.scores) + self._penalty(w, penalty)
            done = length
            rises = ~(value <= before + ROUNDING * before.abs())
            if not rises.any():
                break
            length = torch.where(rises, length / 2, length)
        return value

    def _direction(self, p: Tensor, gradient: Tensor, penalty: float, enough: Tensor) -> Tensor:
        """Return Newton directions (p, K, A) of the problems p, by conjugate gradients.

        They end when the residual is `enough` (p,) or CG_RESIDUAL of the gradient, or where it is rounding noise.
        """
        terms = self.terms if len(p) == len(self.present) else self.terms.some(p)
        present = self.present[p]
        near = Near.of(terms.spread(self.lengths), self.scatter[p], penalty * self.penalised, present)
        d, residual = torch.zeros_like(gradient), -gradient
        left = self.rows.gradient_norm(residual)
        enough = torch.where(enough < CG_FINEST * left, CG_RESIDUAL * left, enough)
        q, size = torch.zeros_like(d), gradient.new_ones(len(p))
        for _ in range(CG_STEPS):
            scaled = near.solve(residual)
            before, size = size, _dot(residual, scaled)
            q.mul_((size / before.clamp(min=1e-45))[:, None, None]).add_(scaled)
            curved = _between(terms.curved(q).addcmul_(q, self.penalised, value=penalty), present)
            curvature = _dot(q, curved)
            going = (left > enough) & (curvature > 0)
            length = torch.where(going, size / curvature, 0.0)[:, None, None]
            d.addcmul_(q, length)
            residual.addcmul_(curved, length, value=-1)
            left = self.rows.gradient_norm(residual)
            if not (going & (left > enough)).any():
                break
        return _between(d, present)


@dataclass(frozen=True)
class Near:
    """A Hessian that is near the true one and easily inverted."""

    u: Tensor  # (P, K, K), eigenvectors of the mean curvature
    inverse: Tensor  # (P, K, A), of the Hessian, which is diagonal in these and in the axes

    @classmethod
    def of(cls, spread: Tensor, scatter: Tensor, penalties: Tensor, present: Tensor) -> "Near":
        """Make it of the mean curvature `spread` (P, K, K), `scatter` (P, A) and the axes' penalties (A,).

        Its inverse is 0 for what all classes share and for classes that are not `present` (P, K): the lowest vectors.
        """
        sizes, u = torch.linalg.eigh(spread)  # in rising order
        classes = present.shape[1]
        idle = torch.arange(classes, device=u.device) <= classes - present.sum(1, keepdim=True)
        sizes = torch.maximum(sizes, FLAT * sizes[:, -1:])
        diagonal = (sizes[:, :, None] * scatter[:, None] + penalties).clamp(min=1e-30)
        return cls(u, diagonal.reciprocal_().masked_fill_(idle[:, :, None], 0.0))

    def solve(self, g: Tensor) -> Tensor:
        """Return the product of its inverse and g (P, K, A)."""
        return self.u @ (self.u.mT @ g).mul_(self.inverse)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2))


def _between(w: Tensor, present: Tensor) -> Tensor:
    """Take from w (P, K, A), in place, what all classes that are there share."""
    shares = present / present.sum(1, keepdim=True)
    return w.sub_(shares[:, None] @ w).mul_(present[:, :, None])
