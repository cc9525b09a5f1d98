"""A backbone with a linear head, and what an optimizer does to either."""

from typing import Any

import torch
from torch import Tensor, nn

from twinbench.convert.resnet import ResNet50
from twinbench.protocols.kinds.sgd import TrainedRecipe
from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.precision import network_precision
from twinbench.runtime.seeds import draw_seed
from twinbench.transfer.features import pooled

FROZEN_IMAGES = 128  # through a frozen trunk at a time: the batch of a protocol need not fit


class Classifier(nn.Module):
    """A backbone with a linear head; a frozen trunk stays in eval mode, running statistics included."""

    def __init__(self, trunk: ResNet50, classes: int, recipe: TrainedRecipe, seed: int, world: int = 1) -> None:
        """Put a fresh head, drawn from `seed`, on `trunk`; its batch norm sees the images of all `world` processes."""
        super().__init__()
        self.trunk, self.recipe = trunk, recipe
        with torch.no_grad():
            side = recipe.transform.crop
            shape = pooled(trunk.eval(), torch.zeros(1, 3, side, side), recipe.feature).shape  # (1, C, h, w)
        linear = nn.Linear(shape[1:].numel(), classes)
        generator = torch.Generator().manual_seed(draw_seed(seed))
        _draw(linear, recipe.head_init_std, generator)
        norm = nn.BatchNorm2d if world == 1 else GlobalBatchNorm
        norms = [norm(shape[1])] if recipe.head == "batchnorm-linear" else []
        self.head = nn.Sequential(*norms, nn.Flatten(), linear)
        self.shape = shape[1:]
        trunk.requires_grad_(recipe.train_backbone)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, K).

        A frozen trunk sees some at a time, which changes nothing. With no images (N = 0) the head alone computes, as
        its batch norm must meet the other processes'.
        """
        recipe = self.recipe
        if not len(images):
            return self.head(images.new_empty(0, *self.shape, requires_grad=recipe.train_backbone))
        if recipe.train_backbone:
            return self.head(pooled(self.trunk, images, recipe.feature))
        with torch.no_grad(), network_precision(recipe.precision, str(images.device)):
            parts = [pooled(self.trunk, part, recipe.feature).float() for part in images.split(FROZEN_IMAGES)]
        return self.head(torch.cat(parts))

    def train(self, mode: bool = True) -> "Classifier":
        """Set training mode; on a frozen trunk it is the head's alone."""
        super().train(mode)
        self.trunk.train(mode and self.recipe.train_backbone)
        return self

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups; the head's batch norm has no weight decay (VISSL), its bias has (BT code)."""
        recipe = self.recipe
        norm, linear = list(self.head[:-2].parameters()), list(self.head[-1].parameters())
        groups: list[dict[str, Any]] = [{"params": linear, "base": recipe.lr_head, "weight_decay": recipe.weight_decay}]
        if norm:
            groups.append({"params": norm, "base": recipe.lr_head, "weight_decay": 0.0})
        if recipe.train_backbone:
            trunk = list(self.trunk.parameters())
            groups.append({"params": trunk, "base": recipe.lr_backbone, "weight_decay": recipe.weight_decay})
        return groups


def _draw(linear: nn.Linear, std: float, generator: torch.Generator) -> None:
    """Draw a fresh head: from a normal distribution of deviation `std`, bias 0; with `std` 0 as PyTorch does it."""
    if std:
        nn.init.normal_(linear.weight, std=std, generator=generator)
        nn.init.zeros_(linear.bias)
    else:
        bound = linear.in_features**-0.5
        nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
        nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
