"""Small networks of the real kind: what a test claims of a transformer, it need not claim of twelve blocks."""

from typing import Any

from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.backbone import Backbone, fresh_backbone
from twinbench.convert.convention import IMAGENET

# Of Detectron2's pyramids and their heads, which a backbone's width leaves as wide as they are.
NARROW: dict[str, Any] = {
    "MODEL.FPN.OUT_CHANNELS": 64,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 64,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 128,
}


def small_vit(**sizes: int) -> Backbone:
    """Return timm's ViT-Ti/16 as initialised, with other sizes by timm's names."""
    network = LibraryNetwork("timm", "vit_tiny_patch16_224", tuple(sizes.items()))
    return fresh_backbone(network, "small ViT", IMAGENET, "assumed")
