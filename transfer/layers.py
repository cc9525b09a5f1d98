"""Classifiers on several layers of a frozen backbone, side by side: what they are fed, and the module that holds them.

All of them share one pass through the backbone. What they are fed lies one behind the other in one row an image, so
that whatever carries a batch of features carries these.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Size, Tensor, nn
from torch.nn import functional

from twinbench.convert.architectures.trunk import Trunk
from twinbench.protocols.kinds.probes import STAGES
from twinbench.protocols.kinds.sgd import LayerHead
from twinbench.transfer.features import FeatureError


def layer_maps(trunk: Trunk, images: Tensor, heads: Sequence[LayerHead]) -> list[Tensor]:
    """Map images (N, 3, H, W) to the pooled map (N, C, h, w) of each head's layer."""
    maps = _stage_maps(trunk, images, with_stem=any(head.stage == 1 for head in heads))
    return [_pooled(maps[head.stage], head) for head in heads]


def layer_rows(trunk: Trunk, images: Tensor, heads: Sequence[LayerHead]) -> Tensor:
    """Map images (N, 3, H, W) to all pooled maps in one row an image, (N, F)."""
    return torch.cat([pooled.flatten(1) for pooled in layer_maps(trunk, images, heads)], 1)


def _stage_maps(trunk: Trunk, images: Tensor, *, with_stem: bool) -> dict[int, Tensor]:
    """Return the maps of the stages 2 to 5, and if asked for the stem's as 1; FeatureError where there is none."""
    if not with_stem:
        return dict(enumerate(trunk.maps(images), start=2))
    stem = trunk.stem()
    if stem is None:
        raise FeatureError(
            f"layer conv1 of {trunk.name}: it has no map of a stem, only those of res2 to res5; expected a ResNet; "
            "choose others with --set layers=res2,res3,res4,res5"
        )
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
        kept.append(found)

    hook = stem.register_forward_hook(keep)
    try:
        maps = trunk.maps(images)
    finally:
        hook.remove()
    return dict(enumerate([kept[0], *maps], start=1))


def _pooled(layer: Tensor, head: LayerHead) -> Tensor:
    """Average a map (N, C, h, w) as the head says; places beyond the border count as zeros, as PyTorch has it."""
    if head.pool is None:
        return functional.adaptive_avg_pool2d(layer, 1)
    kernel, stride, padding = head.pool
    height, width = layer.shape[2:]
    if kernel > min(height, width) + 2 * padding:
        raise FeatureError(
            f"layer {STAGES[head.stage - 1]} has a {height} x {width} map: expected at least its pooling's {kernel} x "
            f"{kernel}; use a larger transform.crop, or smaller --set kernels=..."
        )
    return functional.avg_pool2d(layer, kernel, stride, padding)


class LayerHeads(nn.Module):
    """A classifier for each layer, each fed its own part of a row."""

    def __init__(self, shapes: Sequence[Size], make: Callable[[int, Size], nn.Sequential]) -> None:
        """Make head number i for maps (C, h, w) of `shapes[i]` by `make(i, shape)`."""
        super().__init__()
        self.shapes = list(shapes)
        made: list[nn.Sequential] = []
        for index, shape in enumerate(shapes):
            made.append(make(index, shape))
        self.heads = made  # the same modules; of a ModuleList no type says that each is a Sequential
        self.parts = nn.ModuleList(made)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (N, F) to logits (N, heads, K)."""
        parts = rows.split([shape.numel() for shape in self.shapes], 1)
        found: list[Tensor] = []
        for head, part, shape in zip(self.heads, parts, self.shapes, strict=True):
            found.append(head(part.unflatten(1, shape)))
        return torch.stack(found, 1)
