"""scikit-learn's L-BFGS as logistic regressions are usually fitted: it may end before it arrives, and then says so."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from twinbench.transfer.solver.softmax_fit import Fit


class Lbfgs:
    """One object of scikit-learn for all fits, as code that sets `warm_start` has it."""

    def __init__(self, tolerance: float, max_iterations: int, *, warm_start: bool) -> None:
        """Fits end at a largest |gradient| over images of `tolerance`, or after `max_iterations`."""
        self._settings = {"tol": tolerance, "max_iter": max_iterations, "warm_start": warm_start}
        self._model: Any = None
        self._begun: tuple[int, ...] = ()  # the classes that the model has columns for

    def __call__(self, x: np.ndarray, y: np.ndarray, classes: int, lambdas: Sequence[float]) -> list[Fit]:
        """Return a fit a penalty, in their order; see `transfer.logistic.Solver`."""
        there = tuple(np.unique(y).tolist())
        if there != self._begun:  # without one of its classes nothing of the fit before can be gone on from
            self._model, self._begun = LogisticRegression(**self._settings), there
        return [self._fit(x, y, classes, value) for value in lambdas]

    def _fit(self, x: np.ndarray, y: np.ndarray, classes: int, value: float) -> Fit:
        """Fit one penalty; a class that no row has is never an answer."""
        self._model.set_params(C=(2 if len(self._begun) == 2 else 1) / value)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            self._model.fit(x, y)
        weights, biases = self._model.coef_.T, self._model.intercept_
        if len(self._begun) == 2:  # scikit-learn has one column, the difference of the softmax's
            weights, biases = np.hstack([-weights / 2, weights / 2]), np.concatenate([-biases / 2, biases / 2])
        whole = np.zeros((x.shape[1], classes), weights.dtype), np.full(classes, -np.inf, biases.dtype)
        whole[0][:, self._begun], whole[1][list(self._begun)] = weights, biases
        arrived = not any(issubclass(warning.category, ConvergenceWarning) for warning in told)
        return Fit(*whole, np.nan, int(self._model.n_iter_.max()), arrived)
