"""Rows of features in their principal axes for softmax regression, and the products with them that its time goes into.

With an unpenalised bias the rows may be shifted by any vector: only the bias changes. So they are centred, which all
but uncouples the bias from the weights, and a 1 stands behind each. Then they are turned into the axes in which their
scatter is diagonal: there the Hessian of the loss nearly is (softmax_newton). Weights keep their length.
The rows come in blocks, so that what is computed of a block stays in the cache, and the memory beside the rows small.
Letters: N rows, n rows of a block, D features, A axes (and the bias, last), P problems, K classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from twinbench.solver.principal_rows import aligned, rough_type, self_product

BLOCK = 8192  # rows; products with fewer are slower, and what they leave no longer fits the cache with more


@dataclass(frozen=True)
class Block:
    """Some of the rows; the last two are for rough products, in the layout that is fastest in each direction."""

    at: slice
    z: Tensor  # (n, A)
    rough: Tensor  # (n, A)
    across: Tensor  # (A, n)


@dataclass(frozen=True)
class AxisRows:
    """All rows in their axes."""

    z: Tensor  # (N, A)
    turn: Tensor  # (D, R), orthonormal columns; R is A, less one with a bias
    mean: Tensor | None  # (D,), what was taken from the rows; None without a bias
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, features: Tensor, *, bias: bool) -> "AxisRows":
        """Turn `features` (N, D), float32 or float64; of float32 rough products are in the device's fastest type."""
        mean = features.mean(0) if bias else None
        turn = _axes(features, mean)
        z = aligned(len(features), turn.shape[1] + bias, features, features.dtype).fill_(1)
        rough = rough_type(z.device) if z.dtype == torch.float32 else z.dtype
        # Of one piece each: between many, what temporary arrays left behind was a quarter of the features' size.
        coarse = aligned(len(z), z.shape[1], z, rough)
        across = aligned(-(-len(z) // BLOCK) * z.shape[1], min(len(z), BLOCK), z, rough)
        blocks: list[Block] = []
        for number, (at, x) in enumerate(_centred(features, mean)):
            z[at, : turn.shape[1]] = x @ turn
            turned = across[number * z.shape[1] : (number + 1) * z.shape[1], : len(x)]
            blocks.append(Block(at, z[at], coarse[at].copy_(z[at]), turned.copy_(coarse[at].T)))
        return cls(z, turn, mean, tuple(blocks))

    @property
    def penalised(self) -> Tensor:
        """1 for every axis and 0 for the bias, (A,)."""
        mask = self.z.new_ones(self.z.shape[1])
        if self.mean is not None:
            mask[-1] = 0
        return mask

    def onto_rows(self, w: Tensor, *, rough: bool = False) -> Tensor:
        """Return the scores (N, P, K) of weights w (P, K, A)."""
        flat = w.flatten(0, 1).T
        scores = w.new_empty(len(self.z), flat.shape[1])
        for block in self.blocks:
            scores[block.at] = block.rough @ flat.to(block.rough.dtype) if rough else block.z @ flat
        return scores.view(-1, *w.shape[:2])

    def onto_axes(self, r: Tensor, weights: Tensor | None, *, rough: bool = False) -> Tensor:
        """Return the sum (P, K, A) of every row by its r (N, P, K) and, where there are any, its weights (N, P)."""
        _, problems, classes = r.shape
        total = r.new_zeros(problems * classes, self.z.shape[1])
        for block in self.blocks:
            part = r[block.at] if weights is None else r[block.at] * weights[block.at, :, None]
            flat = part.reshape(len(part), -1)
            if rough:
                total += (block.across @ flat.to(block.rough.dtype)).T
            else:
                total.addmm_(flat.T, block.z)
        return total.view(problems, classes, -1)

    def scatter(self, weights: Tensor) -> Tensor:
        """Return the weighted sums of squares along the axes, (P, A), for weights (N, P)."""
        total = self.z.new_zeros(weights.shape[1], self.z.shape[1])
        for block in self.blocks:
            total += weights[block.at].T @ block.z.square()
        return total

    def lengths(self) -> Tensor:
        """Return |z|^2 of every row, the bias's 1 left out, (N,)."""
        return self.z.square() @ self.penalised

    def gradient_norm(self, g: Tensor) -> Tensor:
        """Return |g| (P,) of gradients g (P, K, A) as it is for the features that came, before they were centred."""
        if self.mean is None:
            return g.norm(dim=(1, 2))
        of_bias, along = g[:, :, -1], g @ self._shift  # (P, K); the bias moves the features' gradient by the mean
        squares = g.norm(dim=(1, 2)).square() + 2 * (of_bias * along).sum(1)
        return (squares + self._mean_square * of_bias.square().sum(1)).clamp(min=0).sqrt()

    @cached_property
    def _shift(self) -> Tensor:
        """The mean in the axes, and 0 for the bias, (A,)."""
        assert self.mean is not None
        return torch.cat([self.mean @ self.turn, self.mean.new_zeros(1)])

    @cached_property
    def _mean_square(self) -> float:
        assert self.mean is not None
        return float(self.mean @ self.mean)

    def features(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (P, K, D) and biases (P, K) that give the features that came the scores of w (P, K, A)."""
        along = w if self.mean is None else w[:, :, :-1]
        weights = (self.turn @ along.flatten(0, 1).T).T.contiguous().view(*w.shape[:2], -1)  # faster than the other way
        if self.mean is None:
            return weights, w.new_zeros(w.shape[:2])
        shifted = weights.double() @ self.mean.double()
        return weights, (w[:, :, -1].double() - shifted).to(w.dtype)


def _axes(features: Tensor, mean: Tensor | None) -> Tensor:
    """Return the principal axes of the rows around `mean`, (D, R), the longest first; R is the smaller of N and D."""
    if len(features) >= features.shape[1]:
        moments = features.new_zeros(features.shape[1], features.shape[1])
        for _, x in _centred(features, mean):
            moments += self_product(x.T)
        return _straight(torch.linalg.eigh(moments).eigenvectors.flip(1).contiguous())
    x = features if mean is None else features - mean
    span, corner = torch.linalg.qr(x.T)  # x = corner^T span^T
    return _straight(span @ torch.linalg.eigh(self_product(corner)).eigenvectors.flip(1))


def _straight(turn: Tensor) -> Tensor:
    """Return columns (D, R) that are nearly orthonormal made so to rounding, by one step of Newton-Schulz.

    Eigenvectors in float32 are so to 1e-6 only, and what is missing comes back in the gradient of the turned weights.
    """
    slant = self_product(turn.T)
    slant.diagonal().sub_(1)
    rough = rough_type(turn.device) if turn.dtype == torch.float32 else turn.dtype
    return turn - 0.5 * (turn.to(rough) @ slant.to(rough)).to(turn.dtype)


def _centred(features: Tensor, mean: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows less their mean, and where they are."""
    for start in range(0, len(features), BLOCK):
        at = slice(start, start + BLOCK)
        yield at, features[at] if mean is None else features[at] - mean
