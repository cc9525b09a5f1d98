"""What classifiers are trained for, and what they are measured by: one class an image, or several.

Letters: N images of all processes, B of a batch, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from twinbench.protocols.kinds.logistic import Ignored
from twinbench.runtime.distributed import summed
from twinbench.runtime.process import Process
from twinbench.transfer.metrics import correct_at, counted, eleven_points, per_class_accuracy

Scored = Iterable[tuple[Tensor, Tensor]]  # logits (B, K), or (B, heads, K), and the places (B,) of their images among N


class Objective(Protocol):
    """A loss, and the metrics of a trained classifier."""

    @property
    def headlines(self) -> tuple[str, ...]:
        """The metrics that are drawn by epochs; the best epoch is by the last of them."""
        ...

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss summed over the images of a batch, of targets (B,) or (B, K)."""
        ...

    def measured(self, scored: Scored, targets: np.ndarray, process: Process) -> dict[str, float]:
        """Return metrics in percent on images with targets (N,) or (N, K), of which each process has `scored` some."""
        ...


class Accuracies:
    """Top-1 and top-5 of each of several heads, side by side."""

    def __init__(self, names: tuple[str, ...], smoothing: float = 0.0) -> None:
        """Take names of metrics: those of the top-5s of all heads, then of the top-1s in the same order.

        `smoothing` is what all classes share of the target of a class.
        """
        self.half = len(names) // 2
        self.names, self.smoothing = names, smoothing

    @property
    def headlines(self) -> tuple[str, ...]:
        """The top-1s."""
        return self.names[self.half :]

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of logits (B, K) or (B, heads, K), summed over images and heads.

        Targets are classes (B,), or what each class has of an image (B, K).
        """
        flat = logits.flatten(0, -2)
        heads = len(flat) // max(1, len(targets))
        repeated = targets.repeat_interleave(heads, 0)
        smoothing = 0.0 if repeated.is_floating_point() else self.smoothing  # what is mixed is smoothed already
        return functional.cross_entropy(flat, repeated, reduction="sum", label_smoothing=smoothing)

    def measured(self, scored: Scored, targets: np.ndarray, process: Process) -> dict[str, float]:
        """Return the accuracies, top-1s first."""
        truth = torch.as_tensor(targets)
        counts = torch.zeros(len(self.names) + 1, dtype=torch.float64)  # correct by metric, seen
        for logits, places in scored:
            of_heads = (logits if logits.ndim == 3 else logits[:, None]).cpu().unbind(1)  # each (B, K)
            for index, scores in enumerate(of_heads):
                top1, top5 = correct_at(scores, truth[places])
                counts[self.half + index] += top1
                counts[index] += top5
            counts[-1] += len(logits)
        *correct, seen = summed(counts, process).tolist()
        assert seen == len(targets), f"{seen} of {len(targets)} test images counted"
        percent = {name: 100 * count / seen for name, count in zip(self.names, correct, strict=True)}
        return {name: percent[name] for name in (*self.headlines, *self.names[: self.half])}


@dataclass(frozen=True)
class OneClass:
    """One class an image, judged by images and by classes."""

    classes: int

    @property
    def headlines(self) -> tuple[str, ...]:
        """Both."""
        return ("per-class", "top1")

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy of logits (B, K), summed over images."""
        return functional.cross_entropy(logits, targets, reduction="sum")

    def measured(self, scored: Scored, targets: np.ndarray, process: Process) -> dict[str, float]:
        """Return the accuracy over images and its mean over classes; NaN where a score is none."""
        scores = _gathered(scored, (len(targets), self.classes), process)
        if not scores.isfinite().all():
            return dict.fromkeys(self.headlines, float("nan"))
        predicted = scores.argmax(1).numpy()
        top1 = 100 * float((predicted == targets).mean())
        return {"top1": top1, "per-class": 100 * per_class_accuracy(predicted, targets, self.classes)}


@dataclass(frozen=True)
class SeveralClasses:
    """Several classes an image: a binary loss for each, judged by AP at 11 points."""

    classes: int
    joined_by: Literal["mean", "sum"]  # of an image's losses over classes
    ignored: Ignored  # what a target of -1 is

    @property
    def headlines(self) -> tuple[str, ...]:
        """One."""
        return ("mAP-11",)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the binary cross-entropies of logits (B, K), joined over classes and summed over images."""
        targets = targets.reshape(logits.shape)  # a process without images has targets (0,)
        losses = functional.binary_cross_entropy_with_logits(logits, (targets == 1).float(), reduction="none")
        total = (losses * counted(targets, self.ignored)).sum()
        return total / self.classes if self.joined_by == "mean" else total

    def measured(self, scored: Scored, targets: np.ndarray, process: Process) -> dict[str, float]:
        """Return the mean AP of classes that have a positive and a negative; NaN where a score is none."""
        scores = _gathered(scored, (len(targets), self.classes), process)
        if not scores.isfinite().all():
            return {"mAP-11": float("nan")}
        truth = torch.as_tensor(targets)
        areas = eleven_points(scores, truth == 1, counted(truth, self.ignored))
        return {"mAP-11": 100 * float(areas.nanmean())}


def _gathered(scored: Scored, shape: tuple[int, int], process: Process) -> Tensor:
    """Return the scores (N, K) of all processes, each of which has its own images' rows."""
    scores, seen = torch.zeros(shape), torch.zeros(1)
    for logits, places in scored:
        scores[places] = logits.float().cpu()
        seen += len(logits)
    assert summed(seen, process).item() == shape[0], "each image is scored once"
    return summed(scores, process)
