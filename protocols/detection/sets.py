"""Detectors on other data than VOC and the whole of COCO: LVIS, Cityscapes' instances, and parts of COCO.

The parts are those of Unbiased Teacher (facebookresearch/unbiased-teacher, dataseed/COCO_supervision.txt). What papers
on self-supervised backbones train on them, and how long, is published nowhere as a file: the detector is that of
coco-mrcnn-fpn-1x, and each part is seen as often, 123 times, as the 1x schedule sees ten percent.
"""

from dataclasses import replace

from twinbench.protocols.datasets import (
    CITYSCAPES_INSTANCES,
    COCO17_1PCT,
    COCO17_2PCT,
    COCO17_5PCT,
    COCO17_10PCT,
    LVIS,
)
from twinbench.protocols.detection.pyramids import COCO_FPN_1X, LAST
from twinbench.protocols.schema import Protocol

LVIS_FPN_1X = replace(
    COCO_FPN_1X,
    steps=(120_000, 160_000),  # D2 LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml
    iterations=180_000,  # D2 LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml
    score_threshold=0.0001,  # D2 LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml
    detections_per_image=300,  # D2 LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml
    repeat_threshold=0.001,  # D2 LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml
)
CITYSCAPES_FPN_24K = replace(
    COCO_FPN_1X,
    batch_size=8,  # MMSelfSup and D2, Cityscapes/mask_rcnn_R_50_FPN.yaml
    lr=0.01,  # MMSelfSup and D2, Cityscapes/mask_rcnn_R_50_FPN.yaml
    steps=(18_000,),  # MMSelfSup and D2, Cityscapes/mask_rcnn_R_50_FPN.yaml
    iterations=24_000,  # MMSelfSup and D2, Cityscapes/mask_rcnn_R_50_FPN.yaml
    min_size_train=(800, 832, 864, 896, 928, 960, 992, 1024),  # MMSelfSup and D2, Cityscapes/mask_rcnn_R_50_FPN.yaml
    min_size_test=1024,  # MMSelfSup and D2, Cityscapes/mask_rcnn_R_50_FPN.yaml
    max_size=2048,  # MMSelfSup and D2, Cityscapes/mask_rcnn_R_50_FPN.yaml
)
COCO_FPN_5PCT = replace(
    COCO_FPN_1X,
    steps=(30_000, 40_000),  # ours: half of 1x
    iterations=45_000,  # ours: half of 1x, for half of ten percent
)
COCO_FPN_2PCT = replace(
    COCO_FPN_1X,
    steps=(12_000, 16_000),  # ours: a fifth of 1x
    iterations=18_000,  # ours: a fifth of 1x, for a fifth of ten percent
)
COCO_FPN_1PCT = replace(
    COCO_FPN_1X,
    steps=(6_000, 8_000),  # ours: a tenth of 1x
    iterations=9_000,  # ours: a tenth of 1x, for a tenth of ten percent
)
PART = "Unbiased Teacher's part of COCO; detector of MoCo issues 34 and 39; schedule ours, published by nobody"

PROTOCOLS = (
    Protocol(
        name="lvis-mrcnn-fpn-1x",
        version=1,
        title="LVIS v1 segmentation, Mask R-CNN R50-FPN, 1x",
        data_set=LVIS,
        metric="mask-AP",
        selected_on=LAST,
        trials=1,
        source="D2 LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml with the norms of MoCo's issues 34 and 39",
        recipe=LVIS_FPN_1X,
        also=("box-AP",),
    ),
    Protocol(
        name="cityscapes-mrcnn-fpn-24k",
        version=1,
        title="Cityscapes instance segmentation, Mask R-CNN R50-FPN, 24k iterations",
        data_set=CITYSCAPES_INSTANCES,
        metric="mask-AP",
        selected_on=LAST,
        trials=1,
        source="MMSelfSup Cityscapes/mask_rcnn_R_50_FPN_moco.yaml",
        recipe=CITYSCAPES_FPN_24K,
        also=("mask-AP50",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-1pct",
        version=1,
        title="COCO detection and segmentation with 1 % of the labels, Mask R-CNN R50-FPN",
        data_set=COCO17_1PCT,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source=PART,
        recipe=COCO_FPN_1PCT,
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-2pct",
        version=1,
        title="COCO detection and segmentation with 2 % of the labels, Mask R-CNN R50-FPN",
        data_set=COCO17_2PCT,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source=PART,
        recipe=COCO_FPN_2PCT,
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-5pct",
        version=1,
        title="COCO detection and segmentation with 5 % of the labels, Mask R-CNN R50-FPN",
        data_set=COCO17_5PCT,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source=PART,
        recipe=COCO_FPN_5PCT,
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-10pct",
        version=1,
        title="COCO detection and segmentation with 10 % of the labels, Mask R-CNN R50-FPN",
        data_set=COCO17_10PCT,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source=PART,
        recipe=COCO_FPN_1X,
        also=("mask-AP",),
    ),
)
