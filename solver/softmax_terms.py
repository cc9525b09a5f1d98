"""Loss, residuals and curvature of softmax regression, row by row, for several problems on the same rows.

A residual is what the gradient adds up: the probability of a class, and for a row's own class that of it less 1. On
separable data at a weak penalty nearly every own class has a probability of 1 but for rounding, while what is left to
gain lies in the small others; so the own class's entries are computed as minus the sum of the others, here as in the
product with the curvature, and keep their digits.
Letters: N rows, n rows of a block, A axes, P problems, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from twinbench.solver.softmax_rows import AxisRows

SURE = 0.5  # an own class with more than this has a loss that is computed from the other classes


@dataclass(frozen=True)
class Terms:
    """The rows of some problems with what is known of them at the present weights."""

    rows: AxisRows
    labels: Tensor  # (N,), int64
    weights: Tensor | None  # (N, P), >= 0; None where all are 1
    residuals: Tensor  # (N, P, K)

    def some(self, p: Tensor) -> "Terms":
        """Return the terms of the problems p (p,)."""
        weights = None if self.weights is None else self.weights[:, p]
        return Terms(self.rows, self.labels, weights, self.residuals[:, p])

    def refresh(self, scores: Tensor) -> Tensor:
        """Put the residuals at `scores` (N, P, K) in place; return the losses (P,), float64."""
        total = scores.new_zeros(scores.shape[1], dtype=torch.float64)
        for block in self.rows.blocks:
            at = block.at
            loss = _soften(scores[at], self._own(at), self.residuals[at])
            if self.weights is not None:
                weights = self.weights[at]
                loss = torch.where(weights > 0, weights * loss, 0.0)  # a class that is absent costs infinitely much
            total += loss.sum(0, dtype=torch.float64)
        return total

    def gradient(self) -> Tensor:
        """Return the gradient of the losses, (P, K, A)."""
        return self.rows.onto_axes(self.residuals, self.weights)

    def gradient_since(self, before: Tensor) -> Tensor:
        """Return by how much the gradient (P, K, A) has changed since residuals `before` (N, P, K), roughly."""
        return self.rows.onto_axes(self.residuals - before, self.weights, rough=True)

    def curved(self, w: Tensor) -> Tensor:
        """Return the product (P, K, A) of the losses' Hessian and w (P, K, A), roughly."""
        problems, classes, axes = w.shape
        total = w.new_zeros(axes, problems * classes)
        for block in self.rows.blocks:
            flat = w.view(-1, axes).to(block.rough.dtype)
            moved = (block.rough @ flat.T).to(w.dtype).view(-1, problems, classes)
            bent = self._bent(moved, block.at).view(len(moved), -1)
            total += block.across @ bent.to(block.rough.dtype)
        return total.T.reshape(w.shape)

    def spread(self, lengths: Tensor) -> Tensor:
        """Return the mean curvature (P, K, K) of the rows over classes, by their weights and `lengths` (N,)."""
        _, problems, classes = self.residuals.shape
        total = lengths.new_zeros(problems, classes, classes)
        scale = lengths.new_zeros(problems, 1, 1)
        for block in self.rows.blocks:
            at = block.at
            by = lengths[at, None].expand(-1, problems)
            by = by if self.weights is None else by * self.weights[at]
            shares = self.residuals[at].scatter_add(2, self._own(at), self.residuals.new_ones(len(by), problems, 1))
            weighted = shares * by[:, :, None]  # (n, P, K)
            total -= torch.einsum("npk,npl->pkl", weighted, shares)
            total.diagonal(dim1=1, dim2=2).add_(weighted.sum(0))
            scale += by.sum(0)[:, None, None]
        return total / scale.clamp(min=1e-30)

    def _own(self, at: slice) -> Tensor:
        """Return the own class of some rows, an index (n, P, 1) of their classes."""
        return self.labels[at, None, None].expand(-1, self.residuals.shape[1], 1)

    def _bent(self, moved: Tensor, at: slice) -> Tensor:
        """Return the rows' curvature times `moved` scores (n, P, K), which it overwrites."""
        own, residuals = self._own(at), self.residuals[at]
        moved -= moved.gather(2, own)  # a shift of all scores changes nothing
        mean = (residuals * moved).sum(2, keepdim=True)
        bent = moved.sub_(mean).mul_(residuals).scatter_add_(2, own, -mean)  # the own class's share is residual + 1
        return bent if self.weights is None else bent.mul_(self.weights[at, :, None])


def _soften(scores: Tensor, own: Tensor, residuals: Tensor) -> Tensor:
    """Write the residuals at `scores` (n, P, K); return the rows' losses (n, P). `own` (n, P, 1) are their classes."""
    logs = torch.log_softmax(scores, 2)
    log_own = logs.gather(2, own)
    shares = logs.exp_().scatter_(2, own, 0.0)
    others = shares.sum(2, keepdim=True)
    residuals.copy_(shares.scatter_(2, own, -others))
    return torch.where(others < SURE, -torch.log1p(-others.clamp(max=SURE)), -log_own)[:, :, 0]
