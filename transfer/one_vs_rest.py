"""One-vs-rest linear SVMs for thousands of classes: top-1 and top-5 of the class with the highest score.

Classes are solved in blocks, so that the memory beside the features is bounded by BUDGET numbers an array, whatever
the number of classes. Letters: N rows, M test rows, F features, K classes.
"""

import numpy as np
import torch
from torch import Tensor

from slurm.progress import bar
from transfer.linear_problems import Problems, Solver
from transfer.metrics import correct_at
from transfer.svm import SvmError, normalized

BUDGET = 1 << 25  # numbers in an array of rows x classes: 128 MB in float32
ROWS = 1 << 14  # normalised at once, in float64


def evaluate_one_vs_rest(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    classes: int,
    cost: float,
    solver: Solver,
    positive_weight: float = 2.0,
    normalize_epsilon: float = 1e-5,
) -> tuple[dict[str, float], bool]:
    """Return top1 and top5 in percent for features (N, F) and class indices (N,), and whether every fit converged."""
    found = np.bincount(train_y, minlength=classes)
    if found.min() == 0:
        raise SvmError(f"class {int(found.argmin())} has 0 training images; expected at least 1: is the data whole?")
    train, test = (_normalized(x, normalize_epsilon) for x in (train_x, test_x))
    size = max(1, min(classes, BUDGET // len(train)))
    blocks = range(0, classes, size)
    labels, solve = torch.as_tensor(train_y), solver(train, test)
    scores, converged = torch.empty(len(test), classes), True
    for start in bar(blocks, what="SVM", unit="block"):
        positive = labels[:, None] == torch.arange(start, min(start + size, classes))
        problems = Problems(torch.where(positive, 1.0, -1.0), torch.where(positive, positive_weight, 1.0))
        (solution,) = solve(problems, [cost])
        scores[:, start : start + size] = solution.test_scores
        converged &= bool(solution.converged.all())
    top1, top5 = correct_at(scores, torch.as_tensor(test_y), (1, 5))
    return {"top1": 100 * top1 / len(test), "top5": 100 * top5 / len(test)}, converged


def _normalized(x: np.ndarray, epsilon: float) -> Tensor:
    """Return the rows of x (N, F) over their length plus epsilon, float32, without a float64 copy of all of them."""
    rows = torch.empty(x.shape)
    for start in range(0, len(x), ROWS):
        rows[start : start + ROWS] = normalized(x[start : start + ROWS], epsilon)
    return rows
