"""From a recipe to Detectron2's configuration: every field of the recipe to its key, nothing from the model zoo.

What a recipe leaves open stands in Detectron2's own defaults, plus the two base models below. They repeat what
configs/Base-RCNN-C4.yaml and configs/Base-RCNN-FPN.yaml of Detectron2 say, so that no file of it need be found.
"""

from typing import Any

from detectron2.config import CfgNode, get_cfg

from twinbench.convert.architectures.network import Network
from twinbench.convert.convention import InputConvention
from twinbench.detection.config.backbone import backbone_keys, make_room
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


def detectron2_config(
    recipe: DetectionRecipe,
    *,
    classes: int,
    width: float,
    convention: InputConvention,
    mask_format: str = "polygon",
    device: str = "cpu",
    network: Network | None = None,
) -> CfgNode:
    """Return the frozen configuration of `recipe` for `classes` classes and a backbone of `width`.

    `convention` is the backbone's: mean, std and channel order of the images it was trained on. `mask_format` is how
    the data draws its masks, `polygon` or `bitmask`. `network` is the backbone's, by default a ResNet-50.
    """
    keys = _model(recipe, classes, width) | _input(recipe, convention, mask_format) | _solver(recipe)
    keys["MODEL.DEVICE"] = device
    config = get_cfg()
    if network:
        make_room(config, network)
        keys |= backbone_keys(recipe, network)
    for key, value in keys.items():
        config.merge_from_list([key, value])
    # A Caffe2 backbone has its stride in the 1 x 1 convolution: it would load here without a word and be wrong.
    assert not config.MODEL.RESNETS.STRIDE_IN_1X1
    config.freeze()
    return config


def _model(recipe: DetectionRecipe, classes: int, width: float) -> dict[str, Any]:
    """Return the keys of the network: base model, width, norms, anchors, numbers of proposals."""
    if recipe.architecture == "mrcnn-fpn":
        keys = FPN | {"MODEL.FPN.NORM": recipe.norm}
        sizes = [[size] for size in recipe.anchor_sizes]  # one a level
    else:
        keys = dict(C4)
        sizes = [list(recipe.anchor_sizes)]  # all on the one level
    if recipe.extra_norm:
        keys["MODEL.ROI_HEADS.NAME"] = "Res5ROIHeadsExtraNorm"
    return keys | {
        "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
        "MODEL.MASK_ON": recipe.architecture != "frcnn-c4",
        "MODEL.WEIGHTS": "",  # the backbone comes through twinbench's converter, see weights.py
        "MODEL.BACKBONE.FREEZE_AT": recipe.freeze_at,
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.NORM": recipe.norm,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": round(64 * width),
        "MODEL.RESNETS.RES2_OUT_CHANNELS": round(256 * width),
        "MODEL.RESNETS.WIDTH_PER_GROUP": round(64 * width),
        "MODEL.ANCHOR_GENERATOR.SIZES": sizes,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": recipe.rpn_pre_nms_test,
        "MODEL.RPN.POST_NMS_TOPK_TEST": recipe.rpn_post_nms_test,
        "MODEL.RPN.LOSS_WEIGHT": recipe.rpn_loss_weight,
        "MODEL.ROI_HEADS.NUM_CLASSES": classes,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": recipe.rois_per_image,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": recipe.roi_resolution,
    }


def _input(recipe: DetectionRecipe, convention: InputConvention, mask_format: str) -> dict[str, Any]:
    """Return the keys of the images. Detectron2 reads pixels in 0..255; a convention in 0..1 is scaled up."""
    scale = 255.0 / convention.scale
    return {
        "MODEL.PIXEL_MEAN": [round(value * scale, 6) for value in convention.mean],
        "MODEL.PIXEL_STD": [round(value * scale, 6) for value in convention.std],
        "INPUT.FORMAT": convention.order.upper(),
        "INPUT.MIN_SIZE_TRAIN": recipe.min_size_train,
        "INPUT.MIN_SIZE_TEST": recipe.min_size_test,
        "INPUT.MAX_SIZE_TRAIN": recipe.max_size,
        "INPUT.MAX_SIZE_TEST": recipe.max_size,
        "INPUT.MASK_FORMAT": mask_format,
    }


def _solver(recipe: DetectionRecipe) -> dict[str, Any]:
    """Return the keys of the schedule."""
    return {
        "SOLVER.IMS_PER_BATCH": recipe.batch_size,
        "SOLVER.BASE_LR": recipe.lr,
        "SOLVER.WARMUP_ITERS": recipe.warmup_iterations,
        "SOLVER.WARMUP_FACTOR": recipe.warmup_factor,
        "SOLVER.STEPS": recipe.steps,
        "SOLVER.MAX_ITER": recipe.iterations,
        "SOLVER.MOMENTUM": recipe.momentum,
        "SOLVER.WEIGHT_DECAY": recipe.weight_decay,
        "TEST.PRECISE_BN.ENABLED": recipe.precise_bn_iterations > 0,
        "TEST.PRECISE_BN.NUM_ITER": max(recipe.precise_bn_iterations, 1),
    }
