"""Low-shot linear SVMs by VISSL's rules: k positives and k (K - 1) negatives a class, several independent samples.

For every k the published figure is the mean over the samples at the one cost that is best *on the test set*
(VISSL svm_low_shot_trainer.py); that choice is reproduced because published numbers made it. Beside it stands the same
mean at the cost that is best on the training images that the sample has not drawn for the class.
Letters: N rows, K classes, S samples, C costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from protocols.house import UserError
from slurm.progress import bar
from transfer.linear_problems import Problems, Solver
from transfer.metrics import precision_areas
from transfer.svm import normalized


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
    converged: bool


def draw_samples(
    targets: np.ndarray, shots: Sequence[int], samples: int, seed: int
) -> dict[tuple[int, int], np.ndarray]:
    """Draw, for each (sample, k), targets (N, K) int8: for each class k rows with 1, (K - 1) k with 0, the rest -1."""
    rows, classes = targets.shape
    drawn: dict[tuple[int, int], np.ndarray] = {}
    for sample in range(1, samples + 1):
        for k in shots:
            draw, chosen = np.random.default_rng((seed, sample, k)), np.full((rows, classes), -1, dtype=np.int8)
            for c in range(classes):
                for label, count in ((1, k), (0, (classes - 1) * k)):
                    there = np.flatnonzero(targets[:, c] == label)
                    if len(there) < count:
                        what = "with" if label else "without"
                        raise LowShotError(
                            f"class {c}: {len(there)} training images {what} it, but k = {k} needs {count}; "
                            "is the data whole? Use --set shots=1,2,4 for a small set"
                        )
                    chosen[draw.choice(there, count, replace=False), c] = label
            drawn[sample, k] = chosen
    return drawn


def evaluate_low_shot(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    samples: Mapping[tuple[int, int], np.ndarray],
    *,
    costs: Sequence[float],
    solver: Solver,
    positive_weight: float = 2.0,
    normalize_epsilon: float = 1e-5,
) -> dict[int, LowShotResult]:
    """Train on every sample at every cost and return the figures by k.

    x: (N, F) raw features; y: (N, K) in {1, 0, -1}; `samples` maps (sample, k) to targets (N, K), -1 = not drawn.
    """
    for key, chosen in samples.items():
        if chosen.shape != train_y.shape:
            raise LowShotError(f"sample {key}: targets {chosen.shape}, but the training set has {train_y.shape}")
    train, test_rows = (normalized(x, normalize_epsilon) for x in (train_x, test_x))
    solve, classes, rising = solver(train, test_rows), train_y.shape[1], sorted(costs)
    results = {}
    for shots in bar(sorted({k for _, k in samples}), what="low-shot SVM", unit="k"):
        chosen = torch.as_tensor(np.concatenate([samples[key] for key in sorted(samples) if key[1] == shots], axis=1))
        labels = torch.where(chosen == 1, 1.0, -1.0)
        problems = Problems(labels, torch.where(chosen == 1, positive_weight, 1.0) * (chosen != -1))  # (N, S K)
        count = len(problems) // classes
        train_target, test_target = (torch.as_tensor(y).repeat(1, count) for y in (train_y, test_y))
        free = (chosen == -1) & (train_target != -1)  # each class was not trained on them
        test, held_out, converged = [], [], True
        for found in solve(problems, rising):
            ap = precision_areas(found.test_scores, test_target == 1, test_target != -1, "envelope")
            test.append(100 * ap.unflatten(0, (count, classes)).mean(1))
            ap = precision_areas(found.train_scores, train_target == 1, free, "envelope")
            held_out.append(100 * ap.unflatten(0, (count, classes)).nanmean(1))
            converged &= bool(found.converged.all())
        results[shots] = _over_samples(rising, torch.stack(test), torch.stack(held_out), converged)
    return results


def _over_samples(costs: Sequence[float], test: torch.Tensor, held_out: torch.Tensor, converged: bool) -> LowShotResult:
    """Aggregate the mAPs `test` and `held_out` (C, S) of one k over its samples."""
    best = int(test.mean(1).argmax())
    honest = int(held_out.mean(1).nan_to_num().argmax())
    return LowShotResult(
        mean=test[best].mean().item(),
        least=test[best].min().item(),
        most=test[best].max().item(),
        deviation=test[best].std(correction=0).item(),
        cost=costs[best],
        heldout_mean=test[honest].mean().item(),
        heldout_cost=costs[honest],
        converged=converged,
    )
