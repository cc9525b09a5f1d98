"""The reference for softmax regression: scikit-learn's L-BFGS as a source calls it, and what its early end means.

Some sources stop after 100 iterations and ignore the warning; their numbers are those of unfinished fits, which depend
on the features' scale, the numbers' type and where a fit began. To measure what such a source measures, run it as it
runs: `Lbfgs` does no more than call scikit-learn, in the order of the penalties given. `softmax_check.shortfall` bounds
how far above its least value the objective then is.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from twinbench.runtime.progress import bar
from twinbench.solver.softmax import SoftmaxSolution
from twinbench.solver.softmax_check import gradient_norms


@dataclass
class Lbfgs:
    """LogisticRegression with a source's settings, one split and one penalty after the other; one thread's work.

    With `warm_start` a fit begins at the one before, in an earlier call, too: so does code that has one object for all.
    """

    bias: bool = True
    tolerance: float = 1e-4
    max_iterations: int = 100
    warm_start: bool = False
    dtype: torch.dtype = torch.float32
    machines: dict[int, LogisticRegression] = field(default_factory=dict[int, LogisticRegression])  # split -> its own

    def __call__(
        self, features: Tensor, labels: Tensor, splits: Tensor, penalties: Sequence[float], classes: int
    ) -> Iterator[SoftmaxSolution]:
        """Yield the solutions at `penalties` in the order given; arguments as those of `softmax.Softmax`.

        `converged` is False where scikit-learn warned that it stopped early.
        """
        x, y, s = features.cpu().to(self.dtype).numpy(), labels.cpu().numpy(), splits.cpu().double().numpy()
        for penalty in bar(penalties, what="LogisticRegression", unit="penalty"):
            fits = [self._fit(p, x, y, s[:, p], penalty, classes) for p in range(s.shape[1])]
            weights, biases = torch.stack([fit[0] for fit in fits]), torch.stack([fit[1] for fit in fits])
            parts = [
                gradient_norms(features, labels, splits[:, p], weights[p], biases[p], penalty, bias=self.bias)
                for p in range(len(fits))
            ]
            held = [penalty * float(w.double().norm()) for w in weights]
            yield SoftmaxSolution(
                penalty=penalty,
                weights=weights,
                biases=biases,
                iterations=torch.tensor([int(self.machines[p].n_iter_.max()) for p in range(len(fits))]),
                gradient=torch.tensor([now / max(zero, 1e-30) for now, zero in parts]),
                distance=torch.tensor([now / max(part, 1e-30) for (now, _), part in zip(parts, held, strict=True)]),
                converged=torch.tensor([fit[2] for fit in fits]),
            )

    def _machine(self, split: int, there: np.ndarray) -> LogisticRegression:
        """Return the split's machine; a new one where the last has other classes than are `there`, or begins anew."""
        last = self.machines.get(split)
        if last is not None and self.warm_start and np.array_equal(last.classes_, there):
            return last
        self.machines[split] = LogisticRegression(
            solver="lbfgs",
            tol=self.tolerance,
            max_iter=self.max_iterations,
            fit_intercept=self.bias,
            warm_start=self.warm_start,
        )
        return self.machines[split]

    def _fit(
        self, split: int, x: np.ndarray, y: np.ndarray, s: np.ndarray, penalty: float, classes: int
    ) -> tuple[Tensor, Tensor, bool]:
        """Fit a split; return weights (K, D), biases (K,) and whether scikit-learn was content."""
        used = s > 0
        known = np.unique(y[used])
        machine = self._machine(split, known)
        # Of two classes it has one column, the difference of the softmax's, whose penalty is half of theirs together.
        machine.set_params(C=(2 if len(known) == 2 else 1) / penalty)
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
