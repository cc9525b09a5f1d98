"""Weighted k-nearest neighbours on frozen features, as DINO's eval_knn.py defines them.

Features are L2-normalised; the k most similar training images vote for their class with weight exp(similarity / T).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from twinbench.protocols.house import UserError
from twinbench.runtime.progress import bar
from twinbench.transfer.metrics import correct_at

CHUNK = 256  # test images a block


class KnnError(UserError):
    """More neighbours asked for than there are training images."""


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
    """Return `top1-k10`, `top5-k10`, ... in percent for features (N, F) with class indices (N,)."""
    if max(neighbors) > len(train_x):
        raise KnnError(f"{max(neighbors)} neighbours among {len(train_x)} training images; use --set neighbors=K")
    train = functional.normalize(torch.as_tensor(train_x, device=device, dtype=torch.float32), dim=1)
    test = functional.normalize(torch.as_tensor(test_x, device=device, dtype=torch.float32), dim=1)
    labels, targets = (torch.as_tensor(y, device=device, dtype=torch.int64) for y in (train_y, test_y))
    correct = {f"top{n}-k{k}": 0 for k in neighbors for n in (1, 5)}
    for start in bar(range(0, len(test), CHUNK), what="k-NN", unit="block"):
        rows = slice(start, start + CHUNK)
        similarity, nearest = (test[rows] @ train.T).topk(max(neighbors), dim=1)  # (B, k), best first
        # Against the nearest one's, so that no temperature overflows; the factor is one for all votes of an image.
        weight, voted = ((similarity - similarity[:, :1]) / temperature).exp(), labels[nearest]
        for k in neighbors:
            votes = torch.zeros(len(weight), classes, device=device)
            votes.scatter_add_(1, voted[:, :k], weight[:, :k])  # (B, K)
            for n, count in zip((1, 5), correct_at(votes, targets[rows], (1, 5)), strict=True):
                correct[f"top{n}-k{k}"] += count
    return {name: 100.0 * count / len(test) for name, count in correct.items()}
