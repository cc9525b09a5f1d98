"""The detection and segmentation protocols, each constant beside its source.

Sources, abbreviated: BT = Barlow Twins, arXiv:2103.03230, appendix C.2; MoCo = facebookresearch/moco detection/ at
3402035; D2 = Detectron2's defaults (config/defaults.py) or its named yaml.
"""

from dataclasses import replace

from protocols.schema import DetectionRecipe, Protocol

VOC_C4 = DetectionRecipe(
    architecture="frcnn-c4",
    norm="naiveSyncBN",  # MoCo Base-RCNN-C4-BN.yaml since November 2020; BT C.2 says SyncBN
    extra_norm=True,  # MoCo Res5ROIHeadsExtraNorm
    freeze_at=0,  # MoCo Base-RCNN-C4-BN.yaml
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
)
COCO_C4_1X = replace(
    VOC_C4,
    architecture="mrcnn-c4",
    lr=0.03,  # BT C.2
    warmup_factor=1e-3,  # D2: BT C.2 says "all other hyperparameters as in Detectron2"
    warmup_iterations=1000,  # D2
    steps=(60_000, 80_000),  # D2 mask_rcnn_R_50_C4_1x.yaml
    iterations=90_000,  # D2 mask_rcnn_R_50_C4_1x.yaml
    min_size_train=(640, 672, 704, 736, 768, 800),  # MoCo coco_R_50_C4_2x.yaml, D2
)

PROTOCOLS = (
    Protocol(
        name="voc0712-frcnn-c4",
        version=1,
        task="VOC07+12 detection, Faster R-CNN R50-C4, 24k iterations",
        room="detection",
        data="voc",
        classes=20,
        images=(16_551, 4952),  # VOC2007 + VOC2012 trainval, VOC2007 test
        metric="AP",
        selected_on="nothing: the last iteration is reported",
        trials=5,  # MoCo detection/README.md: mean of 5 trials
        source="BT C.2 on MoCo's Base-RCNN-C4-BN.yaml",
        recipe=VOC_C4,
        published_as="voc0712_det_c4",
    ),
    Protocol(
        name="coco-mrcnn-c4-1x",
        version=1,
        task="COCO detection and segmentation, Mask R-CNN R50-C4, 1x",
        room="detection",
        data="coco",
        classes=80,
        images=(118_287, 5000),
        metric="box-AP",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="BT C.2 on D2 mask_rcnn_R_50_C4_1x.yaml; norm and extra norm as MoCo's (the paper leaves them open)",
        recipe=COCO_C4_1X,
        published_as="coco_det_c4_1x",
        also=("mask-AP",),
    ),
)
