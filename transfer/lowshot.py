"""Low-shot linear SVMs on several independent samples of the training images.

By VISSL's rules each class has a sample of its own, k positives and k (K - 1) negatives; by PCL's, k images of each
class are put together, and every class trains on all of them.

For every k the published figure is the mean over the samples at the one cost that is best *on the test set*
(VISSL svm_low_shot_trainer.py); that choice is reproduced because published numbers made it. Beside it stands the same
mean at the cost that is best on the training images that the sample has not drawn for the class.
Letters: N rows, K classes, S samples, C costs.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.svm import LowShotSvmRecipe
from twinbench.runtime.progress import bar
from twinbench.runtime.seeds import generator
from twinbench.solver.linear_problems import Problems, Solution, Solve, Solver
from twinbench.transfer.metrics import counted, precision_areas
from twinbench.transfer.svm import normalized, require_costs, require_tested


class LowShotError(UserError):
    """Targets from which no low-shot samples can be drawn, or sample files that do not fit them."""


@dataclass(frozen=True)
class LowShotResult:
    """One k: everything in percent, over the samples."""

    mean: float  # mAP at the cost chosen on the test set, as published
    least: float
    most: float
    deviation: float  # population standard deviation
    cost: float  # chosen on the test set
    heldout_mean: float  # mAP at the cost chosen on undrawn training images
    heldout_cost: float
    converged: bool  # every fit at every cost
    iterations: int  # the most that a fit at `cost` took
    gradient: float  # the largest |gradient| at the end over |gradient| at w = 0 among those fits


def draw_samples(
    targets: np.ndarray, shots: Sequence[int], samples: int, seed: int, names: Sequence[str] = ()
) -> dict[tuple[int, int], np.ndarray]:
    """Draw, for each (sample, k), targets (N, K) int8: for each class k rows with 1, (K - 1) k with 0, the rest -1.

    `names` are the classes', for a message.
    """
    rows, classes = targets.shape
    drawn: dict[tuple[int, int], np.ndarray] = {}
    for sample in range(1, samples + 1):
        for k in shots:
            draw, chosen = generator(seed, sample, k), np.full((rows, classes), -1, dtype=np.int8)
            for c in range(classes):
                for label, count in ((1, k), (0, (classes - 1) * k)):
                    chosen[draw.choice(_rows(targets, c, label, count, k, names), count, replace=False), c] = label
            drawn[sample, k] = chosen
    return drawn


def draw_pooled(
    targets: np.ndarray, shots: Sequence[int], samples: int, seed: int, names: Sequence[str] = ()
) -> dict[tuple[int, int], np.ndarray]:
    """Draw, for each (sample, k), how often each row is in it, (N,) int8: k rows of each class of targets (N, K).

    An image of two classes may be drawn for both. With the targets' rows by image id these are the draws of PCL's
    script at its --seed: Python's generator, k by k, sample by sample, class by class (eval_svm_voc.py, voc.py).
    """
    draw, drawn = random.Random(seed), dict[tuple[int, int], np.ndarray]()
    for k in shots:
        for sample in range(1, samples + 1):
            times = np.zeros(len(targets), dtype=np.int8)
            for c in range(targets.shape[1]):
                rows = _rows(targets, c, 1, k, k, names).tolist()
                draw.shuffle(rows)
                times[rows[:k]] += 1
            drawn[sample, k] = times
    return drawn


def _rows(targets: np.ndarray, c: int, label: int, count: int, k: int, names: Sequence[str]) -> np.ndarray:
    """Return the rows with `label` for class c; LowShotError if they are fewer than `count`."""
    there = np.flatnonzero(targets[:, c] == label)
    if len(there) < count:
        what = "with" if label else "without"
        raise LowShotError(
            f"class {names[c] if names else c}: {len(there)} training images {what} it, but k = {k} needs {count}; "
            "expected the complete data set; see what is missing with `twinbench data check`"
        )
    return there


def evaluate_low_shot(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    samples: Mapping[tuple[int, int], np.ndarray],
    *,
    recipe: LowShotSvmRecipe,
    solver: Solver,
) -> dict[int, LowShotResult]:
    """Train on every sample at every cost of the recipe and return the figures by k.

    x: (N, F) raw features; y: (N, K) in {1, 0, -1}; `samples` maps (sample, k) to targets (N, K), -1 = not drawn, or
    to how often each row is drawn, (N,). The recipe's `ignored_in_training` is for the latter: the former have no
    ignored rows. SvmError if a class has no positives or no negatives among the test targets.
    """
    require_costs(recipe.costs)
    require_tested(test_y, recipe)
    for key, chosen in samples.items():
        if chosen.shape not in (train_y.shape, train_y.shape[:1]):
            raise LowShotError(f"sample {key}: targets {chosen.shape}, but the training set has {train_y.shape}")
    solve = solver(*(normalized(x, recipe.normalize_epsilon) for x in (train_x, test_x)))
    results: dict[int, LowShotResult] = {}
    for shots in bar(sorted({k for _, k in samples}), what="low-shot SVM", unit="k"):
        drawn = [_drawn(samples[key], train_y, recipe) for key in sorted(samples) if key[1] == shots]
        results[shots] = _one_k(solve, drawn, train_y, test_y, recipe)
    return results


def _one_k(
    solve: Solve,
    drawn: Sequence[tuple[Tensor, Tensor]],
    train_y: np.ndarray,
    test_y: np.ndarray,
    recipe: LowShotSvmRecipe,
) -> LowShotResult:
    """Train on all samples of one k, side by side, and score them on the test rows and on those never drawn."""
    positive, times = (torch.cat(parts, dim=1) for parts in zip(*drawn, strict=True))  # (N, S K)
    weights = torch.where(positive, recipe.positive_weight, 1.0) * times
    problems = Problems(torch.where(positive, 1.0, -1.0), weights)
    shape = len(drawn), train_y.shape[1]  # (S, K)
    _require_both_sides(positive, weights > 0, shape)
    train_target, test_target = (torch.as_tensor(y).repeat(1, len(drawn)) for y in (train_y, test_y))
    tested = counted(test_target, recipe.ignored_at_test)
    free = (times == 0) & counted(train_target, recipe.ignored_at_test)  # each class was not trained on them
    rising = sorted(recipe.costs)
    test: list[Tensor] = []
    held_out: list[Tensor] = []
    fits: list[Solution] = []
    for found in solve(problems, rising):
        ap = precision_areas(found.test_scores, test_target == 1, tested, recipe.test_ap)
        test.append(100 * ap.unflatten(0, shape).mean(1))
        ap = precision_areas(found.train_scores, train_target == 1, free, recipe.test_ap)
        held_out.append(100 * ap.unflatten(0, shape).nanmean(1))
        fits.append(found)

    def ended(cost: int) -> tuple[int, float]:
        iterations = fits[cost].iterations
        return int(iterations.max()), fits[cost].gradient(torch.arange(len(iterations))).max().item()

    converged = all(bool(found.converged.all()) for found in fits)
    return over_samples(rising, torch.stack(test), torch.stack(held_out), converged, ended)


def _require_both_sides(positive: Tensor, used: Tensor, shape: tuple[int, int]) -> None:
    """Raise LowShotError if a sample has no positive or no negative of a class; both (N, S K)."""
    for what, rows in (("positives", positive & used), ("negatives", ~positive & used)):
        if not rows.any(0).all():
            sample, k = divmod(int(rows.any(0).int().argmin()), shape[1])
            raise LowShotError(
                f"sample {sample + 1}, class {k}: 0 {what} drawn; expected at least one of each: two classes or more"
            )


def _drawn(chosen: np.ndarray, targets: np.ndarray, recipe: LowShotSvmRecipe) -> tuple[Tensor, Tensor]:
    """Return which rows are positives of each class, and how often each row trains it, both (N, K)."""
    if chosen.ndim == 2:
        return torch.as_tensor(chosen == 1), torch.as_tensor(chosen != -1)
    target = torch.as_tensor(targets)
    return target == 1, torch.as_tensor(chosen)[:, None] * counted(target, recipe.ignored_in_training)


def over_samples(
    costs: Sequence[float], test: Tensor, held_out: Tensor, converged: bool, ended: Callable[[int], tuple[int, float]]
) -> LowShotResult:
    """Aggregate the mAPs `test` and `held_out` (C, S) of one k over its samples.

    `ended` is asked, for the place of the chosen cost, how its fits ended: their iterations and gradient.
    """
    best = int(test.mean(1).argmax())
    honest = int(held_out.mean(1).nan_to_num().argmax())
    iterations, gradient = ended(best)
    return LowShotResult(
        mean=test[best].mean().item(),
        least=test[best].min().item(),
        most=test[best].max().item(),
        deviation=test[best].std(correction=0).item(),
        cost=costs[best],
        heldout_mean=test[honest].mean().item(),
        heldout_cost=costs[honest],
        converged=converged,
        iterations=iterations,
        gradient=gradient,
    )
