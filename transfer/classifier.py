"""A backbone with a linear head, or one on each of several layers, and what an optimizer does to either."""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Size, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from twinbench.convert.architectures.depth import layer_rates
from twinbench.convert.architectures.trunk import Trunk
from twinbench.protocols.kinds.base import Precision
from twinbench.protocols.kinds.finetuning import TrainedRecipe
from twinbench.protocols.kinds.probes import LAYERS
from twinbench.protocols.kinds.sgd import LayerHead
from twinbench.runtime.batchnorm import GlobalBatchNorm, synchronize
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process
from twinbench.runtime.seeds import draw_seed
from twinbench.transfer.batches import NormGroups
from twinbench.transfer.drop_path import DropPaths
from twinbench.transfer.features import pooled
from twinbench.transfer.layers import LayerHeads, layer_maps, layer_rows

NORM_EPSILON = 1e-6  # of a head's layer norm: that of timm's transformers
FROZEN_IMAGES = 128  # through a frozen trunk at a time: the batch of a protocol need not fit


class OnTrunk(nn.Module):
    """A backbone with what stands on it; a frozen trunk stays in eval mode, running statistics included."""

    trunk: Trunk
    head: Any  # a module that maps (N, *shape) to logits; its subclasses know which
    shape: Size
    groups: NormGroups
    part: int  # how many of its images a process takes at once, of a trunk that is trained
    drops: DropPaths  # its blocks that are left out in training
    has_norm: bool = True  # whether a trunk that is trained has batch norms
    trains_trunk: bool = False
    precision: Precision = "fp32"  # of a frozen trunk

    def through_frozen(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to what the head takes, (N, *shape), some at a time, which changes nothing."""
        if not len(images):
            return images.new_empty(0, *self.shape)
        with torch.no_grad(), network_precision(self.precision, str(images.device)):
            return torch.cat([self.frozen(part).float() for part in images.split(FROZEN_IMAGES)])

    def frozen(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to what the head takes, (N, *shape)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, K), or (N, heads, K).

        With no images (N = 0) only those parts compute whose batch norm must meet the other processes'.
        """
        return self.head(self.through_frozen(images))

    def train(self, mode: bool = True) -> Self:
        """Set training mode; on a frozen trunk it is the head's alone."""
        super().train(mode)
        self.trunk.train(mode and self.trains_trunk)
        return self

    def set_norm_momentum(self, momentum: float) -> None:
        """Set the part that a batch has in the running statistics of the trunk's batch norms."""
        for module in self.trunk.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = momentum

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups; `base` is what their rate is multiplied from."""
        raise NotImplementedError

    @property
    def trained(self) -> nn.Module:
        """The part of it that training changes, whose tensors are what a state holds."""
        return self if self.trains_trunk else self.head

    @property
    def surrounding(self) -> Precision:
        """The precision that is set around it: a frozen trunk sets its own, and so does one that is trained in bf16,
        forwards."""
        return self.precision if self.trains_trunk and self.precision != "bf16" else "fp32"


class Classifier(OnTrunk):
    """A backbone with a linear head, frozen or trained."""

    def __init__(
        self, trunk: Trunk, classes: int, recipe: TrainedRecipe, seed: int, process: Process | None = None
    ) -> None:
        """Put a fresh head, drawn from `seed`, on `trunk`.

        The head's batch norm sees the whole batch, a trained trunk's the groups of it that the recipe says, in any
        number of processes.
        """
        super().__init__()
        self.trunk, self.recipe = trunk, recipe
        self.trains_trunk, self.precision = recipe.train_backbone, recipe.precision
        process = process or Process()
        with torch.no_grad():
            side = recipe.transform.crop
            blank = torch.zeros(1, 3, side, side)
            if recipe.layer_heads:
                maps = layer_maps(trunk.eval(), blank, recipe.layer_heads)
            else:
                maps = [pooled(trunk.eval(), blank, recipe.feature)]  # (1, C, h, w)
        shapes = [each.shape[1:] for each in maps]
        if recipe.layer_heads:
            self.head = _side_by_side(recipe, shapes, classes, seed, process)
            self.shape = Size([sum(map(Size.numel, shapes))])
        else:
            has_norm = recipe.head != "linear"
            self.head = _linear_head(recipe, shapes[0], classes, draw_seed(seed), process, has_norm=has_norm)
            self.shape = shapes[0]
        self.fewest = _fewest_places(recipe, shapes)  # of a map of one image that a norm of a head sees
        trunk.requires_grad_(recipe.train_backbone)
        self.has_norm = has_batch_norm(trunk)
        is_grouped = recipe.train_backbone and (self.has_norm or recipe.mixes)
        self.groups = NormGroups.of(recipe, process) if is_grouped else NormGroups()
        self.drops = DropPaths(trunk if recipe.train_backbone else nn.Identity())
        self.part = self.groups.part(recipe)
        if not is_grouped:
            self.part = math.ceil(recipe.batch_size / process.world / recipe.accumulate)
        if recipe.train_backbone:
            trunk.fix_positions()
        if self.groups.shared:
            synchronize(trunk, torch.device(process.device), self.groups.others)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, K), or (N, heads, K) of several layers."""
        return self.head(self._trained(images)) if self.trains_trunk else super().forward(images)

    def frozen(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to what the head takes, (N, *shape)."""
        if self.recipe.layer_heads:
            return layer_rows(self.trunk, images, self.recipe.layer_heads)
        return pooled(self.trunk, images, self.recipe.feature)

    def _trained(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features (N, C, h, w), in training one group after the other.

        The running statistics are the first group's, process 0's: DistributedDataParallel gives them to all, where
        each GPU has a group.
        """
        if not len(images):
            if not self.groups.shared:
                return images.new_empty(0, *self.shape, requires_grad=True)
            side = self.recipe.transform.crop
            images = images.new_empty(0, 3, side, side)
        own = self.groups.own
        if own == 1 or not self.training or not self.has_norm:
            return self._computed(images)
        first = self._computed(images[::own])
        features = first.new_empty(len(images), *self.shape)
        features[::own] = first
        with _statistics_kept(self.trunk):
            for group in range(1, min(own, len(images))):
                features[group::own] = self._computed(images[group::own])
        return features

    def _computed(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features (N, C, h, w), in bf16 if the recipe says so.

        Around all steps there is its other precision, which a backward pass needs too.
        """
        if self.recipe.precision != "bf16":
            return pooled(self.trunk, images, self.recipe.feature)
        with network_precision("bf16", images.device):
            return pooled(self.trunk, images, self.recipe.feature).float()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups; the head's batch norm has no weight decay (VISSL), its bias has (BT code)."""
        recipe = self.recipe
        heads = self.head.heads if isinstance(self.head, LayerHeads) else [self.head]
        norm = [parameter for head in heads for parameter in head[:-2].parameters()]
        linear = [parameter for head in heads for parameter in head[-1].parameters()]
        if recipe.decayed == "weights":
            norm += [parameter for parameter in linear if parameter.ndim == 1]
            linear = [parameter for parameter in linear if parameter.ndim > 1]
        groups: list[dict[str, Any]] = [{"params": linear, "base": recipe.lr_head, "weight_decay": recipe.weight_decay}]
        if norm:
            groups.append({"params": norm, "base": recipe.lr_head, "weight_decay": 0.0})
        return groups + (self._trunk_groups() if recipe.train_backbone else [])

    def _trunk_groups(self) -> list[dict[str, Any]]:
        """Return the groups of the backbone: by the rate of their depth, and by whether they have weight decay.

        Weights are what modules call so and have more than one axis: matrices, no norms, no embeddings.
        """
        recipe = self.recipe
        names = [name for name, _ in self.trunk.named_parameters()]
        rates = layer_rates(names, recipe.layer_decay)
        found: dict[tuple[float, float], list[nn.Parameter]] = {}
        for (name, parameter), rate in zip(self.trunk.named_parameters(), rates, strict=True):
            has_decay = recipe.decayed == "all" or (name.endswith("weight") and parameter.ndim > 1)
            key = recipe.lr_backbone * rate, recipe.weight_decay if has_decay else 0.0
            found.setdefault(key, []).append(parameter)
        return [{"params": params, "base": base, "weight_decay": decay} for (base, decay), params in found.items()]


def has_batch_norm(trunk: nn.Module) -> bool:
    """Say whether a backbone computes with statistics of a batch."""
    return any(isinstance(module, _BatchNorm) for module in trunk.modules())


def norm_momentum(batches: int) -> float:
    """Return a batch's part in the running statistics where an epoch has so many: BYOL's max(1 - 10 / s, 0.9) is the
    part of the old ones."""
    return 1 - max(1 - 10 / batches, 0.9)


def _linear_head(
    recipe: TrainedRecipe, shape: Size, classes: int, seed: int, process: Process, *, has_norm: bool
) -> nn.Sequential:
    """Return a fresh classifier of maps (C, h, w), drawn from `seed`; its norm sees the images of all processes."""
    linear = nn.Linear(shape.numel(), classes)
    draw_linear(linear, recipe.head_init_std, torch.Generator().manual_seed(seed))
    norms: list[nn.Module] = []
    if has_norm and recipe.has_batch_norm:
        norm = nn.BatchNorm2d if process.world == 1 else GlobalBatchNorm
        norms.append(norm(shape[0], affine=recipe.head != "standardized-linear"))
    elif has_norm:
        norms.append(nn.LayerNorm(shape, eps=NORM_EPSILON))
    return nn.Sequential(*norms, nn.Flatten(), linear)


def _side_by_side(
    recipe: TrainedRecipe, shapes: Sequence[Size], classes: int, seed: int, process: Process
) -> LayerHeads:
    """Return a head for each layer; each is drawn by its layer's name, whatever others there are."""

    def make(index: int, shape: Size) -> nn.Sequential:
        head: LayerHead = recipe.layer_heads[index]
        drawn_from = draw_seed(seed, LAYERS.index(head.name))
        return _linear_head(recipe, shape, classes, drawn_from, process, has_norm=head.has_norm)

    return LayerHeads(shapes, make)


def _fewest_places(recipe: TrainedRecipe, shapes: Sequence[Size]) -> int:
    """Return the fewest places of a map (C, h, w) before a batch norm; 2, which are enough, where none stands."""
    normed = [head.has_norm and recipe.has_batch_norm for head in recipe.layer_heads] or [recipe.has_batch_norm]
    places = [shape[1:].numel() for shape, has_norm in zip(shapes, normed, strict=True) if has_norm]
    return min(places, default=2)


@contextmanager
def _statistics_kept(trunk: nn.Module) -> Generator[None]:
    """Have the batch norms of a trunk in training normalise as ever, and leave their running statistics alone."""
    norms = [module for module in trunk.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def draw_linear(linear: nn.Linear, std: float, generator: torch.Generator) -> None:
    """Draw a fresh head: from a normal distribution of deviation `std`, bias 0; with `std` 0 as PyTorch does it."""
    if std:
        nn.init.normal_(linear.weight, std=std, generator=generator)
        nn.init.zeros_(linear.bias)
    else:
        bound = linear.in_features**-0.5
        nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
        nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
