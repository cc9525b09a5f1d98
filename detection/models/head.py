"""MoCo's box head: Detectron2's C4 head with one more norm layer after res5.

MoCo (facebookresearch/moco, detection/train_net.py) trains every layer of the backbone with batch norm; res5 then
feeds the predictor through one last norm of the same kind. The model files of MoCo call the layer `res5.norm`, and so
does this one.
"""

from typing import Any

from detectron2.layers import get_norm
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import Res5ROIHeads
from torch import nn


class Res5ROIHeadsExtraNorm(Res5ROIHeads):
    """`Res5ROIHeads` whose res5 ends in a layer called `norm`, of the kind MODEL.RESNETS.NORM."""

    @classmethod
    def _build_res5_block(cls, cfg: Any) -> tuple[nn.Sequential, int]:
        """Return the res5 blocks with the norm appended, and the number of output channels (2048 at width 1)."""
        blocks, channels = super()._build_res5_block(cfg)
        norm = get_norm(cfg.MODEL.RESNETS.NORM, channels)
        assert norm is not None
        blocks.add_module("norm", norm)
        return blocks, channels


if Res5ROIHeadsExtraNorm.__name__ not in ROI_HEADS_REGISTRY:
    ROI_HEADS_REGISTRY.register(Res5ROIHeadsExtraNorm)
