"""Weighted k-nearest neighbours on frozen features, as DINO's eval_knn.py defines them.

Features are L2-normalised; the k most similar training images vote for their class with weight exp(similarity / T).
A class that none of them votes for is never an answer: with k = 1 there is one answer, and top-5 is top-1. DINO counts
the first min(5, k) classes; counting five made of 13.0 % a top-5 of 50.2 % (k = 1, ten classes).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from twinbench.protocols.house import UserError
from twinbench.runtime.progress import bar
from twinbench.transfer.metrics import correct_at

CHUNK = 256  # test images a block
ROWS = 1 << 14  # checked and normalised at once: ImageNet's features are 11 GB


class KnnError(UserError):
    """Features and labels among which there are no k nearest neighbours."""


@torch.inference_mode()
def knn_accuracy(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    neighbors: Sequence[int],
    temperature: float,
    classes: int,
    device: str = "cpu",
) -> dict[str, float]:
    """Return `top1-k10`, `top5-k10`, ... in percent for features (N, F) with class indices (N,).

    KnnError if there are fewer images than neighbours, shapes disagree, a feature is not finite, or a label is no
    class.
    """
    for name, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        _check(name, x, y, classes)
    if not 1 <= min(neighbors) <= max(neighbors) <= len(train_x):
        found = ", ".join(map(str, neighbors))
        raise KnnError(f"{found} neighbours among {len(train_x)} training images; use --set neighbors=K")
    train, test = (_normalized(x, device) for x in (train_x, test_x))
    labels, targets = (torch.as_tensor(y, device=device, dtype=torch.int64) for y in (train_y, test_y))
    correct = {f"top{n}-k{k}": 0 for k in neighbors for n in (1, 5)}
    for start in bar(range(0, len(test), CHUNK), what="k-NN", unit="block"):
        rows = slice(start, start + CHUNK)
        similarity, nearest = (test[rows] @ train.T).topk(max(neighbors), dim=1)  # (B, k), best first
        # Against the nearest one's, so that no temperature overflows; the factor is one for all votes of an image.
        weight, voted = ((similarity - similarity[:, :1]) / temperature).exp(), labels[nearest]
        for k in neighbors:
            # In float64, where sums of float32 votes are exact but for the faintest: a GPU adds in any order, and in
            # float32 two classes with equal votes were first by turns.
            votes = torch.zeros(len(weight), classes, device=device, dtype=torch.float64)
            votes.scatter_add_(1, voted[:, :k], weight[:, :k].double())  # (B, K)
            without = torch.ones_like(votes, dtype=torch.bool).scatter_(1, voted[:, :k], False)  # a vote may round to 0
            votes.masked_fill_(without, -torch.inf)
            for n, count in zip((1, 5), correct_at(votes, targets[rows], (1, 5)), strict=True):
                correct[f"top{n}-k{k}"] += count
    return {name: 100.0 * count / len(test) for name, count in correct.items()}


def _check(name: str, x: np.ndarray, y: np.ndarray, classes: int) -> None:
    """Raise KnnError where features and labels cannot belong together."""
    if np.ndim(x) != 2 or np.shape(y) != np.shape(x)[:1] or not len(x):
        raise KnnError(f"{name}: features {np.shape(x)} and labels {np.shape(y)}; expected (N, F) and (N,)")
    if not all(np.isfinite(x[start : start + ROWS]).all() for start in range(0, len(x), ROWS)):
        raise KnnError(f"{name}: features with NaN or infinity; expected finite numbers: is the checkpoint damaged?")
    if np.min(y) < 0 or np.max(y) >= classes:
        raise KnnError(
            f"{name}: labels from {np.min(y)} to {np.max(y)}; expected class indices from 0 to {classes - 1}"
        )


def _normalized(x: np.ndarray, device: str) -> torch.Tensor:
    """Return the rows of x (N, F) at length 1, float32.

    Some at a time: a second copy of ImageNet's 11 GB would not be on a GPU of 16 GB.
    """
    rows = torch.empty(x.shape, device=device, dtype=torch.float32)
    for start in range(0, len(x), ROWS):
        some = torch.as_tensor(x[start : start + ROWS], device=device, dtype=torch.float32)
        rows[start : start + ROWS] = functional.normalize(some, dim=1)
    return rows
