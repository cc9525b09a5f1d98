"""Faster and Mask R-CNN on C4, the last stage of the ResNet as box head: Barlow Twins', MoCo's and VICReg's recipes.

The plain name of a benchmark is the recipe of Barlow Twins where the paper has one; a name with `-moco` or `-vicreg`
is the same benchmark by another book of recipes, and `-frozen` keeps the backbone as it came. SimSiam searched the rate
for each method (its issue 26): say it with `--set lr=...`, which is recorded.

Version 2 (November 2026): Barlow Twins' VOC recipe has SyncBN, as its source says, where version 1 had MoCo's
naiveSyncBN; and float32 is exact on GPUs, where version 1 let cuDNN take TF32 unsaid.

naiveSyncBN is not SyncBN. Both normalise by statistics of all processes, but SyncBN by those of all pixels, naiveSyncBN
by the mean of the processes' own statistics. On batches of one shape these are the same numbers; detection's images
have many, so each process's pixels weigh otherwise. naiveSyncBN also takes the variance as E[x^2] - E[x]^2, less exact
in float32, and keeps the biased one as running average (n / (n - 1) apart). On one process both are plain batch norm.
MoCo's file said SyncBN until November 2020, and VISSL's copy of it still does; up to PyTorch 1.5 that was Detectron2's
word for the naive one. When it became PyTorch's own, MoCo wrote "SyncBN seems to cause larger variance for unknown
reasons" and named the naive one.

"""

from dataclasses import replace

from twinbench.protocols.datasets import COCO17, VOC0712
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.schema import Protocol

VOC_C4 = DetectionRecipe(
    architecture="frcnn-c4",
    norm="SyncBN",  # BT C.2; VISSL voc0712/mocoV2 rn50 yaml, below simclr_swav, which has the paper's rate and warm-up
    extra_norm=True,  # MoCo Res5ROIHeadsExtraNorm; the VISSL yaml
    freeze_at=0,  # MoCo Base-RCNN-C4-BN.yaml; the VISSL yaml
    batch_size=16,  # BT C.2, D2
    lr=0.1,  # BT C.2
    warmup_iterations=1000,  # BT C.2
    warmup_factor=0.333,  # BT C.2, "slope"
    steps=(18_000, 22_000),  # BT C.2, MoCo pascal_voc_R_50_C4_24k.yaml
    iterations=24_000,  # BT C.2, MoCo
    momentum=0.9,  # D2
    weight_decay=1e-4,  # D2
    min_size_train=(480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),  # MoCo, D2 PascalVOC yaml
    min_size_test=800,  # MoCo
    max_size=1333,  # D2
    anchor_sizes=(32, 64, 128, 256, 512),  # D2
    rpn_pre_nms_test=6000,  # MoCo Base-RCNN-C4-BN.yaml
    rpn_post_nms_test=1000,  # MoCo Base-RCNN-C4-BN.yaml
    rpn_loss_weight=1.0,  # D2
    rois_per_image=512,  # D2
    roi_resolution=14,  # D2
    precise_bn_iterations=200,  # MoCo: PRECISE_BN enabled; D2: 200 iterations
    precision="fp32",  # D2: SOLVER.AMP off, and MODEL_ZOO.md's 8 V100s have no TF32; no source says anything else
    gamma=0.1,  # D2
    optimizer="sgd",  # D2 solver/build.py
    layer_decay=1.0,  # D2: one rate for all layers
    drop_path=0.0,  # D2: a ResNet leaves no block out
    accumulate=1,  # D2: a step for each batch
    augmentation="short-side",  # D2
    jitter=(),  # D2: none
    keep_empty=False,  # D2: FILTER_EMPTY_ANNOTATIONS
    repeat_threshold=0.0,  # D2: nothing is repeated
    rpn_post_nms_train=0,  # D2: 2000, and 1000 in Base-RCNN-FPN.yaml
    rpn_convs=1,  # D2
    box_head="fc2",  # D2 Base-RCNN-FPN.yaml; of a pyramid only
    head_norm="",  # D2
    box_smooth_l1_beta=0.0,  # D2
    score_threshold=0.05,  # D2
    detections_per_image=100,  # D2
)
VOC_C4_MOCO = replace(
    VOC_C4,
    norm="naiveSyncBN",  # MoCo Base-RCNN-C4-BN.yaml since d00ef73, November 2020; SyncBN before
    lr=0.02,  # MoCo pascal_voc_R_50_C4_24k.yaml, D2's default for 16 images
    warmup_iterations=100,  # MoCo pascal_voc_R_50_C4_24k.yaml
    warmup_factor=1e-3,  # D2
)
COCO_C4_1X = replace(
    VOC_C4,
    architecture="mrcnn-c4",
    norm="naiveSyncBN",  # MoCo Base-RCNN-C4-BN.yaml; BT C.2 leaves norm and extra norm open on COCO
    lr=0.03,  # BT C.2
    warmup_factor=1e-3,  # D2: BT C.2 says "all other hyperparameters as in Detectron2"
    warmup_iterations=1000,  # D2
    steps=(60_000, 80_000),  # D2 mask_rcnn_R_50_C4_1x.yaml
    iterations=90_000,  # D2 mask_rcnn_R_50_C4_1x.yaml
    min_size_train=(640, 672, 704, 736, 768, 800),  # MoCo coco_R_50_C4_2x.yaml, D2
)
COCO_C4_1X_MOCO = replace(
    COCO_C4_1X,
    lr=0.02,  # MoCo coco_R_50_C4_2x.yaml, which leaves D2's default; MoCo ships no 1x file
)
COCO_C4_2X = replace(
    COCO_C4_1X_MOCO,
    steps=(120_000, 160_000),  # MoCo coco_R_50_C4_2x.yaml
    iterations=180_000,  # MoCo coco_R_50_C4_2x.yaml
)
VOC_C4_FROZEN = replace(
    VOC_C4_MOCO,
    freeze_at=4,  # stem to res4: all of the backbone that C4 has; res5 is the box head and is trained
)

PROTOCOLS = (
    Protocol(
        name="voc0712-frcnn-c4",
        version=2,
        title="VOC07+12 detection, Faster R-CNN R50-C4, 24k iterations",
        data_set=VOC0712,
        metric="AP",
        selected_on="nothing: the last iteration is reported",
        trials=5,  # MoCo detection/README.md: mean of 5 trials
        source="BT C.2; what it leaves open, as VISSL's voc0712/simclr_swav and MoCo's Base-RCNN-C4-BN.yaml",
        recipe=VOC_C4,
        published_as="voc0712_det_c4",
    ),
    Protocol(
        name="coco-mrcnn-c4-1x",
        version=2,
        title="COCO detection and segmentation, Mask R-CNN R50-C4, 1x",
        data_set=COCO17,
        metric="box-AP",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="BT C.2 on D2 mask_rcnn_R_50_C4_1x.yaml; norm and extra norm as MoCo's (the paper leaves them open)",
        recipe=COCO_C4_1X,
        published_as="coco_det_c4_1x",
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-c4-2x",
        version=2,
        title="COCO detection and segmentation, Mask R-CNN R50-C4, 2x",
        data_set=COCO17,
        metric="box-AP",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="MoCo coco_R_50_C4_2x_moco.yaml",
        recipe=COCO_C4_2X,
        published_as="coco_det_c4_2x",
        also=("mask-AP",),
    ),
    Protocol(
        name="voc0712-frcnn-c4-moco",
        version=2,
        title="VOC07+12 detection, Faster R-CNN R50-C4, 24k iterations, MoCo's rate",
        data_set=VOC0712,
        metric="AP",
        selected_on="nothing: the last iteration is reported",
        trials=5,
        source="MoCo pascal_voc_R_50_C4_24k_moco.yaml",
        recipe=VOC_C4_MOCO,
        published_as="voc0712_det_c4_moco",
    ),
    Protocol(
        name="voc0712-frcnn-c4-vicreg",
        version=2,
        title="VOC07+12 detection, Faster R-CNN R50-C4, 24k iterations, VICReg's RPN weight",
        data_set=VOC0712,
        metric="AP",
        selected_on="nothing: the last iteration is reported",
        trials=5,
        source="VICReg C.3",
        recipe=replace(
            VOC_C4,
            rpn_loss_weight=0.2,  # VICReg C.3
        ),
    ),
    Protocol(
        name="voc0712-frcnn-c4-frozen",
        version=2,
        title="VOC07+12 detection, Faster R-CNN R50-C4, 24k iterations, backbone frozen",
        data_set=VOC0712,
        metric="AP",
        selected_on="nothing: the last iteration is reported",
        trials=5,
        source="voc0712-frcnn-c4-moco with MODEL.BACKBONE.FREEZE_AT 4",
        recipe=VOC_C4_FROZEN,
    ),
    Protocol(
        name="coco-mrcnn-c4-1x-moco",
        version=2,
        title="COCO detection and segmentation, Mask R-CNN R50-C4, 1x, MoCo's rate",
        data_set=COCO17,
        metric="box-AP",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="MoCo coco_R_50_C4_2x_moco.yaml with D2's 1x schedule",
        recipe=COCO_C4_1X_MOCO,
        also=("mask-AP",),
    ),
)
