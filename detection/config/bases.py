"""The base models of the recipes' architectures: what Detectron2's own base files say and no recipe changes.

They repeat configs/Base-RCNN-C4.yaml, Base-RCNN-FPN.yaml and Base-RetinaNet.yaml of Detectron2, so that no file of it
need be found, and what its Cascade, keypoint and ViTDet files change in these.
"""

from typing import Any

from twinbench.protocols.kinds.detector import DetectionRecipe

C4: dict[str, Any] = {  # Base-RCNN-C4.yaml
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res4"],
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeads",
}
FPN: dict[str, Any] = {  # Base-RCNN-FPN.yaml
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
}
RETINANET: dict[str, Any] = {  # Base-RetinaNet.yaml
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.RETINANET.IOU_THRESHOLDS": [0.4, 0.5],
    "MODEL.RETINANET.IOU_LABELS": [0, -1, 1],
    "MODEL.RETINANET.SMOOTH_L1_LOSS_BETA": 0.0,
}
CASCADE: dict[str, Any] = {  # Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml; ViTDet's cascade_mask_rcnn_vitdet_b_100ep.py
    "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
}
BOX_HEADS: dict[str, dict[str, Any]] = {  # of convolutions, of whole layers
    "fc2": {"MODEL.ROI_BOX_HEAD.NUM_CONV": 0, "MODEL.ROI_BOX_HEAD.NUM_FC": 2},  # Base-RCNN-FPN.yaml
    "conv4-fc1": {"MODEL.ROI_BOX_HEAD.NUM_CONV": 4, "MODEL.ROI_BOX_HEAD.NUM_FC": 1},
}
OCTAVES = (1.0, 2 ** (1.0 / 3), 2 ** (2.0 / 3))  # Base-RetinaNet.yaml: three anchors a size


def base_keys(recipe: DetectionRecipe) -> dict[str, Any]:
    """Return the keys of the architecture: its base model, its heads, and the anchors of each of its maps."""
    if recipe.architecture.endswith("-c4"):
        keys = C4 | {"MODEL.ANCHOR_GENERATOR.SIZES": [list(recipe.anchor_sizes)]}  # all on the one map
        if recipe.extra_norm:
            keys["MODEL.ROI_HEADS.NAME"] = "Res5ROIHeadsExtraNorm"
        return keys
    if recipe.architecture == "retinanet":
        sizes = [[size * octave for octave in OCTAVES] for size in recipe.anchor_sizes]
        return RETINANET | {"MODEL.FPN.NORM": recipe.norm, "MODEL.ANCHOR_GENERATOR.SIZES": sizes}
    keys = FPN | BOX_HEADS[recipe.box_head]
    if recipe.architecture.startswith("cascade-"):
        keys |= CASCADE
    return keys | {
        "MODEL.FPN.NORM": recipe.norm,
        "MODEL.ANCHOR_GENERATOR.SIZES": [[size] for size in recipe.anchor_sizes],  # one a map
        "MODEL.ROI_BOX_HEAD.NORM": recipe.head_norm,
        "MODEL.ROI_MASK_HEAD.NORM": recipe.head_norm,
    }
