"""Few-shot episodes on frozen features: whose class mean is nearest.

Letters: N rows, F features, C classes of an episode, S shots, Q queries a class.
"""

from dataclasses import dataclass

import numpy as np

from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.episodes import EpisodesRecipe
from twinbench.runtime.progress import bar

CONFIDENCE = 1.96  # standard errors, as such results are given with


class EpisodesError(UserError):
    """Images that no episodes can be drawn from."""


@dataclass(frozen=True)
class EpisodesResult:
    """The accuracy over episodes, percent."""

    top1: float
    deviation: float  # over episodes; of all of them, not of a sample
    interval: float  # half of the interval that is given beside the mean
    left_out: tuple[int, ...]  # classes with too few images


def evaluate_episodes(
    x: np.ndarray, y: np.ndarray, *, classes: int, recipe: EpisodesRecipe, seed: int
) -> EpisodesResult:
    """Draw episodes from features (N, F) with class indices (N,), and classify their queries by the nearest mean.

    EpisodesError if fewer classes than an episode has have images enough, or a feature is not finite.
    """
    if not np.isfinite(x).all():
        raise EpisodesError("features with NaN or infinity; expected finite numbers")
    each = recipe.shots + recipe.queries
    usable = usable_classes(y, classes, recipe)
    rows = [np.flatnonzero(y == label) for label in range(classes)]
    rng = np.random.default_rng(seed)
    accuracies: list[float] = []
    for _ in bar(range(recipe.episodes), what="episodes", unit="episode"):
        chosen = rng.choice(usable, recipe.ways, replace=False)
        drawn = np.stack([rng.choice(rows[label], each, replace=False) for label in chosen])  # (C, S + Q)
        accuracies.append(_accuracy(x[drawn].astype(np.float64), recipe.shots))
    deviation = float(np.std(accuracies))
    interval = CONFIDENCE * deviation / len(accuracies) ** 0.5
    left_out = tuple(np.setdiff1d(np.arange(classes), usable).tolist())
    return EpisodesResult(float(np.mean(accuracies)), deviation, interval, left_out)


def usable_classes(y: np.ndarray, classes: int, recipe: EpisodesRecipe) -> np.ndarray:
    """Return the classes that have images enough, of class indices (N,); EpisodesError if an episode wants more."""
    usable = np.flatnonzero(np.bincount(y, minlength=classes) >= recipe.shots + recipe.queries)
    if len(usable) < recipe.ways:
        raise EpisodesError(
            f"{len(usable)} of {classes} classes have {recipe.shots} + {recipe.queries} images; expected at least "
            f"{recipe.ways}; use --set shots=N or --set queries=N"
        )
    return usable


def _accuracy(features: np.ndarray, shots: int) -> float:
    """Return the percent of the queries (C, Q, F), behind the shots of features (C, S + Q, F), with the right mean."""
    means, queries = features[:, :shots].mean(1), features[:, shots:]
    # |q - m|^2 without |q|^2, which is the same for all means
    nearest = (np.square(means).sum(1) - 2 * queries @ means.T).argmin(2)  # (C, Q)
    return 100 * float((nearest == np.arange(len(means))[:, None]).mean())
