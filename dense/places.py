"""What a frozen backbone gives for the places of an image: patches of a transformer, maps of stages."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import Bottleneck

from twinbench.convert.architectures.trunk import TOKENS, Trunk
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.linear_segmenter import Padding


class DenseError(UserError):
    """A backbone, data or settings that a dense protocol cannot work with."""


class Places(nn.Module):
    """A frozen trunk that maps images (N, 3, H, W) to one map (N, C, h, w) of its last blocks or stages."""

    def __init__(self, trunk: Trunk, blocks: int = 1, dilations: Sequence[int] = (), padding: Padding = "end") -> None:
        """Take the maps of the last `blocks`, side by side at the size of the first of them.

        With `dilations` of a ResNet's stages. DenseError for another network, and where there are fewer blocks.
        """
        super().__init__()
        self.trunk, self.blocks = trunk.eval().requires_grad_(False), blocks
        if dilations:
            dilate(trunk, dilations)
        self.grain, self.padding = trunk.grain, padding

    def forward(self, images: Tensor) -> Tensor:
        """Return the map; images whose sides are no multiples of a patch's are padded with the mean colour first.

        The map covers the padding, too; what it is taken to cover, `covered` tells.
        """
        height, width = self._padded(images.shape[2], images.shape[3])
        down, right = height - images.shape[2], width - images.shape[3]
        above, left = (down // 2, right // 2) if self.padding == "around" else (0, 0)
        images = functional.pad(images, (left, right - left, above, down - above))
        with torch.no_grad():
            if TOKENS in self.trunk.offers:
                maps = [tokens.patches for tokens in self.trunk.tokens(images, self.blocks)]
            else:
                maps = list(self.trunk.maps(images, self.blocks))
        if len(maps) < self.blocks:
            raise DenseError(f"{self.trunk.name}: has {len(maps)} stages; expected at least blocks={self.blocks}")
        size = maps[0].shape[2:]
        return torch.cat([_resized(each, size) for each in maps], 1).float()

    def covered(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that the map of an image of this size is taken to cover."""
        return (height, width) if self.padding == "around" else self._padded(height, width)

    def _padded(self, height: int, width: int) -> tuple[int, int]:
        """Return the least whole patches that an image of this size fits into."""
        return -(-height // self.grain) * self.grain, -(-width // self.grain) * self.grain

    def train(self, mode: bool = True) -> "Places":
        """Stay in eval mode."""
        return super().train(False)


def _resized(values: Tensor, size: torch.Size) -> Tensor:
    """Return a map at another size."""
    if values.shape[2:] == size:
        return values
    return functional.interpolate(values, size, mode="bilinear", align_corners=False)


def dilate(trunk: Trunk, dilations: Sequence[int]) -> None:
    """Give the stages of a ResNet of bottlenecks stride 1 and holes in place of it, where a dilation is above 1.

    The first block of such a stage has half of the dilation: its input has the grain of the stage before
    (MMSegmentation's contract_dilation).
    """
    stages = [list(stage.children()) for stage in trunk.stages()]
    if len(stages) != len(dilations) or not all(isinstance(block, Bottleneck) for stage in stages for block in stage):
        raise DenseError(f"{trunk.name}: dilations are of a ResNet of bottlenecks; expected one, or --set dilations=")
    for stage, dilation in zip(stages, dilations, strict=True):
        if dilation > 1:
            for place, block in enumerate(stage):
                assert isinstance(block, Bottleneck)
                _dilate_block(block, dilation // 2 if place == 0 else dilation)


def _dilate_block(block: Bottleneck, dilation: int) -> None:
    """Give the block's 3 x 3 convolution this dilation, and all of its convolutions stride 1."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    block.conv2.dilation = block.conv2.padding = (dilation, dilation)
