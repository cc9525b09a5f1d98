"""The learning rate over a run: Detectron2's own schedules, and the polynomial decay of semantic segmentation."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, build_lr_scheduler
from fvcore.common.param_scheduler import ParamScheduler
from torch.optim import Optimizer


class Poly(ParamScheduler):
    """end + (1 - end) * (1 - t) ** power over t from 0 to 1: MMSegmentation's poly policy, as a part of the base rate.

    With `end` = min_lr / lr this is (lr - min_lr) * (1 - t) ** power + min_lr.
    """

    def __init__(self, power: float, end: float) -> None:
        self.power, self.end = power, end

    def __call__(self, where: float) -> float:
        """Return the part of the base rate at `where`, iterations done over all iterations."""
        return self.end + (1 - self.end) * (1 - where) ** self.power


def build_schedule(config: CfgNode, optimizer: Optimizer) -> Any:
    """Return the schedule that SOLVER.LR_SCHEDULER_NAME calls for; its state is the number of steps."""
    solver = config.SOLVER
    if solver.LR_SCHEDULER_NAME == "PolyLR":
        return LRMultiplier(optimizer, Poly(solver.POLY_LR_POWER, solver.POLY_LR_END), solver.MAX_ITER)
    return build_lr_scheduler(config, optimizer)
