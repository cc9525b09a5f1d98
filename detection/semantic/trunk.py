"""A ResNet whose last stages keep their input's size: stride 1, and convolutions with holes in place of the stride.

Detectron2's own key dilates res5 alone; FCN's output stride of 8 needs res4, too. The convolutions are Detectron2's,
under its names: a file of a backbone loads as everywhere.
"""

from collections.abc import Sequence
from typing import Any

from detectron2.modeling import BACKBONE_REGISTRY, build_resnet_backbone
from detectron2.modeling.backbone.resnet import BottleneckBlock, ResNet
from torch import nn


def dilate(backbone: ResNet, dilations: Sequence[int], *, contract: bool) -> ResNet:
    """Set the `dilations` of res2 to res5 in place, with stride 1 where they are above 1, and return `backbone`.

    `contract` halves the dilation of such a stage's first block, whose input has the grain of the stage before.
    """
    stride = 4  # of the stem's output
    for number, (stage, dilation) in enumerate(zip(backbone.stages, dilations, strict=True)):
        if number and dilation == 1:
            stride *= 2
        if dilation > 1:
            for place, block in enumerate(stage):
                assert isinstance(block, BottleneckBlock)
                first = place == 0 and contract
                _dilate_block(block, dilation // 2 if first else dilation)
        backbone._out_feature_strides[f"res{number + 2}"] = stride  # pyright: ignore[reportPrivateUsage]
    return backbone


def _dilate_block(block: BottleneckBlock, dilation: int) -> None:
    """Give the block's 3 x 3 convolution this dilation, and all of its convolutions stride 1."""
    block.stride = 1
    convs: list[nn.Conv2d | None] = [block.conv1, block.conv2, block.conv3, block.shortcut]
    for conv in convs:
        if conv is not None:
            conv.stride = (1, 1)
    block.conv2.dilation = block.conv2.padding = (dilation, dilation)


@BACKBONE_REGISTRY.register()
def build_dilated_resnet_backbone(config: Any, input_shape: Any) -> ResNet:
    """Return Detectron2's ResNet of `config` with the dilations of MODEL.SEGMENTER."""
    segmenter = config.MODEL.SEGMENTER
    backbone = build_resnet_backbone(config, input_shape)
    return dilate(backbone, segmenter.DILATIONS, contract=segmenter.CONTRACT_DILATION)
