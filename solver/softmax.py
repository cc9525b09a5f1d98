"""Softmax regression with an L2 penalty, for many penalties and splits of the rows at once, on a CPU or a GPU.

For weights W (K, D), biases b (K,), row weights s and penalties lambda it minimises

    sum_i s_i CE(W x_i + b, y_i) + lambda / 2 |W|^2,

which is scikit-learn's LogisticRegression with C = 1 / lambda: a sum over rows, a half before |W|^2, biases (if any)
not penalised. For a source with the mean over N rows multiply its lambda by N, for one without the half by 2. Of two
classes scikit-learn penalises the difference of their weights only, |w_1 - w_0|^2 / (2 C): there lambda = 2 / C.

How: in the rows' principal axes (softmax_rows), along falling penalties from where the last solutions point
(softmax_path), by truncated Newton (softmax_newton). A solution has converged when its |gradient| is at most
`tolerance` times that at zero weights. That alone says little at weak penalties: on separable data the gradient dies
off as the fit gets perfect, wherever the weights are. (scikit-learn's fits at its default tolerance, which looks at the
gradient alone, are 20 points of accuracy short there.) So it goes on until |gradient| is at most `distance` times
lambda |W|, or falls no more for rounding: with biases at their best the objective is lambda-strongly convex in W, so W
is within |gradient| / lambda of the best one. Both figures are in the solution.
Letters: N rows, D features, K classes, P splits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from twinbench.runtime.progress import bar
from twinbench.solver.principal_rows import rough_type
from twinbench.solver.softmax_fit import Fit
from twinbench.solver.softmax_newton import Newton, Stop
from twinbench.solver.softmax_rows import AxisRows

TOLERANCE = 1e-6
DISTANCE = 5e-2  # of the weights, relatively: what they choose hardly changes any more
LIMIT = 100  # Newton steps at one penalty
STEP = 5  # arrays of a number for each row, split and class that a step holds at most


@dataclass(frozen=True)
class SoftmaxSolution:
    """All splits solved at one penalty."""

    penalty: float
    weights: Tensor  # (P, K, D); 0 for a class that a split has no row of
    biases: Tensor  # (P, K); minus infinity for such a class
    iterations: Tensor  # (P,)
    gradient: Tensor  # (P,), |gradient| at the end over |gradient| at zero weights
    distance: Tensor  # (P,), |gradient| over lambda |W|
    converged: Tensor  # (P,), bool: `gradient` is within the tolerance

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores (M, P, K) of other rows, `features` (M, D)."""
        flat = self.weights.flatten(0, 1)
        return (features.to(flat) @ flat.T).view(len(features), *self.biases.shape) + self.biases

    def fit(self, p: int) -> Fit:
        """Return the solution of split `p`."""
        return Fit(
            self.weights[p].T.numpy(),
            self.biases[p].numpy(),
            float(self.gradient[p]),
            int(self.iterations[p]),
            bool(self.converged[p]),
        )


@dataclass(frozen=True)
class Softmax:
    """The solver. With `dtype` float64 nothing is rough and `tolerance` may be far lower."""

    bias: bool = True
    device: str = "cpu"
    tolerance: float = TOLERANCE
    distance: float = DISTANCE
    limit: int = LIMIT
    dtype: torch.dtype = torch.float32

    def __call__(
        self, features: Tensor, labels: Tensor, splits: Tensor, penalties: Sequence[float], classes: int
    ) -> Iterator[SoftmaxSolution]:
        """Yield the solutions at `penalties`, the strongest first.

        features (N, D); labels (N,), int64, below `classes`; splits (N, P), the rows' weights in each, 0 where a row is
        not in it (`of_rows` makes them of row numbers).
        """
        used = (splits > 0).any(1)
        if not used.all():
            features, labels, splits = features[used], labels[used], splits[used]
        yield from self.on(self.turned(features), labels, splits, penalties, classes)

    def peak_bytes(self, rows: int, width: int, classes: int, splits: int = 1) -> int:
        """Return what solving takes of the device's memory, features (rows, width) included.

        Rows are there twice while they are turned, if the caller then lets go of his, and roughly in two layouts. A
        step holds scores and residuals, how they move, and what they were.
        """
        exact = self.dtype.itemsize
        rough = rough_type(torch.device(self.device)).itemsize if self.dtype == torch.float32 else exact
        turning = rows * width * 2 * (exact + rough)
        solving = rows * (width * (exact + 2 * rough) + STEP * exact * classes * splits)
        return max(turning, solving)

    def turned(self, features: Tensor) -> AxisRows:
        """Return features (N, D) in their principal axes: what several labels of the same rows share."""
        return AxisRows.of(features.to(self.device, self.dtype), bias=self.bias)

    def on(
        self, rows: AxisRows, labels: Tensor, splits: Tensor, penalties: Sequence[float], classes: int
    ) -> Iterator[SoftmaxSolution]:
        """Yield what a call does, for rows that are `turned`, each of which some split should have."""
        assert min(penalties) > 0
        stop = Stop(self.tolerance, self.distance, self.limit)
        newton = Newton(rows, labels.to(self.device), splits.to(self.device, self.dtype), classes, stop)
        for penalty in bar(sorted(penalties, reverse=True), what="softmax regression", unit="penalty"):
            ends = newton.solve(penalty)
            weights, biases = rows.features(ends.w)
            yield SoftmaxSolution(
                penalty=penalty,
                weights=weights.cpu(),
                biases=(biases + newton.absent).cpu(),
                iterations=ends.steps.cpu(),
                gradient=ends.gradient.cpu(),
                distance=ends.distance.cpu(),
                converged=ends.converged.cpu(),
            )


def of_rows(count: int, *rows: Tensor) -> Tensor:
    """Return splits (count, P), weight 1 for the `rows` of each, numbers below `count`; one given twice weighs 2."""
    splits = torch.zeros(count, len(rows))
    for split, numbers in enumerate(rows):
        splits[:, split] = torch.bincount(numbers, minlength=count)
    return splits
