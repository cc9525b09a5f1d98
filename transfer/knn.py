"""Weighted k-nearest neighbours on frozen features, as DINO's eval_knn.py defines them.

Features are L2-normalised; the k most similar training images vote for their class with weight exp(similarity / T), or
with equal weights. A class that none of them votes for is never an answer: with k = 1 there is one answer, and top-5 is
top-1. DINO counts the first min(5, k) classes; counting five made of 13.0 % a top-5 of 50.2 % (k = 1, ten classes). Of
classes with equal votes the lower index comes first.

The search is what costs: 50,000 ImageNet images against 1.28 M of them. It is made once, for the largest k, and every
smaller k and every temperature is read off its neighbours.
Letters: N training rows, F features, B test rows in a block, K classes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.knn import Votes
from twinbench.runtime.progress import bar

CHUNK = 256  # test images a block
ROWS = 1 << 14  # checked and normalised at once: ImageNet's features are 11 GB

Cell = tuple[int, float, int]  # neighbours, temperature, and n of top-n


class KnnError(UserError):
    """Features and labels among which there are no k nearest neighbours."""


def knn_accuracy(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    neighbors: Sequence[int],
    temperature: float,
    classes: int,
    votes: Votes = "weighted",
    topk: Sequence[int] = (1, 5),
    device: str = "cpu",
) -> dict[str, float]:
    """Return `top1-k10`, `top5-k10`, ... in percent for features (N, F) with class indices (N,).

    KnnError if there are fewer images than neighbours, shapes disagree, a feature is not finite, or a label is no
    class.
    """
    found = knn_grid(
        train_x,
        train_y,
        test_x,
        test_y,
        neighbors=neighbors,
        temperatures=[temperature],
        classes=classes,
        votes=votes,
        topk=topk,
        device=device,
    )
    return {f"top{rank}-k{k}": value for (k, _, rank), value in found.items()}


@torch.inference_mode()
def knn_grid(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    neighbors: Sequence[int],
    temperatures: Sequence[float],
    classes: int,
    votes: Votes = "weighted",
    topk: Sequence[int] = (1, 5),
    device: str = "cpu",
) -> dict[Cell, float]:
    """Return the percent of test images for each temperature and in it each k, from one search; else as above."""
    for name, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        _check(name, x, y, classes)
    if not 1 <= min(neighbors) <= max(neighbors) <= len(train_x):
        found = ", ".join(map(str, neighbors))
        raise KnnError(f"{found} neighbours among {len(train_x)} training images; use --set neighbors=K")
    train, test = (_normalized(x, device) for x in (train_x, test_x))
    labels, targets = (torch.as_tensor(y, device=device, dtype=torch.int64) for y in (train_y, test_y))
    cells = [(k, temperature, rank) for temperature in temperatures for k in neighbors for rank in topk]
    correct = dict.fromkeys(cells, 0)
    for start in bar(range(0, len(test), CHUNK), what="k-NN", unit="block"):
        rows = slice(start, start + CHUNK)
        similarity, nearest = (test[rows] @ train.T).topk(max(neighbors), dim=1)  # (B, k), best first
        voted = labels[nearest]
        for temperature in temperatures:
            weights = _weights(similarity, temperature, votes)
            for k, places in _places(weights, voted, targets[rows], sorted(neighbors), classes):
                for rank in topk:
                    correct[k, temperature, rank] += int((places < rank).sum())
    return {cell: 100.0 * count / len(test) for cell, count in correct.items()}


def _weights(similarity: Tensor, temperature: float, votes: Votes) -> Tensor:
    """Return what each neighbour's vote weighs (B, k), float64."""
    if votes == "equal":
        return torch.ones_like(similarity, dtype=torch.float64)
    # Against the nearest one's, so that no temperature overflows; the factor is one for all votes of an image. In
    # float64, where sums of float32 votes are exact but for the faintest: a GPU adds in any order, and in float32
    # two classes with equal votes were first by turns.
    return ((similarity - similarity[:, :1]) / temperature).exp().double()


def _places(
    weights: Tensor, voted: Tensor, targets: Tensor, rising: Sequence[int], classes: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield each k with how many classes come before the target (B,): K of a target without a vote.

    `weights` and `voted` (B, k) are the votes of the nearest and their classes, best first.
    """
    shape, device = (len(weights), classes), weights.device
    sums = torch.zeros(shape, device=device, dtype=torch.float64)
    seen = torch.zeros(shape, device=device, dtype=torch.bool)  # a vote may round to 0
    numbers = torch.arange(classes, device=device)
    target = targets[:, None]
    done = 0
    for k in rising:
        sums.scatter_add_(1, voted[:, done:k], weights[:, done:k])  # (B, K)
        seen.scatter_(1, voted[:, done:k], True)
        done = k
        votes = sums.masked_fill(~seen, -torch.inf)
        own = votes.gather(1, target)
        ahead = (votes > own) | ((votes == own) & (numbers < target))
        yield k, torch.where(seen.gather(1, target)[:, 0], ahead.sum(1), classes)


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
