"""Logistic regression with a penalty that is chosen on images held out, as its variants do it.

A penalty is tried on the training images that are not held out, scored on those that are, and the best one is used on
all of them. What the numbers of a variant multiply is brought into one form: losses summed over images, and lambda / 2
times the squared weights, biases free. Letters: N rows, M test rows, F features, K classes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import torch

from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.logistic import LogisticRecipe, lambda_of
from twinbench.solver.softmax import Softmax, SoftmaxSolution
from twinbench.solver.softmax_fit import Fit
from twinbench.solver.softmax_reference import Lbfgs
from twinbench.transfer.metrics import counted, eleven_points, per_class_accuracy


class LogisticError(UserError):
    """Features and labels that no logistic regression can be fitted to."""


# (class indices (N,), how many classes, penalties) to a fit a penalty, in their order. Each class has a column of
# weights with its penalty, of two classes, too.
Fitting = Callable[[np.ndarray, int, Sequence[float]], list[Fit]]


Tried = Callable[[Sequence[float]], list[list[Fit]]]  # the recipe's numbers to the fits of each, one or one a class


class Solver(Protocol):
    """Fits softmax regressions."""

    def __call__(self, x: np.ndarray) -> Fitting:
        """Return what fits labels to features (N, F)."""
        ...


@dataclass(frozen=True)
class LogisticResult:
    """What the chosen penalty reached, and how it was found."""

    metrics: dict[str, float]  # percent
    penalty: float  # the chosen one, in the variant's own numbers
    tried: list[tuple[float, float]]  # each penalty, in the order tried, with its percent on the images held out
    held_out: int  # images
    fits: list[Fit] = field(repr=False)  # the last ones: one, or one a class

    @property
    def converged(self) -> bool:
        """Say whether each of the last fits ended at its minimum."""
        return all(fit.converged for fit in self.fits)


def logistic_solver(recipe: LogisticRecipe, device: str) -> Solver:
    """Return the recipe's solver: ours goes to the minimum."""
    if recipe.solver == "lbfgs":
        return Fits(Lbfgs(True, recipe.tolerance, recipe.max_iterations, recipe.warm_start))
    return Fits(Softmax(device=device, tolerance=recipe.tolerance))


def require_finite(train_x: np.ndarray, test_x: np.ndarray) -> None:
    """Raise LogisticError for features that are no numbers."""
    for name, x in (("training", train_x), ("test", test_x)):
        if not np.isfinite(x).all():
            raise LogisticError(f"{name} features with NaN or infinity; expected finite numbers")


def evaluate_logistic(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    held: np.ndarray,
    *,
    classes: int,
    recipe: LogisticRecipe,
    metric: str,
    solver: Solver,
) -> LogisticResult:
    """Choose a penalty on the rows that are `held`, (N,) bool, fit it to all, and measure on the test rows.

    Targets are class indices (N,), or (N, K) in {1, 0, -1}. `metric` is the one that chooses. LogisticError if features
    are not finite, or a class has no image to be learned from.
    """
    require_finite(train_x, test_x)
    task = Several(classes, recipe, solver) if train_y.ndim > 1 else One(classes, recipe, solver)
    task.require(train_y)
    tried: list[tuple[float, float]] = []
    fits_of = task.fitting(train_x[~held], train_y[~held])

    def chosen_by(penalties: Sequence[float]) -> list[float]:
        values = [task.metrics(fits, train_x[held], train_y[held])[metric] for fits in fits_of(penalties)]
        tried.extend(zip(penalties, values, strict=True))
        return values

    penalty = search(recipe, chosen_by)
    (fits,) = task.fitting(train_x, train_y)([penalty])
    return LogisticResult(task.metrics(fits, test_x, test_y), penalty, tried, int(held.sum()), fits)


def search(recipe: LogisticRecipe, score: Callable[[Sequence[float]], list[float]]) -> float:
    """Return the best penalty: of the recipe's own, then of steps beside the best that are halved in logarithms.

    The first of equal ones counts. Of a halved step the smaller penalty is tried first, and the larger one only where
    that was no better: so does Google's linear_eval.
    """
    penalties = list(recipe.penalties)
    values = score(penalties)
    place = int(np.argmax(values))
    best, value = penalties[place], values[place]
    lower = max(place - 1, 0)
    step = penalties[lower + 1] / penalties[lower] if recipe.halvings else 1.0
    for _ in range(recipe.halvings):
        step = math.sqrt(step)
        for candidate in (best / step, best * step):
            (found,) = score([candidate])
            if found > value:
                best, value = candidate, found
                break
    return best


def as_lambda(recipe: LogisticRecipe, penalty: float, classes: int) -> float:
    """Return what stands before |W|^2 / 2 beside summed losses, for a number of the recipe's search.

    A binary regression has one column of weights where a softmax of two has two, each the other's negative: it is that
    softmax at twice the penalty.
    """
    columns = 2 if classes == 2 and recipe.binary == "logistic" else 1
    return columns * lambda_of(recipe.penalty, penalty)


@dataclass(frozen=True)
class Fits:
    """A solver of softmax regressions, whichever the order that it goes through the penalties in."""

    solve: Softmax | Lbfgs

    def __call__(self, x: np.ndarray) -> Fitting:
        """Return what fits labels to features (N, F); our solver turns them once for all labels."""
        features = torch.as_tensor(np.asarray(x))
        if isinstance(self.solve, Softmax):
            return partial(_fitted, partial(self.solve.on, self.solve.turned(features)))
        return partial(_fitted, partial(self.solve, features))


def _fitted(
    solve: Callable[..., Iterator[SoftmaxSolution]], y: np.ndarray, classes: int, lambdas: Sequence[float]
) -> list[Fit]:
    """Return a fit a penalty of one split, all rows."""
    found: dict[float, Fit] = {}
    for solution in solve(torch.as_tensor(y), torch.ones(len(y), 1), lambdas, classes):
        found[solution.penalty] = solution.fit(0)
    return [found[value] for value in lambdas]


@dataclass(frozen=True)
class One:
    """One class an image: a softmax over all classes."""

    classes: int
    recipe: LogisticRecipe
    solver: Solver

    def require(self, targets: np.ndarray) -> None:
        """Raise LogisticError for a class without an image."""
        counts = np.bincount(targets, minlength=self.classes)
        if counts.min() == 0:
            raise LogisticError(f"class {int(counts.argmin())} has 0 training images; expected at least 1: all there?")

    def fitting(self, x: np.ndarray, y: np.ndarray) -> Tried:
        """Return what fits features (N, F) with class indices (N,)."""
        fit = self.solver(x)

        def fits(penalties: Sequence[float]) -> list[list[Fit]]:
            lambdas = [as_lambda(self.recipe, penalty, self.classes) for penalty in penalties]
            return [[found] for found in fit(y, self.classes, lambdas)]

        return fits

    def metrics(self, fits: list[Fit], x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """Return percents for features (M, F) of class indices (M,)."""
        predicted = fits[0].scores(x).argmax(1)
        top1 = 100 * float((predicted == y).mean())
        return {"top1": top1, "per-class": 100 * per_class_accuracy(predicted, y, self.classes)}


@dataclass(frozen=True)
class Several:
    """Several classes an image: a binary regression for each, all with one penalty."""

    classes: int
    recipe: LogisticRecipe
    solver: Solver

    def require(self, targets: np.ndarray) -> None:
        """Raise LogisticError for a class without a positive, or without a negative."""
        for name, rows in (("positive", targets == 1), ("negative", targets != 1)):
            counts = rows.sum(0)
            if counts.min() == 0:
                raise LogisticError(
                    f"class {int(counts.argmin())} has 0 {name} training images; expected at least 1: all there?"
                )

    def fitting(self, x: np.ndarray, y: np.ndarray) -> Tried:
        """Return what fits features (N, F) with targets (N, K), each class against the rest."""
        columns = self._columns(x, y)

        def fits(penalties: Sequence[float]) -> list[list[Fit]]:
            lambdas = [as_lambda(self.recipe, penalty, 2) for penalty in penalties]
            if self.recipe.warm_start:  # from one class to the next, and then on to the next penalty
                return [[fit(labels, 2, [value])[0] for fit, labels in columns] for value in lambdas]
            by_class = [fit(labels, 2, lambdas) for fit, labels in columns]
            return [list(found) for found in zip(*by_class, strict=True)]

        return fits

    def _columns(self, x: np.ndarray, y: np.ndarray) -> list[tuple[Fitting, np.ndarray]]:
        """Return for each class what fits its labels, and these; where no row is dropped, one for all."""
        if self.recipe.ignored == "negative":
            fit = self.solver(x)
            return [(fit, (y[:, label] == 1).astype(np.int64)) for label in range(self.classes)]
        kept = [y[:, label] != -1 for label in range(self.classes)]
        return [(self.solver(x[rows]), (y[rows, label] == 1).astype(np.int64)) for label, rows in enumerate(kept)]

    def metrics(self, fits: list[Fit], x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        """Return percents for features (M, F) of targets (M, K).

        Classes without a positive or without a negative do not count.
        """
        columns = [np.diff(fit.scores(x), axis=1)[:, 0] for fit in fits]
        scores, targets = torch.as_tensor(np.stack(columns, 1)), torch.as_tensor(y)
        areas = eleven_points(
            scores, targets == 1, counted(targets, self.recipe.ignored), from_one=self.recipe.ap == "from-1"
        )
        return {"mAP-11": 100 * float(areas.nanmean())}
