"""What moves the weights of a pretraining, and how fast."""

import torch
from torch import nn

from twinbench.pretrain.images import Plan
from twinbench.pretrain.schedule import learning_rate
from twinbench.protocols.pretraining import PretrainRecipe
from twinbench.runtime.lars import LARS


def set_rates(optimizer: torch.optim.Optimizer, plan: Plan, step: int) -> None:
    """Give both groups their learning rates at `step`."""
    recipe = plan.recipe
    for group, base in zip(optimizer.param_groups, (recipe.lr_weights, recipe.lr_biases), strict=True):
        group["lr"] = learning_rate(
            step,
            steps_per_epoch=plan.steps_per_epoch,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            base=base,
            warmup_epochs=recipe.warmup_epochs,
        )


def build_optimizer(model: nn.Module, recipe: PretrainRecipe) -> LARS:
    """Return LARS over two groups with rates of their own: weights, then biases and batch norm."""
    weights = [p for p in model.parameters() if p.ndim != 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": weights}, {"params": others}]
    return LARS(groups, 0.0, recipe.weight_decay, recipe.momentum, recipe.trust)
