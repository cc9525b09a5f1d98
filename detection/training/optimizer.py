"""The optimiser of a recipe: Detectron2's SGD, or AdamW with rates that fall from block to block of a transformer."""

from functools import partial
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate
from detectron2.solver import build_optimizer as build_sgd
from detectron2.solver.build import get_default_optimizer_params
from torch import nn, optim

BETAS = (0.9, 0.999)  # Detectron2 configs/common/optim.py


def build_optimizer(config: CfgNode, model: nn.Module, name: str = "sgd", layer_decay: float = 1.0) -> optim.Optimizer:
    """Return the optimiser called `name`, sgd or adamw, with the rates and decays of `config`.

    With adamw norms and position embeddings are not decayed, as in ViTDet's configuration; `layer_decay` below 1
    multiplies the rate once for each block between a parameter and the network's end.
    """
    if name == "sgd":
        return build_sgd(config, model)
    solver = config.SOLVER
    rule: Any = None
    if layer_decay != 1:
        blocks = len(model.backbone.net.blocks)  # type: ignore[union-attr,arg-type]
        rule = partial(get_vit_lr_decay_rate, lr_decay_rate=layer_decay, num_layers=blocks)
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=0.0,
        lr_factor_func=rule,
        overrides={"pos_embed": {"weight_decay": 0.0}},
    )
    return optim.AdamW(groups, lr=solver.BASE_LR, betas=BETAS, weight_decay=solver.WEIGHT_DECAY)
