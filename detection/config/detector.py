"""From a recipe to Detectron2's configuration: every field of the recipe to its key, nothing from the model zoo.

What a recipe leaves open stands in Detectron2's own defaults, plus the base models of bases.py. Four things are no key
of Detectron2's: the optimizer, its layer decay, the parts of a batch and large-scale jitter, which training/ reads from
the recipe; `drop_path` is the backbone's (backbone.py).
"""

from typing import Any

from detectron2.config import CfgNode, get_cfg

from twinbench.convert.architectures.network import Network
from twinbench.convert.convention import InputConvention
from twinbench.detection.config.backbone import backbone_keys, make_room
from twinbench.detection.config.bases import base_keys
from twinbench.detection.config.names import Names
from twinbench.protocols.kinds.detector import DetectionRecipe

HALVED = ("fp16", "bf16")  # precisions that a recipe has from autocast


def detectron2_config(
    recipe: DetectionRecipe,
    *,
    classes: int,
    width: float,
    convention: InputConvention,
    mask_format: str = "polygon",
    datasets: Names = ((), ()),
    device: str = "cpu",
    network: Network | None = None,
) -> CfgNode:
    """Return the frozen configuration of `recipe` for `classes` classes and a backbone of `width`.

    `convention` is the backbone's: mean, std and channel order of the images it was trained on. `mask_format` is how
    the data draws its masks, `polygon` or `bitmask`; `datasets` is what Detectron2 calls its two parts. `network` is
    the backbone's, by default a ResNet-50.
    """
    keys = _model(recipe, classes, width) | _heads(recipe) | _input(recipe, convention, mask_format) | _solver(recipe)
    keys |= {"MODEL.DEVICE": device, "DATASETS.TRAIN": datasets[0], "DATASETS.TEST": datasets[1]}
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
    """Return the keys of the network: base model, width, norms, classes."""
    is_retinanet = recipe.architecture == "retinanet"
    return base_keys(recipe) | {
        "MODEL.META_ARCHITECTURE": "RetinaNet" if is_retinanet else "GeneralizedRCNN",
        "MODEL.MASK_ON": "mask" in recipe.measures,
        "MODEL.KEYPOINT_ON": "keypoint" in recipe.measures,
        "MODEL.WEIGHTS": "",  # the backbone comes through twinbench's converter, see weights.py
        "MODEL.BACKBONE.FREEZE_AT": recipe.freeze_at,
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.NORM": recipe.norm,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": round(64 * width),
        "MODEL.RESNETS.RES2_OUT_CHANNELS": round(256 * width),
        "MODEL.RESNETS.WIDTH_PER_GROUP": round(64 * width),
        f"MODEL.{'RETINANET' if is_retinanet else 'ROI_HEADS'}.NUM_CLASSES": classes,
    }


def _heads(recipe: DetectionRecipe) -> dict[str, Any]:
    """Return the keys of the heads: numbers of proposals, what they are trained on, what is kept of them."""
    score = "RETINANET" if recipe.architecture == "retinanet" else "ROI_HEADS"
    keys = {
        "MODEL.RPN.PRE_NMS_TOPK_TEST": recipe.rpn_pre_nms_test,
        "MODEL.RPN.POST_NMS_TOPK_TEST": recipe.rpn_post_nms_test,
        "MODEL.RPN.LOSS_WEIGHT": recipe.rpn_loss_weight,
        "MODEL.RPN.CONV_DIMS": [-1] * recipe.rpn_convs,  # -1: as many channels as go in
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": recipe.rois_per_image,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": recipe.roi_resolution,
        "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": recipe.box_smooth_l1_beta,
        f"MODEL.{score}.SCORE_THRESH_TEST": recipe.score_threshold,
        "TEST.DETECTIONS_PER_IMAGE": recipe.detections_per_image,
    }
    if recipe.rpn_post_nms_train:
        keys["MODEL.RPN.POST_NMS_TOPK_TRAIN"] = recipe.rpn_post_nms_train
    return keys


def _input(recipe: DetectionRecipe, convention: InputConvention, mask_format: str) -> dict[str, Any]:
    """Return the keys of the images. Detectron2 reads pixels in 0..255; a convention in 0..1 is scaled up."""
    scale = 255.0 / convention.scale
    is_repeating = recipe.repeat_threshold > 0
    return {
        "MODEL.PIXEL_MEAN": [round(value * scale, 6) for value in convention.mean],
        "MODEL.PIXEL_STD": [round(value * scale, 6) for value in convention.std],
        "INPUT.FORMAT": convention.order.upper(),
        "INPUT.MIN_SIZE_TRAIN": recipe.min_size_train,
        "INPUT.MIN_SIZE_TEST": recipe.min_size_test,
        "INPUT.MAX_SIZE_TRAIN": recipe.max_size,
        "INPUT.MAX_SIZE_TEST": recipe.max_size,
        "INPUT.MASK_FORMAT": mask_format,
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": not recipe.keep_empty,
        "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler" if is_repeating else "TrainingSampler",
        "DATALOADER.REPEAT_THRESHOLD": recipe.repeat_threshold,
    }


def _solver(recipe: DetectionRecipe) -> dict[str, Any]:
    """Return the keys of the schedule."""
    return {
        "SOLVER.IMS_PER_BATCH": recipe.batch_size,
        "SOLVER.BASE_LR": recipe.lr,
        "SOLVER.WARMUP_ITERS": recipe.warmup_iterations,
        "SOLVER.WARMUP_FACTOR": recipe.warmup_factor,
        "SOLVER.STEPS": recipe.steps,
        "SOLVER.GAMMA": recipe.gamma,
        "SOLVER.MAX_ITER": recipe.iterations,
        "SOLVER.MOMENTUM": recipe.momentum,
        "SOLVER.WEIGHT_DECAY": recipe.weight_decay,
        "SOLVER.AMP.ENABLED": recipe.precision in HALVED,
        "TEST.PRECISE_BN.ENABLED": recipe.precise_bn_iterations > 0,
        "TEST.PRECISE_BN.NUM_ITER": max(recipe.precise_bn_iterations, 1),
    }
