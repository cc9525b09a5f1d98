"""Recipe -> Detectron2 configuration, field by field; test_detection_sources.py has it against the sources' files."""

from dataclasses import replace

import pytest
from detectron2.modeling.roi_heads import Res5ROIHeads
from torch import nn

from twinbench.convert.convention import IMAGENET, IMAGENET_BGR, UNIT, InputConvention
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.models.head import Res5ROIHeadsExtraNorm
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.detection.c4 import VOC_C4
from twinbench.protocols.house import SettingError


def of(name, **more):
    protocol = find_protocol(name)
    return detectron2_config(
        protocol.recipe, **{"classes": protocol.classes, "width": 1.0, "convention": IMAGENET} | more
    )


def flat(config, prefix=""):
    """Return every leaf of a configuration by its dotted key; lists and tuples are the same."""
    leaves = {}
    for key, value in config.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = list(value) if isinstance(value, tuple) else value
    return leaves


@pytest.mark.parametrize(
    ("name", "base", "expected"),
    [
        ("coco-mrcnn-c4-2x", "coco-mrcnn-c4-1x-moco", {"SOLVER.STEPS": [120000, 160000], "SOLVER.MAX_ITER": 180000}),
        ("coco-mrcnn-fpn-2x", "coco-mrcnn-fpn-1x", {"SOLVER.STEPS": [120000, 160000], "SOLVER.MAX_ITER": 180000}),
        ("coco-mrcnn-c4-1x-moco", "coco-mrcnn-c4-1x", {"SOLVER.BASE_LR": 0.02}),
        ("coco-mrcnn-fpn-1x-vicreg", "coco-mrcnn-fpn-1x", {"SOLVER.BASE_LR": 0.04, "SOLVER.WARMUP_ITERS": 50}),
        ("coco-mrcnn-fpn-1x-frozen", "coco-mrcnn-fpn-1x", {"MODEL.BACKBONE.FREEZE_AT": 5}),
        ("voc0712-frcnn-c4-frozen", "voc0712-frcnn-c4-moco", {"MODEL.BACKBONE.FREEZE_AT": 4}),
        ("voc0712-frcnn-c4-vicreg", "voc0712-frcnn-c4", {"MODEL.RPN.LOSS_WEIGHT": 0.2}),
        (
            "voc0712-frcnn-c4-moco",
            "voc0712-frcnn-c4",
            {
                "MODEL.RESNETS.NORM": "naiveSyncBN",
                "SOLVER.BASE_LR": 0.02,
                "SOLVER.WARMUP_ITERS": 100,
                "SOLVER.WARMUP_FACTOR": 0.001,
            },
        ),
    ],
)
def test_a_variant_differs_in_what_its_source_says_and_in_nothing_else(name, base, expected):
    ours, theirs = flat(of(name)), flat(of(base))
    assert {key: value for key, value in ours.items() if value != theirs[key]} == expected


@pytest.mark.parametrize(
    ("field", "value", "key", "expected"),
    [
        ("norm", "BN", "MODEL.RESNETS.NORM", "BN"),
        ("extra_norm", False, "MODEL.ROI_HEADS.NAME", "Res5ROIHeads"),
        ("freeze_at", 3, "MODEL.BACKBONE.FREEZE_AT", 3),
        ("batch_size", 7, "SOLVER.IMS_PER_BATCH", 7),
        ("lr", 0.5, "SOLVER.BASE_LR", 0.5),
        ("warmup_iterations", 3, "SOLVER.WARMUP_ITERS", 3),
        ("warmup_factor", 0.25, "SOLVER.WARMUP_FACTOR", 0.25),
        ("steps", (3, 4), "SOLVER.STEPS", (3, 4)),
        ("iterations", 9, "SOLVER.MAX_ITER", 9),
        ("momentum", 0.5, "SOLVER.MOMENTUM", 0.5),
        ("weight_decay", 0.25, "SOLVER.WEIGHT_DECAY", 0.25),
        ("min_size_train", (32,), "INPUT.MIN_SIZE_TRAIN", (32,)),
        ("min_size_test", 33, "INPUT.MIN_SIZE_TEST", 33),
        ("max_size", 77, "INPUT.MAX_SIZE_TRAIN", 77),
        ("max_size", 77, "INPUT.MAX_SIZE_TEST", 77),
        ("anchor_sizes", (8, 16), "MODEL.ANCHOR_GENERATOR.SIZES", [[8, 16]]),
        ("rpn_pre_nms_test", 11, "MODEL.RPN.PRE_NMS_TOPK_TEST", 11),
        ("rpn_post_nms_test", 12, "MODEL.RPN.POST_NMS_TOPK_TEST", 12),
        ("rpn_loss_weight", 0.2, "MODEL.RPN.LOSS_WEIGHT", 0.2),
        ("rois_per_image", 13, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 13),
        ("roi_resolution", 7, "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7),
        ("precise_bn_iterations", 14, "TEST.PRECISE_BN.NUM_ITER", 14),
        ("precise_bn_iterations", 0, "TEST.PRECISE_BN.ENABLED", False),
        ("precision", "fp16", "SOLVER.AMP.ENABLED", True),
        ("precision", "bf16", "SOLVER.AMP.ENABLED", True),
        ("precision", "tf32", "SOLVER.AMP.ENABLED", False),
        ("gamma", 0.5, "SOLVER.GAMMA", 0.5),
        ("keep_empty", True, "DATALOADER.FILTER_EMPTY_ANNOTATIONS", False),
        ("repeat_threshold", 0.25, "DATALOADER.REPEAT_THRESHOLD", 0.25),
        ("repeat_threshold", 0.25, "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
        ("rpn_post_nms_train", 77, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 77),
        ("rpn_convs", 3, "MODEL.RPN.CONV_DIMS", [-1, -1, -1]),
        ("box_smooth_l1_beta", 0.5, "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA", 0.5),
        ("score_threshold", 0.25, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.25),
        ("detections_per_image", 7, "TEST.DETECTIONS_PER_IMAGE", 7),
    ],
)
def test_every_field_reaches_its_key(field, value, key, expected):
    recipe = replace(VOC_C4, **{field: value})
    assert recipe != VOC_C4
    config = detectron2_config(recipe, classes=20, width=1.0, convention=IMAGENET)
    assert flat(config)[key] == (list(expected) if isinstance(expected, tuple) else expected)


@pytest.mark.parametrize(
    ("field", "value", "key", "expected"),
    [
        ("norm", "BN", "MODEL.FPN.NORM", "BN"),
        ("norm", "BN", "MODEL.RESNETS.NORM", "BN"),
        ("box_head", "conv4-fc1", "MODEL.ROI_BOX_HEAD.NUM_CONV", 4),
        ("box_head", "conv4-fc1", "MODEL.ROI_BOX_HEAD.NUM_FC", 1),
        ("head_norm", "GN", "MODEL.ROI_BOX_HEAD.NORM", "GN"),
        ("head_norm", "GN", "MODEL.ROI_MASK_HEAD.NORM", "GN"),
        ("anchor_sizes", (1, 2, 3, 4, 5), "MODEL.ANCHOR_GENERATOR.SIZES", [[1], [2], [3], [4], [5]]),
    ],
)
def test_a_pyramid_s_fields_reach_their_keys(field, value, key, expected):
    recipe = replace(find_protocol("coco-mrcnn-fpn-1x").recipe, **{field: value})
    config = detectron2_config(recipe, classes=20, width=1.0, convention=IMAGENET)
    assert flat(config)[key] == expected


@pytest.mark.parametrize(
    ("field", "value", "key", "expected"),
    [
        ("score_threshold", 0.25, "MODEL.RETINANET.SCORE_THRESH_TEST", 0.25),
        ("norm", "BN", "MODEL.FPN.NORM", "BN"),
        ("detections_per_image", 7, "TEST.DETECTIONS_PER_IMAGE", 7),
    ],
)
def test_retinanet_s_fields_reach_their_keys(field, value, key, expected):
    recipe = replace(find_protocol("coco-retinanet-1x").recipe, **{field: value})
    config = detectron2_config(recipe, classes=20, width=1.0, convention=IMAGENET)
    assert flat(config)[key] == expected


def test_retinanet_s_classes_are_the_data_s():
    assert of("coco-retinanet-1x", classes=7).MODEL.RETINANET.NUM_CLASSES == 7


REFUSED = [
    ("coco-mrcnn-fpn-1x", {"norm": "LN"}, "norm=LN: expected another one where architecture=mrcnn-fpn"),
    ("coco-mrcnn-vitdet-100ep", {"norm": "BN"}, "norm=BN: expected LN where architecture=mrcnn-vitdet"),
    ("voc0712-frcnn-c4", {"box_head": "conv4-fc1"}, "box_head=conv4-fc1: expected fc2 where architecture=frcnn-c4"),
    ("coco-retinanet-1x", {"head_norm": "GN"}, "head_norm=GN: expected none where architecture=retinanet"),
    (
        "coco-mrcnn-fpn-1x",
        {"optimizer": "adamw", "layer_decay": "0.7"},
        "layer_decay=0.7: expected 1 where architecture=mrcnn-fpn",
    ),
]


@pytest.mark.parametrize(("name", "settings", "said"), REFUSED)
def test_a_field_that_an_architecture_has_no_place_for_is_refused(name, settings, said):
    with pytest.raises(SettingError, match=said):
        find_protocol(name).with_settings(settings)


@pytest.mark.parametrize(
    ("width", "stem", "res2", "group"), [(0.25, 16, 64, 16), (1.0, 64, 256, 64), (2.0, 128, 512, 128)]
)
def test_width_scales_the_backbone(width, stem, res2, group):
    resnets = of("voc0712-frcnn-c4", width=width).MODEL.RESNETS
    assert (stem, res2, group) == (resnets.STEM_OUT_CHANNELS, resnets.RES2_OUT_CHANNELS, resnets.WIDTH_PER_GROUP)


@pytest.mark.parametrize(
    ("convention", "mean", "std", "order"),
    [
        (IMAGENET_BGR, [103.53, 116.28, 123.675], [57.375, 57.12, 58.395], "BGR"),
        (UNIT, [0, 0, 0], [255, 255, 255], "RGB"),
        (InputConvention((1, 2, 3), (1, 1, 1), "bgr", 255.0), [1, 2, 3], [1, 1, 1], "BGR"),  # Caffe's
    ],
)
def test_the_backbones_input_convention_is_kept(convention, mean, std, order):
    config = of("voc0712-frcnn-c4", convention=convention)
    assert (mean, std, order) == (config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD, config.INPUT.FORMAT)


def test_the_head_is_detectron2s_with_one_norm_at_the_end():
    config = of("voc0712-frcnn-c4", width=0.125)
    blocks, channels = Res5ROIHeadsExtraNorm._build_res5_block(config)
    plain, plain_channels = Res5ROIHeads._build_res5_block(config)
    assert channels == plain_channels == 2048 // 8
    names = [name for name, _ in blocks.named_children()]
    assert names == [name for name, _ in plain.named_children()] + ["norm"]  # MoCo's files call it res5.norm
    assert isinstance(blocks.norm, nn.SyncBatchNorm)
    assert blocks.norm.num_features == channels
