"""One softmax regression, whichever solver found it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fit:
    """A softmax regression: scores are x @ weights + biases."""

    weights: np.ndarray  # (F, K)
    biases: np.ndarray  # (K,)
    gradient: float  # length of the gradient over that at zero weights
    iterations: int
    converged: bool

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return the scores (M, K) of features (M, F)."""
        return x @ self.weights.astype(x.dtype) + self.biases.astype(x.dtype)
