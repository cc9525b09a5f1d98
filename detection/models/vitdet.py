"""ViTDet's backbone of a plain vision transformer (Li et al. 2022, arXiv:2203.16527), as Detectron2 has it.

What is Detectron2's: the transformer, with attention in windows in all blocks but a few, decomposed relative positions
that begin at zero, absolute positions resampled to the image, and the pyramid that is made of its last map alone. What
differs from the pretrained network is what the paper changes: there is no class token and no norm after the last block.
"""

import warnings
from functools import partial
from typing import Any

from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import SimpleFeaturePyramid
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.vit import ViT
from torch import nn

from twinbench.convert.architectures.plain import PATCH
from twinbench.convert.named import ModelError

NAME = "build_vit_simple_pyramid_backbone"
EPS = 1e-6  # of its LayerNorms
SCALES = (4.0, 2.0, 1.0, 0.5)  # of the last map: strides 4, 8, 16 and 32
LAST = "last_feat"
NEW = ("rel_pos_h", "rel_pos_w")  # the tensors of the transformer that no pretrained one has


def windowed(depth: int, seeing_all: int) -> list[int]:
    """Return which of `depth` blocks look into windows only: all but the last one of each of `seeing_all` parts."""
    whole = {(part + 1) * depth // seeing_all - 1 for part in range(seeing_all)}
    return [number for number in range(depth) if number not in whole]


def build_vit(section: Any) -> ViT:
    """Return the transformer that a section MODEL.VIT describes, freshly initialised."""
    with warnings.catch_warnings():  # Detectron2 imports timm's layers from where they were once
        warnings.filterwarnings("ignore", "Importing from timm.models.layers", FutureWarning)
        return ViT(
            img_size=section.IMG_SIZE,
            patch_size=PATCH,
            embed_dim=section.EMBED_DIM,
            depth=section.DEPTH,
            num_heads=section.NUM_HEADS,
            mlp_ratio=section.MLP_DIM / section.EMBED_DIM,
            drop_path_rate=section.DROP_PATH,
            norm_layer=partial(nn.LayerNorm, eps=EPS),  # type: ignore[arg-type]  # declared by its default
            use_rel_pos=section.USE_REL_POS,
            window_size=section.WINDOW_SIZE,
            window_block_indexes=windowed(section.DEPTH, section.GLOBAL_BLOCKS),
            pretrain_img_size=section.PRETRAIN_IMG_SIZE,
            pretrain_use_cls_token=section.PRETRAIN_USE_CLS_TOKEN,
            out_feature=LAST,
        )


def build_vit_simple_pyramid_backbone(cfg: Any, _: Any = None) -> SimpleFeaturePyramid:
    """Return the transformer of MODEL.VIT under ViTDet's pyramid, p2 to p6. Raises ModelError for parts frozen."""
    net = build_vit(cfg.MODEL.VIT)
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    if freeze_at not in (0, 5):
        raise ModelError(
            f"freeze_at={freeze_at} on a plain vision transformer, which has no stages; expected 0, all is trained, or "
            "5, all of it is frozen"
        )
    net.requires_grad_(freeze_at == 0)
    return SimpleFeaturePyramid(
        net=net,
        in_feature=LAST,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        scale_factors=SCALES,
        top_block=LastLevelMaxPool(),
        norm=cfg.MODEL.FPN.NORM,
        square_pad=cfg.MODEL.VIT.IMG_SIZE,
    )


if NAME not in BACKBONE_REGISTRY:
    BACKBONE_REGISTRY.register(build_vit_simple_pyramid_backbone)
