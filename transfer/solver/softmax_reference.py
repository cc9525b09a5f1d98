"""The reference for softmax regression: scikit-learn's L-BFGS as a source calls it, and what its early end means.

Some sources stop after 100 iterations and ignore the warning; their numbers are those of unfinished fits, which depend
on the order of the rows' features, the type of the numbers and where a fit began. To measure what such a source measures,
run it as it runs: `Lbfgs` does no more than call scikit-learn, in the order of the penalties given. `shortfall` bounds
how far above its least value the objective then is.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from twinbench.runtime.progress import bar
from twinbench.transfer.solver.softmax import SoftmaxSolution
from twinbench.transfer.solver.softmax_check import gradient_norms


@dataclass(frozen=True)
class Lbfgs:
    """LogisticRegression with a source's settings, one split and one penalty after the other; one thread's work."""

    bias: bool = True
    tolerance: float = 1e-4
    max_iterations: int = 100
    warm_start: bool = False  # begin at the last penalty's solution
    dtype: torch.dtype = torch.float32

    def __call__(
        self, features: Tensor, labels: Tensor, splits: Tensor, penalties: Sequence[float], classes: int
    ) -> Iterator[SoftmaxSolution]:
        """Yield the solutions at `penalties` in the order given; arguments as those of `softmax.Softmax`.

        `converged` is False where scikit-learn warned that it stopped early. Of two classes scikit-learn penalises the
        difference of the weights alone, so that 1 / penalty as its C gives the solution at twice the penalty, which is
        what the solution is said to be of.
        """
        x, y, s = features.cpu().to(self.dtype).numpy(), labels.cpu().numpy(), splits.cpu().double().numpy()
        machines = [self._machine() for _ in range(s.shape[1])]
        for penalty in bar(penalties, what="LogisticRegression", unit="penalty"):
            fits = [self._fit(machine, x, y, s[:, p], penalty, classes) for p, machine in enumerate(machines)]
            weights, biases = (torch.stack([fit[k] for fit in fits]) for k in (0, 1))
            meant = penalty * (2 if classes == 2 else 1)
            parts = [
                gradient_norms(features, labels, splits[:, p], weights[p], biases[p], meant, bias=self.bias)
                for p in range(len(fits))
            ]
            held = [meant * float(w.double().norm()) for w in weights]
            yield SoftmaxSolution(
                penalty=meant,
                weights=weights,
                biases=biases,
                iterations=torch.tensor([int(machine.n_iter_.max()) for machine in machines]),
                gradient=torch.tensor([now / max(zero, 1e-30) for now, zero in parts]),
                distance=torch.tensor([now / max(part, 1e-30) for (now, _), part in zip(parts, held, strict=True)]),
                converged=torch.tensor([fit[2] for fit in fits]),
            )

    def _machine(self) -> LogisticRegression:
        return LogisticRegression(
            solver="lbfgs",
            tol=self.tolerance,
            max_iter=self.max_iterations,
            fit_intercept=self.bias,
            warm_start=self.warm_start,
        )

    def _fit(
        self, machine: LogisticRegression, x: np.ndarray, y: np.ndarray, s: np.ndarray, penalty: float, classes: int
    ) -> tuple[Tensor, Tensor, bool]:
        """Fit a split; return weights (K, D), biases (K,) and whether scikit-learn was content."""
        machine.set_params(C=1 / penalty)
        used = s > 0
        equal = bool((s[used] == 1).all())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)  # becomes `converged`
            machine.fit(x[used], y[used], sample_weight=None if equal else s[used])
        coefficients, intercepts = np.asarray(machine.coef_), np.atleast_1d(machine.intercept_)
        if len(coefficients) == 1:
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        there = torch.as_tensor(machine.classes_)
        weights = torch.zeros(classes, x.shape[1], dtype=self.dtype)
        biases = torch.full((classes,), -torch.inf, dtype=self.dtype)
        weights[there] = torch.as_tensor(coefficients, dtype=self.dtype)
        biases[there] = torch.as_tensor(intercepts * np.ones(len(there)), dtype=self.dtype)
        return weights, biases, not any(issubclass(each.category, ConvergenceWarning) for each in caught)
