"""Logistic regression on so many images of whatever classes, drawn again and again, with VTAB-1k's sizes.

A draw has images to train on and others to choose the penalty on, which is then fitted to both together. Classes fall
as they may: one that a draw has no image of is never predicted, and its images are errors.
Letters: N rows, M test rows, F features, K classes, n rows of a draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinbench.protocols.kinds.logistic import SizedLogisticRecipe
from twinbench.runtime.progress import bar
from twinbench.runtime.seeds import generator
from twinbench.transfer.logistic import LogisticError, One, Solver, require_finite, search


@dataclass(frozen=True)
class SizedDraw:
    """The images of one draw, as places among the training images, rising."""

    train: np.ndarray  # (n,)
    validation: np.ndarray  # others

    @property
    def rows(self) -> np.ndarray:
        """Return all of them, rising."""
        return np.union1d(self.train, self.validation)

    def among(self, rows: np.ndarray) -> "SizedDraw":
        """Return the same images as places among `rows`, rising, that hold them all."""
        return SizedDraw(np.searchsorted(rows, self.train), np.searchsorted(rows, self.validation))


@dataclass(frozen=True)
class SizedResult:
    """What one draw reached on the test images."""

    metrics: dict[str, float]  # percent
    penalty: float  # the chosen one, in the recipe's own numbers
    classes: int  # that the draw has an image of
    converged: bool  # the last fit


def draw_sizes(images: int, official: np.ndarray | None, recipe: SizedLogisticRecipe, seed: int) -> list[SizedDraw]:
    """Draw the recipe's numbers of images again and again.

    Those that choose are drawn from the `official` validation images, (N,) bool, where there are any, those that train
    from the rest. LogisticError for too few of them.
    """
    train, validation = recipe.train_images, recipe.validation_images
    held = np.zeros(images, bool) if official is None else official
    rest, split = np.flatnonzero(~held), np.flatnonzero(held)
    wanted = train if official is not None else train + validation
    if len(rest) < wanted or (official is not None and len(split) < validation):
        found = f"{images} training images" + ("" if official is None else f", {len(split)} of them validation")
        raise LogisticError(
            f"{found}; expected {train} to train and {validation} to choose a penalty on; use --set train_images=N"
            " and --set validation_images=N"
        )
    drawn: list[SizedDraw] = []
    for number in range(recipe.draws):
        rng = generator(seed, number)
        order = rng.permutation(rest)
        choose = order[train:] if official is None else rng.permutation(split)
        drawn.append(SizedDraw(np.sort(order[:train]), np.sort(choose[:validation])))
    return drawn


def rows_of(drawn: Sequence[SizedDraw]) -> np.ndarray:
    """Return the places, rising, of all images that any draw has."""
    return np.unique(np.concatenate([draw.rows for draw in drawn]))


def evaluate_sized(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    drawn: Sequence[SizedDraw],
    *,
    classes: int,
    recipe: SizedLogisticRecipe,
    metric: str,
    solver: Solver,
) -> list[SizedResult]:
    """Fit each draw, places among the training rows, and measure it on the test rows; `metric` chooses the penalties.

    x: (N, F) features; y: (N,) class indices. LogisticError for features that are no numbers, and for a draw of a
    single class.
    """
    require_finite(train_x, test_x)
    task = One(classes, recipe, solver)
    found: list[SizedResult] = []
    for draw in bar(drawn, what="draws", unit="draw"):
        if len(np.unique(train_y[draw.train])) < 2:
            raise LogisticError(f"1 class among {len(draw.train)} drawn images; expected two or more; draw more images")
        penalty = _chosen(task, metric, train_x, train_y, draw)
        (fits,) = task.fitting(train_x[draw.rows], train_y[draw.rows])([penalty])
        there = len(np.unique(train_y[draw.rows]))
        found.append(SizedResult(task.metrics(fits, test_x, test_y), penalty, there, fits[0].converged))
    return found


def _chosen(task: One, metric: str, x: np.ndarray, y: np.ndarray, draw: SizedDraw) -> float:
    """Return the penalty that, fitted to a draw's training rows, is best on its validation rows."""
    fits_of = task.fitting(x[draw.train], y[draw.train])

    def values(penalties: Sequence[float]) -> list[float]:
        return [task.metrics(fits, x[draw.validation], y[draw.validation])[metric] for fits in fits_of(penalties)]

    return search(task.recipe, values)
