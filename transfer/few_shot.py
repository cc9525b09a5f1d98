"""Logistic regression on k images a class, drawn again and again, as DINOv3's code draws them.

The training images are shuffled, a share of each class is held out, and of the rest each draw takes k of each class.
The images held out choose each draw's penalty and train nothing. Letters: N rows, M test rows, F features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from twinbench.protocols.kinds.logistic import FewShotLogisticRecipe
from twinbench.solver.softmax_fit import Fit
from twinbench.transfer.held_out import held_out, torchs_order
from twinbench.transfer.logistic import One, Solver, require_finite, search


@dataclass(frozen=True)
class Draw:
    """What one draw reached on the test images."""

    metrics: dict[str, float]  # percent
    penalty: float  # the chosen one, in the recipe's own numbers
    images: int  # trained on
    converged: bool


@dataclass(frozen=True)
class FewShotResult:
    """The draws of each k."""

    draws: dict[int, list[Draw]]
    held_out: int  # images


def evaluate_few_shot(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    classes: int,
    recipe: FewShotLogisticRecipe,
    metric: str,
    solver: Solver,
) -> FewShotResult:
    """Fit each draw of each k for features (N, F) with class indices (N,); `metric` chooses the penalties."""
    require_finite(train_x, test_x)
    task = One(classes, recipe, solver)
    held = held_out(train_y, recipe, None, 0, seed=0)
    order = torchs_order(len(train_y))
    pool = order[~held[order]]
    task.require(train_y[pool])
    found: dict[int, list[Draw]] = {}
    for k in recipe.shots:
        found[k] = []
        for number in range(recipe.draws):
            rows = drawn_shots(train_y[pool], k, number)
            found[k].append(_draw(task, train_x, train_y, pool[rows], held, test_x, test_y, metric))
    return FewShotResult(found, int(held.sum()))


def drawn_shots(targets: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return the places (at most k a class) that a draw takes among `targets` (N,), rising.

    One generator of the seed permutes each class in turn, lower indices first.
    """
    generator = torch.Generator().manual_seed(seed)
    taken: list[np.ndarray] = []
    for label in np.unique(targets):
        places = np.flatnonzero(targets == label)
        taken.append(places[torch.randperm(len(places), generator=generator)[:k].numpy()])
    return np.sort(np.concatenate(taken))


def _draw(
    task: One,
    train_x: np.ndarray,
    train_y: np.ndarray,
    rows: np.ndarray,
    held: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    metric: str,
) -> Draw:
    """Fit a draw's `rows` with each penalty, choose one on the rows `held`, and measure it."""
    fits: dict[float, list[Fit]] = {}
    fits_of = task.fitting(train_x[rows], train_y[rows])

    def chosen_by(penalties: Sequence[float]) -> list[float]:
        tried = fits_of(penalties)
        fits.update(zip(penalties, tried, strict=True))
        return [task.metrics(fit, train_x[held], train_y[held])[metric] for fit in tried]

    penalty = search(task.recipe, chosen_by)
    (fit,) = fits[penalty]
    return Draw(task.metrics([fit], test_x, test_y), penalty, len(rows), fit.converged)
