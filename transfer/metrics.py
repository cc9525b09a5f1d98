"""Accuracy and average precision, for one column of scores or for hundreds side by side.

Two definitions of average precision meet in one protocol (VISSL): costs are chosen by the plain sum of precision times
recall step (scikit-learn's), tests are reported by the area under the monotone envelope of precision (VOC 2010 and
later, all points). Both are computed at distinct scores only, so the order among equal scores never matters.
Letters: N images, P columns (problems or classes).
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from twinbench.protocols.house import UserError

Curve = Literal["envelope", "step"]
Ignored = Literal["negative", "dropped"]  # what a target -1 is: a negative, or nothing


class MetricError(UserError, ValueError):
    """A metric without meaning, such as an average precision without positives."""


def counted(targets: Tensor, ignored: Ignored) -> Tensor:
    """Say which targets in {1, 0, -1} count, as booleans of the same shape."""
    return targets != -1 if ignored == "dropped" else torch.ones_like(targets, dtype=torch.bool)


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the area, in [0, 1], under the precision envelope of `scores` (N,) for `targets` (N,) in {1, 0, -1}.

    Rows with target -1 are dropped. MetricError if the shapes differ, a target is none of the three, a score that
    counts is NaN, or the rows that count are all positives (whatever the scores, that would be 1) or have none.
    """
    scores, targets = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    if scores.shape != targets.shape or scores.ndim != 1:
        raise MetricError(f"scores {scores.shape} and targets {targets.shape}: expected two equal (N,)")
    if not np.isin(targets, (1, 0, -1)).all():
        raise MetricError("targets other than 1, 0 and -1 (ignored); re-code them, VOC's -1 is 0 here")
    if np.isnan(scores[targets != -1]).any():
        raise MetricError("scores with NaN have no order; expected numbers: are the features damaged?")
    for label, what in ((1, "positives"), (0, "negatives")):
        if not (targets == label).any():
            raise MetricError(f"average precision of 0 {what} is undefined; expected at least one")
    column, target = torch.as_tensor(scores)[:, None], torch.as_tensor(targets)[:, None]
    return precision_areas(column, target == 1, target != -1, "envelope").item()


def precision_areas(scores: Tensor, positive: Tensor, counted: Tensor, curve: Curve) -> Tensor:
    """Return the average precision (P,), float64 in [0, 1], of each column of `scores` (N, P).

    `positive` and `counted` are boolean (N, P); rows not counted are left out of their column. A column without
    counted positives, or without counted negatives, is NaN: there is nothing to tell apart.
    """
    scores = torch.where(counted, -scores, torch.inf).T.contiguous()  # (P, N), rising is better first
    order = _order(scores)
    scores, counted = scores.gather(1, order), counted.T.gather(1, order)
    hit = (positive.T.gather(1, order) & counted).double()
    precision = hit.cumsum(1) / counted.cumsum(1).clamp(min=1)  # (P, N), at every rank
    # A rank counts only where the next score is lower: there the threshold can really stand.
    last = torch.ones_like(counted)
    last[:, :-1] = scores[:, :-1] != scores[:, 1:]
    if curve == "envelope":
        height = torch.where(last, precision, 0.0).flip(1).cummax(1).values.flip(1)
    else:
        count = scores.shape[1]
        ranks = torch.arange(count, device=scores.device).expand_as(order)
        following = torch.where(last, ranks, count - 1).flip(1).cummin(1).values.flip(1)
        height = precision.gather(1, following)
    area = (hit * height).sum(1) / hit.sum(1)  # each positive raises recall by 1 / positives
    return area.where(hit.sum(1) < counted.sum(1), torch.nan)


def eleven_points(scores: Tensor, positive: Tensor, counted: Tensor, *, from_one: bool = False) -> Tensor:
    """Return the average precision (P,), float64 in [0, 1], of each column of `scores` (N, P), VOC2007's way.

    It is the mean over eleven levels of recall, 0 to 1, of the highest precision at that recall or more. The levels are
    numpy.linspace's, in doubles, as in the code that such numbers were published with: a recall of 3 among 10 falls
    short of its 0.30000000000000004. With `from_one` precision is 1 at a recall of 0, whatever the best score is, as
    scikit-learn's curve has it: up to 9 points more. `positive`, `counted` and NaN are as in `precision_areas`.
    """
    scores = torch.where(counted, -scores, torch.inf).T.contiguous()  # (P, N), rising is better first
    order = _order(scores)
    scores, counted = scores.gather(1, order), counted.T.gather(1, order)
    hit = (positive.T.gather(1, order) & counted).double()
    precision = hit.cumsum(1) / counted.cumsum(1).clamp(min=1)  # (P, N), at every rank
    recall = hit.cumsum(1) / hit.sum(1, keepdim=True)
    last = counted.clone()
    last[:, :-1] &= scores[:, :-1] != scores[:, 1:]  # a threshold can only stand between two scores
    area = torch.zeros(len(scores), dtype=torch.float64, device=scores.device)
    for level in np.linspace(0, 1, 11).tolist()[from_one:]:
        area += torch.where(last & (recall >= level), precision, 0.0).amax(1) / 11
    area += from_one / 11
    return area.where((hit.sum(1) > 0) & (hit.sum(1) < counted.sum(1)), torch.nan)


def per_class_accuracy(predicted: np.ndarray, targets: np.ndarray, classes: int) -> float:
    """Return the mean over classes, in [0, 1], of the share of their images that are `predicted` right.

    Classes without an image among the `targets` (N,) have no share, and no part in the mean.
    """
    counts = np.bincount(targets, minlength=classes)
    right = np.bincount(targets[predicted == targets], minlength=classes)
    return float((right[counts > 0] / counts[counts > 0]).mean())


def _order(scores: Tensor) -> Tensor:
    """Return the indices (P, N) that sort each row of scores (P, N); NumPy's sort is six times torch's on a CPU."""
    if scores.device.type != "cpu":
        return scores.argsort(dim=1)
    return torch.from_numpy(np.argsort(scores.numpy(), axis=1))


def correct_at(scores: Tensor, targets: Tensor, ks: tuple[int, ...] = (1, 5)) -> list[int]:
    """Count the rows of `scores` (N, K) whose target (N,) is among their k largest, for each k (at most K).

    A class with a score of -inf is never among them.
    """
    best = scores.topk(min(max(ks), scores.shape[1]), dim=1)
    answers = best.indices.masked_fill(best.values == -torch.inf, -1)
    return correct_among(answers, targets, ks)


def correct_among(best: Tensor, targets: Tensor, ks: tuple[int, ...]) -> list[int]:
    """Count the rows whose target (N,) is among the first k of their classes `best` (N, k), for each k."""
    hits = best == targets[:, None]
    return [int(hits[:, :k].sum()) for k in ks]
