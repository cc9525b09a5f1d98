"""From a recipe of segmentation to Detectron2's configuration, with the few keys that Detectron2 does not have.

What is new stands under MODEL.SEGMENTER and INPUT.SEGMENTER; poly's keys are called as in Detectron2's DeepLab project.
"""

from typing import Any

from detectron2.config import CfgNode, get_cfg

from twinbench.convert.convention import InputConvention
from twinbench.detection.config.detector import HALVED
from twinbench.protocols.kinds.segmenter import SegmentationRecipe

POLY = "PolyLR"
NAMES = {"poly": POLY, "steps": "WarmupMultiStepLR"}  # SOLVER.LR_SCHEDULER_NAME


def with_keys(config: CfgNode) -> CfgNode:
    """Return `config` with the keys of segmentation: what `config.yaml` of a trial is merged into."""
    config.SOLVER.POLY_LR_POWER = 0.9
    config.SOLVER.POLY_LR_END = 0.0  # as a part of BASE_LR
    config.MODEL.SEGMENTER = CfgNode(
        {
            "DILATIONS": [1, 1, 2, 4],
            "CONTRACT_DILATION": True,
            "NUM_CLASSES": 21,
            "CONVS": 2,
            "CHANNELS": 512,
            "DILATION": 1,
            "CONCAT": True,
            "DROPOUT": 0.1,
            "AUX_WEIGHT": 0.4,
            "AUX_CHANNELS": 256,
            "ALIGN_CORNERS": False,
            "LOSS_MEAN": "all",
            "TEST_MODE": "whole",
            "TEST_CROP": 0,
            "TEST_STRIDE": 0,
        }
    )
    config.INPUT.SEGMENTER = CfgNode(
        {
            "LONG_SIDE": 2048,
            "SHORT_SIDE": 512,
            "SCALE": [0.5, 2.0],
            "CROP": 512,
            "CAT_MAX_RATIO": 0.75,
            "FLIP": 0.5,
            "DISTORTION": True,
        }
    )
    return config


def segmenter_config(
    recipe: SegmentationRecipe, *, classes: int, width: float, convention: InputConvention, device: str = "cpu"
) -> CfgNode:
    """Return the frozen configuration of `recipe` for `classes` classes and a ResNet-50 of `width`."""
    keys = _model(recipe, classes, width) | _input(recipe, convention) | _solver(recipe)
    keys["MODEL.DEVICE"] = device
    config = with_keys(get_cfg())
    for key, value in keys.items():
        config.merge_from_list([key, value])
    config.freeze()
    return config


def _model(recipe: SegmentationRecipe, classes: int, width: float) -> dict[str, Any]:
    """Return the keys of the network."""
    return {
        "MODEL.META_ARCHITECTURE": "Segmenter",
        "MODEL.WEIGHTS": "",  # the backbone comes through twinbench's converter
        "MODEL.BACKBONE.NAME": "build_dilated_resnet_backbone",
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.NORM": recipe.norm,
        "MODEL.RESNETS.STRIDE_IN_1X1": False,
        "MODEL.RESNETS.OUT_FEATURES": ["res4", "res5"],
        "MODEL.RESNETS.STEM_OUT_CHANNELS": round(64 * width),
        "MODEL.RESNETS.RES2_OUT_CHANNELS": round(256 * width),
        "MODEL.RESNETS.WIDTH_PER_GROUP": round(64 * width),
        "MODEL.SEGMENTER.DILATIONS": list(recipe.dilations),
        "MODEL.SEGMENTER.CONTRACT_DILATION": recipe.contract_dilation,
        "MODEL.SEGMENTER.NUM_CLASSES": classes,
        "MODEL.SEGMENTER.CONVS": recipe.head_convs,
        "MODEL.SEGMENTER.CHANNELS": recipe.head_channels,
        "MODEL.SEGMENTER.DILATION": recipe.head_dilation,
        "MODEL.SEGMENTER.CONCAT": recipe.head_concat,
        "MODEL.SEGMENTER.DROPOUT": recipe.dropout,
        "MODEL.SEGMENTER.AUX_WEIGHT": recipe.aux_weight,
        "MODEL.SEGMENTER.AUX_CHANNELS": recipe.aux_channels,
        "MODEL.SEGMENTER.ALIGN_CORNERS": recipe.align_corners,
        "MODEL.SEGMENTER.LOSS_MEAN": recipe.loss_mean,
        "MODEL.SEGMENTER.TEST_MODE": recipe.test_mode,
        "MODEL.SEGMENTER.TEST_CROP": recipe.test_crop,
        "MODEL.SEGMENTER.TEST_STRIDE": recipe.test_stride,
    }


def _input(recipe: SegmentationRecipe, convention: InputConvention) -> dict[str, Any]:
    """Return the keys of the images, which Detectron2 reads in 0..255."""
    scale = 255.0 / convention.scale
    return {
        "MODEL.PIXEL_MEAN": [round(value * scale, 6) for value in convention.mean],
        "MODEL.PIXEL_STD": [round(value * scale, 6) for value in convention.std],
        "INPUT.FORMAT": convention.order.upper(),
        "INPUT.SEGMENTER.LONG_SIDE": recipe.long_side,
        "INPUT.SEGMENTER.SHORT_SIDE": recipe.short_side,
        "INPUT.SEGMENTER.SCALE": [float(value) for value in recipe.scale],
        "INPUT.SEGMENTER.CROP": recipe.crop,
        "INPUT.SEGMENTER.CAT_MAX_RATIO": float(recipe.cat_max_ratio),
        "INPUT.SEGMENTER.FLIP": float(recipe.flip),
        "INPUT.SEGMENTER.DISTORTION": recipe.distortion,
    }


def _solver(recipe: SegmentationRecipe) -> dict[str, Any]:
    """Return the keys of the schedule, which has no warm-up."""
    end = recipe.lr_end / recipe.lr if recipe.schedule == "poly" and recipe.lr else 0.0
    return {
        "SOLVER.IMS_PER_BATCH": recipe.batch_size,
        "SOLVER.BASE_LR": recipe.lr,
        "SOLVER.LR_SCHEDULER_NAME": NAMES[recipe.schedule],
        "SOLVER.POLY_LR_POWER": float(recipe.poly_power),
        "SOLVER.POLY_LR_END": end,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.AMP.ENABLED": recipe.precision in HALVED,
        "SOLVER.STEPS": recipe.steps,
        "SOLVER.MAX_ITER": recipe.iterations,
        "SOLVER.MOMENTUM": recipe.momentum,
        "SOLVER.WEIGHT_DECAY": recipe.weight_decay,
        "SOLVER.WEIGHT_DECAY_NORM": recipe.norm_weight_decay,
        # Images become squares of one size: none is batched apart.
        "DATALOADER.ASPECT_RATIO_GROUPING": False,
    }
