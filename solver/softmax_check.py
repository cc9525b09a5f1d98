"""What a softmax regression's weights are worth, in float64 from the features as they came: independent of any solver.

Letters: N rows, n rows of a block, D features, K classes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 4096  # rows that are float64 at a time
BIAS_STEPS = 100
BIAS_TOLERANCE = 1e-13  # of the rows' weight: where a bias's gradient ends


def objective(features: Tensor, labels: Tensor, s: Tensor, w: Tensor, b: Tensor, penalty: float) -> float:
    """Return sum s CE + penalty / 2 |W|^2 of weights w (K, D) and biases b (K,); rows' weights s (N,)."""
    scores = _scores(features, w) + b.double()
    log_own = torch.log_softmax(scores, 1).gather(1, labels[:, None])[:, 0]
    losses = torch.where(s > 0, -s.double() * log_own, 0.0)
    return float(losses.sum() + penalty / 2 * w.double().square().sum())


def gradient_norms(
    features: Tensor, labels: Tensor, s: Tensor, w: Tensor, b: Tensor, penalty: float, *, bias: bool
) -> tuple[float, float]:
    """Return |gradient| at w (K, D) and b (K,), and at zero weights, where biases are minus infinity in both."""
    there = torch.where(b.isinf(), b.double(), 0.0)
    now = _gradient(features, labels, s, _scores(features, w) + b.double(), bias)
    now[:, :-1] += penalty * w.double()
    zero = _gradient(features, labels, s, there.expand(len(features), -1), bias)
    return float(now.norm()), float(zero.norm())


def shortfall(
    features: Tensor, labels: Tensor, s: Tensor, w: Tensor, b: Tensor, penalty: float, *, bias: bool
) -> float:
    """Return at most how far the objective at w (K, D) and b (K,) is above its least value.

    With the biases that are best for w, c, the objective as a function of the weights alone is penalty-strongly convex
    and its gradient at w is g, so that f(w, c) is at most |g|^2 / (2 penalty) above the minimum; to that comes what the
    biases b lose, f(w, b) - f(w, c), which is computed.
    """
    best = best_biases(_scores(features, w), labels, s, b) if bias else b.double()
    lost = objective(features, labels, s, w, b, penalty) - objective(features, labels, s, w, best, penalty)
    g = _gradient(features, labels, s, _scores(features, w) + best, bias=False)[:, :-1] + penalty * w.double()
    return lost + float(g.square().sum()) / (2 * penalty)


def best_biases(scores: Tensor, labels: Tensor, s: Tensor, start: Tensor) -> Tensor:
    """Return the biases (K,) that are best beside fixed scores (N, K), from `start`, by Newton's method."""
    there, s = start.isfinite(), s.double()
    b, own = start.double().clone(), torch.nn.functional.one_hot(labels, len(start)).double()
    for _ in range(BIAS_STEPS):
        shares = torch.softmax(scores + b, 1)
        g = ((shares - own) * s[:, None]).sum(0)[there]
        if g.norm() <= BIAS_TOLERANCE * s.sum():
            break
        weighted = shares * s[:, None]
        hessian = (torch.diag(weighted.sum(0)) - weighted.T @ shares)[there][:, there] + 1 / len(g)  # of their sum: 0
        b[there] -= torch.linalg.solve(hessian, g).clamp(-1, 1)
    return b


def _scores(features: Tensor, w: Tensor) -> Tensor:
    """Return w x (N, K), float64."""
    return torch.cat([x @ w.double().T for _, x in _blocks(features)])


def _gradient(features: Tensor, labels: Tensor, s: Tensor, scores: Tensor, bias: bool) -> Tensor:
    """Return the losses' gradient (K, D + 1) at `scores` (N, K), the bias's last: 0 if there is none."""
    total = torch.zeros(scores.shape[1], features.shape[1] + 1, dtype=torch.float64)
    for at, x in _blocks(features):
        residuals = torch.softmax(scores[at], 1)
        residuals.scatter_add_(1, labels[at, None], residuals.new_full((len(x), 1), -1.0))
        residuals *= s[at, None].double()
        total[:, :-1] += residuals.T @ x
        total[:, -1] += residuals.sum(0) * bias
    return total


def _blocks(features: Tensor) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(features), BLOCK):
        at = slice(start, start + BLOCK)
        yield at, features[at].double()
