"""The protocols of semantic segmentation, each constant beside its source.

Sources, abbreviated: MMSS = open-mmlab/mmselfsup at 6faad816, branch 0.x, configs/benchmarks/mmsegmentation/, whose
numbers stand in its READMEs; MMSeg = open-mmlab/mmsegmentation 0.x, what those files run in; BYOL = arXiv:2006.07733,
appendix D.4; MoCo = arXiv:1911.05722, appendix, whose network and crops BYOL takes over.

MMSS's later branch 1.x reads its settings from MMSegmentation 1.x, where the same file name means another network:
ResNetV1c, whose stem of three convolutions takes nothing of a ResNet-50's stem. The published numbers are 0.x's.

Some of MMSegmentation's ways have no name in its files: weight decay on norms, too; a loss that is divided by all
pixels, padded ones included; a rate that does not warm up.

BYOL chose the rate among five from 1e-3 to 1e-1 (log-spaced). A protocol has one: the middle one. The search is a suite
with `set: {lr: ...}` for each, which its results record; a rate that is chosen on images which are not reported needs a
data set of its own for that.
"""

from dataclasses import replace

from twinbench.protocols.datasets import CITYSCAPES, VOC12AUG_SEG
from twinbench.protocols.kinds.segmenter import SegmentationRecipe
from twinbench.protocols.schema import Protocol

VOC12AUG_FCN = SegmentationRecipe(
    dilations=(1, 1, 2, 4),  # MMSS _base_/models/fcn_r50-d8.py:10
    contract_dilation=True,  # MMSS fcn_r50-d8.py:15
    norm="SyncBN",  # MMSS fcn_r50-d8.py:2
    head_convs=2,  # MMSS fcn_r50-d8.py:22
    head_channels=512,  # MMSS fcn_r50-d8.py:21
    head_dilation=1,  # MMSeg fcn_head.py: none unless said
    head_concat=True,  # MMSS fcn_r50-d8.py:23
    dropout=0.1,  # MMSS fcn_r50-d8.py:24 and :37
    aux_weight=0.4,  # MMSS fcn_r50-d8.py:42
    aux_channels=256,  # MMSS fcn_r50-d8.py:34
    align_corners=False,  # MMSS fcn_r50-d8.py:27 and :40
    loss_mean="all",  # MMSeg cross_entropy_loss.py: no avg_factor, a mean over what reduction="none" gives
    batch_size=16,  # MMSS datasets/pascal_voc12.py:35, 4 a GPU; 4 GPUs by the name of 1.x's file, fcn_r50-d8_4xb4-...
    lr=0.01,  # MMSS schedules/schedule_20k.py:2
    schedule="poly",  # MMSS schedule_20k.py:5
    poly_power=0.9,  # MMSS schedule_20k.py:5
    lr_end=1e-4,  # MMSS schedule_20k.py:5
    steps=(),  # poly has none
    iterations=20_000,  # MMSS schedule_20k.py:7
    momentum=0.9,  # MMSS schedule_20k.py:2
    weight_decay=5e-4,  # MMSS schedule_20k.py:2
    norm_weight_decay=5e-4,  # MMSS schedule_20k.py:2, on all parameters: no paramwise_cfg
    long_side=2048,  # MMSS datasets/pascal_voc12.py:10
    short_side=512,  # MMSS pascal_voc12.py:10
    scale=(0.5, 2.0),  # MMSS pascal_voc12.py:10
    crop=512,  # MMSS pascal_voc12.py:6
    cat_max_ratio=0.75,  # MMSS pascal_voc12.py:11
    flip=0.5,  # MMSS pascal_voc12.py:12
    distortion=True,  # MMSS pascal_voc12.py:13
    test_mode="whole",  # MMSS fcn_r50-d8.py:45
    test_crop=0,  # whole
    test_stride=0,  # whole
    precision="fp32",  # MMSS: no fp16 setting; no source says anything of TF32
)
CITYSCAPES_FCN = replace(
    VOC12AUG_FCN,
    align_corners=True,  # MMSS cityscapes/fcn_r50-d8_769x769_40k_cityscapes.py:7 and :8
    batch_size=8,  # MMSS datasets/cityscapes.py:35, 2 a GPU; 4 GPUs by the name of 1.x's file, fcn_r50-d8_4xb2-...
    iterations=40_000,  # MMSS schedules/schedule_40k.py:7
    long_side=2049,  # MMSS datasets/cityscapes_769x769.py:8
    short_side=1025,  # MMSS cityscapes_769x769.py:8
    crop=769,  # MMSS cityscapes_769x769.py:4
    test_mode="slide",  # MMSS fcn_r50-d8_769x769_40k_cityscapes.py:9
    test_crop=769,  # MMSS fcn_r50-d8_769x769_40k_cityscapes.py:9
    test_stride=513,  # MMSS fcn_r50-d8_769x769_40k_cityscapes.py:9
)
VOC12_FCN_BYOL = replace(
    VOC12AUG_FCN,
    dilations=(1, 1, 1, 2),  # MoCo: conv5 with dilation 2 and stride 1; BYOL: the same network
    contract_dilation=False,  # MoCo: the 3 x 3 convolutions in conv5, all of them
    head_channels=256,  # BYOL, MoCo
    head_dilation=6,  # BYOL, MoCo
    head_concat=False,  # BYOL, MoCo: two 3 x 3, then a 1 x 1
    dropout=0.0,  # BYOL, MoCo: none is said
    aux_weight=0.0,  # BYOL, MoCo: none is said
    loss_mean="labelled",  # BYOL: per-pixel cross-entropy; what it is divided by is not said
    lr=0.01,  # BYOL: the middle of five from 1e-3 to 1e-1
    schedule="steps",  # BYOL
    lr_end=0.0,  # steps
    steps=(21_000, 27_000),  # BYOL: at the 70th and the 90th percentile of training
    iterations=30_000,  # BYOL
    weight_decay=1e-4,  # BYOL
    norm_weight_decay=1e-4,  # BYOL: not said to be left out
    long_side=0,  # BYOL: images scaled by a ratio
    short_side=0,  # BYOL: images scaled by a ratio
    crop=513,  # BYOL
    cat_max_ratio=1.0,  # BYOL: none is said
    distortion=False,  # BYOL: scaling, cropping and flipping
    test_mode="center",  # BYOL: the central crop
    test_crop=513,  # BYOL
)

PROTOCOLS = (
    Protocol(
        name="voc12aug-fcn-20k",
        version=1,
        title="VOC12 segmentation with SBD, FCN R50-D8, 20k iterations",
        data_set=VOC12AUG_SEG,
        metric="mIoU",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="MMSS voc12aug/fcn_r50-d8_512x512_20k_voc12aug.py, branch 0.x",
        recipe=VOC12AUG_FCN,
        published_as="voc12_fcn_seg",
    ),
    Protocol(
        name="cityscapes-fcn-40k",
        version=1,
        title="Cityscapes segmentation, FCN R50-D8, 769 x 769, 40k iterations",
        data_set=CITYSCAPES,
        metric="mIoU",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="MMSS cityscapes/fcn_r50-d8_769x769_40k_cityscapes.py, branch 0.x",
        recipe=CITYSCAPES_FCN,
    ),
    Protocol(
        name="voc12-fcn-byol",
        version=1,
        title="VOC12 segmentation with SBD, FCN-16s R50, 30k iterations, BYOL's recipe",
        data_set=VOC12AUG_SEG,
        metric="mIoU",
        selected_on="nothing: the last iteration is reported",
        trials=5,  # BYOL: the mean of 5 seeds
        source="BYOL D.4, on MoCo's network",
        recipe=VOC12_FCN_BYOL,
    ),
)
