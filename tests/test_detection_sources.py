"""Recipe -> Detectron2 configuration, every key against the file that the recipe comes from.

Detectron2's own files are read where they are installed; those of other projects are typed here, with file and line.
"""

from pathlib import Path
from typing import Any

import detectron2
import pytest
from detectron2.config import LazyConfig, get_cfg, instantiate
from detectron2.data import DatasetCatalog
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_proposal_generator, build_roi_heads

from tests.test_detection_config import flat
from twinbench.convert.convention import IMAGENET
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.config.names import catalogue_names
from twinbench.protocols.catalogue import find_protocol

YAML = Path(detectron2.__file__).parent / "model_zoo" / "configs"
OURS = {"MODEL.WEIGHTS": "", "MODEL.DEVICE": "cpu"}  # of the trial, not of the recipe
TORCHVISION = {  # what all three projects' files for a backbone in torchvision's layout say
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],  # MoCo pascal_voc_R_50_C4_24k_moco.yaml:3
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],  # MoCo pascal_voc_R_50_C4_24k_moco.yaml:4
    "MODEL.RESNETS.STRIDE_IN_1X1": False,  # MoCo pascal_voc_R_50_C4_24k_moco.yaml:7
    "INPUT.FORMAT": "RGB",  # MoCo pascal_voc_R_50_C4_24k_moco.yaml:9
}
MOCO_C4 = TORCHVISION | {  # MoCo detection/configs/Base-RCNN-C4-BN.yaml
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",  # :2
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,  # :4
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,  # :5
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm",  # :7
    "MODEL.BACKBONE.FREEZE_AT": 0,  # :9
    "MODEL.RESNETS.NORM": "naiveSyncBN",  # :12
    "TEST.PRECISE_BN.ENABLED": True,  # :15
    "SOLVER.IMS_PER_BATCH": 16,  # :17
    "SOLVER.BASE_LR": 0.02,  # :18
}
MOCO_VOC = MOCO_C4 | {  # MoCo detection/configs/pascal_voc_R_50_C4_24k.yaml
    "MODEL.MASK_ON": False,  # :3
    "MODEL.ROI_HEADS.NUM_CLASSES": 20,  # :6
    "INPUT.MIN_SIZE_TRAIN": [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800],  # :8
    "INPUT.MIN_SIZE_TEST": 800,  # :9
    "DATASETS.TRAIN": ["voc_2007_trainval", "voc_2012_trainval"],  # :11
    "DATASETS.TEST": ["voc_2007_test"],  # :12
    "SOLVER.STEPS": [18000, 22000],  # :14
    "SOLVER.MAX_ITER": 24000,  # :15
    "SOLVER.WARMUP_ITERS": 100,  # :16
}
MOCO_COCO_2X = MOCO_C4 | {  # MoCo detection/configs/coco_R_50_C4_2x.yaml
    "MODEL.MASK_ON": True,  # :3
    "INPUT.MIN_SIZE_TRAIN": [640, 672, 704, 736, 768, 800],  # :6
    "INPUT.MIN_SIZE_TEST": 800,  # :7
    "DATASETS.TRAIN": ["coco_2017_train"],  # :9
    "DATASETS.TEST": ["coco_2017_val"],  # :10
    "SOLVER.STEPS": [120000, 160000],  # :12
    "SOLVER.MAX_ITER": 180000,  # :13
}
BARLOW_TWINS_VOC = {  # appendix C.2
    "MODEL.RESNETS.NORM": "SyncBN",
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.WARMUP_ITERS": 1000,
    "SOLVER.WARMUP_FACTOR": 0.333,
}
ONE = {"SOLVER.STEPS": [60000, 80000], "SOLVER.MAX_ITER": 90000}  # Detectron2's 1x, configs/Base-RCNN-FPN.yaml:38
TWO = {"SOLVER.STEPS": [120000, 160000], "SOLVER.MAX_ITER": 180000}  # MMSelfSup coco_R_50_FPN_2x.yaml:3
SYNC = TORCHVISION | {  # MMSelfSup coco_R_50_FPN_1x.yaml; its RetinaNet and keypoint files say the same
    "MODEL.BACKBONE.FREEZE_AT": 0,  # :6
    "MODEL.RESNETS.NORM": "SyncBN",  # :9
    "MODEL.FPN.NORM": "SyncBN",  # :11
    "TEST.PRECISE_BN.ENABLED": True,  # :14
}
PYCONTRAST = SYNC | {  # PyContrast pycontrast/detection/configs/R_50_FPN_1x.yaml
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,  # :14
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,  # :15
    "MODEL.ROI_BOX_HEAD.NORM": "SyncBN",  # :16
    "MODEL.ROI_MASK_HEAD.NORM": "SyncBN",  # :18
}
C4_VOC, C4_COCO = "PascalVOC-Detection/faster_rcnn_R_50_C4.yaml", "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml"
FPN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
RETINANET = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {  # protocol: (the file of Detectron2's below it, what is said on top)
    "voc0712-frcnn-c4-moco": ("", MOCO_VOC),
    "voc0712-frcnn-c4": (C4_VOC, MOCO_VOC | BARLOW_TWINS_VOC),
    "coco-mrcnn-c4-2x": ("", MOCO_COCO_2X),
    "coco-mrcnn-c4-1x-moco": ("", MOCO_COCO_2X | ONE),
    "coco-mrcnn-c4-1x": (C4_COCO, MOCO_C4 | {"SOLVER.BASE_LR": 0.03}),  # appendix C.2 of Barlow Twins
    "coco-mrcnn-fpn-1x": (FPN, SYNC),
    "coco-mrcnn-fpn-2x": (FPN, SYNC | TWO),
    "coco-mrcnn-fpn-1x-pycontrast": (FPN, PYCONTRAST),
    "coco-mrcnn-fpn-2x-pycontrast": (FPN, PYCONTRAST | TWO),
    "coco-frcnn-fpn-1x": ("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", SYNC),
    "coco-cascade-mrcnn-fpn-1x": ("Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml", SYNC),
    "coco-krcnn-fpn-2x": ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml", SYNC | TWO),
    "lvis-mrcnn-fpn-1x": ("LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", SYNC),
    "cityscapes-mrcnn-fpn-24k": ("Cityscapes/mask_rcnn_R_50_FPN.yaml", SYNC | {"TEST.EVAL_PERIOD": 0}),  # MMSelfSup's
    "coco-retinanet-1x": (RETINANET, SYNC),
    "coco-retinanet-2x": (RETINANET, SYNC | TWO),
}


def ours(name):
    protocol = find_protocol(name)
    return detectron2_config(
        protocol.recipe,
        classes=protocol.classes,
        width=1.0,
        convention=IMAGENET,
        datasets=catalogue_names(protocol.data_set),
    )


def theirs(yaml, said):
    """Return Detectron2's defaults under one of its files, and `said` on top."""
    config = get_cfg()
    if yaml:
        config.merge_from_file(str(YAML / yaml))
    for key, value in said.items():
        config.merge_from_list([key, value])
    return config


@pytest.mark.parametrize("name", SOURCES)
def test_every_key_is_what_the_source_says(name):
    assert flat(ours(name)) == flat(theirs(*SOURCES[name])) | OURS


@pytest.mark.parametrize("data", ["voc0712-frcnn-c4", "coco-mrcnn-fpn-1x", "coco-krcnn-fpn-2x"])
def test_published_data_has_the_names_of_detectron2s_catalogue(data):
    train, test = catalogue_names(find_protocol(data).data_set)
    assert {*train, *test} <= set(DatasetCatalog.list())


def test_own_data_has_a_name_of_its_own():
    assert catalogue_names(find_protocol("voc0712-frcnn-c4@cells").data_set) == (("cells_train",), ("cells_test",))


# ViTDet's source is Python; its backbone is held against it in test_detection_vitdet.py.

VITDET, CASCADE_VITDET = "coco-mrcnn-vitdet-100ep", "coco-cascade-mrcnn-vitdet-100ep"
SHAPES = {
    name: ShapeSpec(channels=256, stride=2**level) for level, name in enumerate(["p2", "p3", "p4", "p5", "p6"], 2)
}


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def lazily(file):
    return LazyConfig.load(str(YAML / "common" / "models" / file)).model


def test_vitdet_s_proposals_come_from_its_own_head():
    model = lazily("mask_rcnn_vitdet.py")
    built = build_proposal_generator(ours(VITDET), SHAPES)
    assert shapes(built) == shapes(instantiate(model.proposal_generator))


def test_vitdet_s_heads_are_its_own():
    model = lazily("mask_rcnn_vitdet.py")
    assert shapes(build_roi_heads(ours(VITDET), SHAPES)) == shapes(instantiate(model.roi_heads))


def test_the_cascade_s_heads_are_vitdet_s():
    model = lazily("cascade_rcnn.py")
    for head in model.roi_heads.box_heads:  # cascade_mask_rcnn_vitdet_b_100ep.py:28 to :30
        head.conv_dims, head.fc_dims, head.conv_norm = [256] * 4, [1024], "LN"
    model.roi_heads.mask_head.conv_norm = "LN"  # common/models/mask_rcnn_vitdet.py:52
    assert shapes(build_roi_heads(ours(CASCADE_VITDET), SHAPES)) == shapes(instantiate(model.roi_heads))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 2000),  # common/models/mask_rcnn_fpn.py:50
        ("MODEL.RPN.PRE_NMS_TOPK_TEST", 1000),  # :50
        ("MODEL.RPN.POST_NMS_TOPK_TRAIN", 1000),  # :51
        ("MODEL.RPN.POST_NMS_TOPK_TEST", 1000),  # :51
        ("MODEL.RPN.NMS_THRESH", 0.7),  # :52
        ("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 256),  # :48
        ("MODEL.RPN.POSITIVE_FRACTION", 0.5),  # :49
        ("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 512),  # :56
        ("MODEL.ROI_HEADS.POSITIVE_FRACTION", 0.25),  # :57
        ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7),  # :63
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2"),  # :66
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.05),  # :75
        ("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", 14),  # :81
        ("MODEL.FPN.NORM", "LN"),  # common/models/mask_rcnn_vitdet.py:48
        ("MODEL.PIXEL_MEAN", [123.675, 116.28, 103.53]),  # :10
        ("MODEL.PIXEL_STD", [58.395, 57.12, 57.375]),  # :11
        ("INPUT.FORMAT", "RGB"),  # :12
        ("INPUT.MIN_SIZE_TEST", 1024),  # common/coco_loader_lsj.py:21
        ("INPUT.MAX_SIZE_TEST", 1024),  # common/coco_loader_lsj.py:21
        ("SOLVER.IMS_PER_BATCH", 64),  # common/coco_loader_lsj.py:16
        ("SOLVER.BASE_LR", 1e-4),  # common/optim.py:25
        ("SOLVER.WEIGHT_DECAY", 0.1),  # common/optim.py:27
        ("SOLVER.WEIGHT_DECAY_NORM", 0.0),  # common/optim.py:23
        ("SOLVER.AMP.ENABLED", True),  # mask_rcnn_vitdet_b_100ep.py:16
        ("SOLVER.MAX_ITER", 184375),  # :25
        ("SOLVER.GAMMA", 0.1),  # :29
        ("SOLVER.STEPS", [163889, 177546]),  # :30
        ("SOLVER.WARMUP_ITERS", 250),  # :33
        ("SOLVER.WARMUP_FACTOR", 0.001),  # :34
        ("TEST.PRECISE_BN.ENABLED", False),
    ],
)
@pytest.mark.parametrize("name", [VITDET, CASCADE_VITDET])
def test_a_number_of_vitdet_s_reaches_its_key(name, key, expected):
    assert flat(ours(name))[key] == expected
