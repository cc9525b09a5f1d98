"""What a RetinaNet's losses depend on beside its weights, so that a run that is resumed ends with the same bits.

Detectron2 divides them by a running mean of the number of positive anchors. It is a plain number of each process, which
no checkpoint holds: a run that is resumed began at 100 again. And their focal loss is TorchScript's, which watches the
first calls of a function and then computes it in another, fused way: the first iterations of each process differ in the
last bit from those after them.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.modeling.meta_arch import retinanet
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from fvcore.nn import sigmoid_focal_loss
from torch import Tensor, nn

from twinbench.runtime.process import Process

NAME = "loss_normalizer"
MODULE: Any = retinanet
FOCAL = "sigmoid_focal_loss_jit"


class Normalizer:
    """The running means of all processes, of which this one's is the network's; empty for a network without one."""

    def __init__(self, model: nn.Module, process: Process) -> None:
        self.model = model if isinstance(model, DenseDetector) else None
        self.process = process
        self.values: list[float] = []  # one a process, once there has been an iteration

    def message(self) -> Tensor:
        """Return (processes,) float64 for a sum over them: this one's number in its place, nothing without a number."""
        if self.model is None:
            return torch.zeros(0, dtype=torch.float64)
        own = torch.zeros(self.process.world, dtype=torch.float64)
        own[self.process.rank] = getattr(self.model, NAME)
        return own

    def restore(self, values: list[float]) -> None:
        """Take up a checkpoint's numbers. As many anchors come to all processes as before, however many these are."""
        self.values = values
        if self.model is None or not values:
            return
        own = values[self.process.rank] if len(values) == self.process.world else sum(values) / self.process.world
        setattr(self.model, NAME, own)


@contextmanager
def repeatable_focal_loss(device: str) -> Generator[None]:
    """Have it computed plainly for the length of the block: on processors, and on a GPU that is to repeat every bit."""
    if device != "cpu" and not torch.are_deterministic_algorithms_enabled():
        yield
        return
    before = getattr(MODULE, FOCAL)
    setattr(MODULE, FOCAL, sigmoid_focal_loss)
    try:
        yield
    finally:
        setattr(MODULE, FOCAL, before)
