"""The reference solver: scikit-learn's LinearSVC, one problem and one cost after the other, as VISSL calls it."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from twinbench.runtime.progress import bar
from twinbench.solver.linear_problems import Problems, Solution, Solve, relative_gradient, with_bias


@dataclass(frozen=True)
class Liblinear:
    """LIBLINEAR's dual coordinate descent with VISSL's settings; float64, one thread."""

    positive_weight: float
    tolerance: float
    max_iterations: int
    seed: int

    def __call__(self, train: Tensor, test: Tensor) -> Solve:
        """Return what fits every problem at every cost; see `transfer.linear_problems.Solver`."""
        return partial(self._along, with_bias(train.cpu().double()), with_bias(test.cpu().double()))

    def _along(self, x: Tensor, z: Tensor, problems: Problems, costs: Sequence[float]) -> Iterator[Solution]:
        """Yield the solutions on rows x (N, F + 1), with the scores of z (M, F + 1)."""
        problems = Problems(problems.labels.cpu().double(), problems.weights.cpu().double())
        y, s = problems.labels.numpy(), problems.weights.numpy()
        for cost in costs:
            columns = bar(range(len(problems)), what=f"LinearSVC C={cost:g}", unit="fit")
            fits = [self._fit(x.numpy()[:, :-1], y[:, p], s[:, p], cost) for p in columns]
            w = torch.as_tensor(np.stack([coefficients for coefficients, _ in fits], axis=1))  # (F + 1, P)
            iterations = torch.tensor([count for _, count in fits])
            yield Solution(
                train_scores=x @ w,
                test_scores=z @ w,
                iterations=iterations,
                gradient=partial(relative_gradient, x, w, x @ w, problems, cost),
                converged=iterations < self.max_iterations,
            )

    def _fit(self, x: np.ndarray, y: np.ndarray, s: np.ndarray, cost: float) -> tuple[np.ndarray, int]:
        """Return coefficients (F + 1,), bias last, and the number of iterations.

        What a weight is beyond its class's says how often the row is there.
        """
        machine = LinearSVC(
            C=cost,
            penalty="l2",
            loss="squared_hinge",
            dual=True,  # type: ignore[arg-type]  # the stubs know `auto` only
            tol=self.tolerance,
            max_iter=self.max_iterations,
            intercept_scaling=1,
            class_weight={1: self.positive_weight, -1: 1.0},
            random_state=self.seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # becomes `converged` in the result
            times = s / np.where(y > 0, self.positive_weight, 1.0)
            machine.fit(x[s > 0], y[s > 0], sample_weight=times[s > 0])
        return np.append(machine.coef_[0], machine.intercept_), int(machine.n_iter_)
