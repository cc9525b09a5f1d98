"""Detectors on a feature pyramid: Mask, Faster, Keypoint and Cascade Mask R-CNN, and RetinaNet.

MoCo's files for pyramids were never published. Its issues 34 and 39 say what they hold, and MMSelfSup
(configs/benchmarks/detectron2/ at db861f3) has ported the whole book: these files of Detectron2's, with norms that are
trained and synchronised in backbone and pyramid, precise batch norm, and the heads left as they are. PyContrast's
(pycontrast/detection/configs/ at 48dbf2f) have four convolutions in the box head, and norms in both heads.
"""

from dataclasses import replace

from twinbench.protocols.datasets import COCO17, COCO17_KEYPOINTS
from twinbench.protocols.detection.c4 import COCO_C4_1X_MOCO
from twinbench.protocols.schema import Protocol

COCO_FPN_1X = replace(
    COCO_C4_1X_MOCO,
    architecture="mrcnn-fpn",  # D2 mask_rcnn_R_50_FPN_1x.yaml
    norm="SyncBN",  # MoCo issues 34 and 39: in backbone and FPN, while the heads stay as in D2
    extra_norm=False,  # FPN has no res5 in its heads
    lr=0.02,  # MoCo issue 39, D2
    rpn_pre_nms_test=1000,  # D2 Base-RCNN-FPN.yaml, on each level
    rpn_post_nms_test=1000,  # D2 Base-RCNN-FPN.yaml
    roi_resolution=7,  # D2 Base-RCNN-FPN.yaml
)
COCO_FPN_2X = replace(
    COCO_FPN_1X,
    steps=(120_000, 160_000),  # MMSelfSup coco_R_50_FPN_2x.yaml; D2 has 1x and 3x
    iterations=180_000,  # MMSelfSup coco_R_50_FPN_2x.yaml
)
COCO_FPN_1X_FROZEN = replace(
    COCO_FPN_1X,
    freeze_at=5,  # stem to res5
)
COCO_FPN_1X_PYCONTRAST = replace(
    COCO_FPN_1X,
    box_head="conv4-fc1",  # PyContrast R_50_FPN_1x.yaml: NUM_CONV 4, NUM_FC 1
    head_norm="SyncBN",  # PyContrast R_50_FPN_1x.yaml, in the box head and the mask head
)
COCO_FPN_2X_PYCONTRAST = replace(
    COCO_FPN_1X_PYCONTRAST,
    steps=(120_000, 160_000),  # PyContrast R_50_FPN_2x.yaml
    iterations=180_000,  # PyContrast R_50_FPN_2x.yaml
)
COCO_FRCNN_FPN_1X = replace(
    COCO_FPN_1X,
    architecture="frcnn-fpn",  # D2 faster_rcnn_R_50_FPN_1x.yaml: MASK_ON false, the rest as Base-RCNN-FPN.yaml
)
COCO_CASCADE_FPN_1X = replace(
    COCO_FPN_1X,
    architecture="cascade-mrcnn-fpn",  # D2 cascade_mask_rcnn_R_50_FPN_1x.yaml
    rpn_post_nms_train=2000,  # D2 cascade_mask_rcnn_R_50_FPN_1x.yaml
)
COCO_KEYPOINTS_FPN_2X = replace(
    COCO_FPN_2X,  # MMSelfSup keypoint_rcnn_R_50_FPN_2x.yaml: norms, schedule
    architecture="krcnn-fpn",  # MMSelfSup and D2, Base-Keypoint-RCNN-FPN.yaml
    box_smooth_l1_beta=0.5,  # MMSelfSup and D2, Base-Keypoint-RCNN-FPN.yaml
    rpn_post_nms_train=1500,  # MMSelfSup and D2, Base-Keypoint-RCNN-FPN.yaml
)
COCO_RETINANET_1X = replace(
    COCO_FPN_1X,  # MMSelfSup coco_R_50_RetinaNet_1x.yaml: norms; Base-RetinaNet.yaml: batch, steps, sizes
    architecture="retinanet",  # MMSelfSup and D2, Base-RetinaNet.yaml
    lr=0.01,  # MMSelfSup and D2, Base-RetinaNet.yaml
    rpn_pre_nms_test=6000,  # D2; RetinaNet proposes nothing, nor does it pool
    rpn_post_nms_test=1000,  # D2
    roi_resolution=14,  # D2
)
COCO_RETINANET_2X = replace(
    COCO_RETINANET_1X,
    steps=(120_000, 160_000),  # MMSelfSup coco_R_50_RetinaNet_2x.yaml
    iterations=180_000,  # MMSelfSup coco_R_50_RetinaNet_2x.yaml
)

LAST = "nothing: the last iteration is reported"

PROTOCOLS = (
    Protocol(
        name="coco-mrcnn-fpn-1x",
        version=2,
        title="COCO detection and segmentation, Mask R-CNN R50-FPN, 1x",
        data_set=COCO17,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source="MoCo issues 34 and 39 on D2 mask_rcnn_R_50_FPN_1x.yaml",
        recipe=COCO_FPN_1X,
        published_as="coco_det_fpn_1x",
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-2x",
        version=2,
        title="COCO detection and segmentation, Mask R-CNN R50-FPN, 2x",
        data_set=COCO17,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source="MMSelfSup coco_R_50_FPN_2x_moco.yaml, as MoCo issues 34 and 39",
        recipe=COCO_FPN_2X,
        published_as="coco_det_fpn_2x",
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-1x-vicreg",
        version=2,
        title="COCO detection and segmentation, Mask R-CNN R50-FPN, 1x, VICReg's rate",
        data_set=COCO17,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source="VICReg C.3; norms as MoCo issue 34 (the paper leaves them open)",
        recipe=replace(
            COCO_FPN_1X,
            lr=0.04,  # VICReg C.3
            warmup_iterations=50,  # VICReg C.3
        ),
        published_as="coco_det_fpn_1x_vicreg",
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-1x-frozen",
        version=2,
        title="COCO detection and segmentation, Mask R-CNN R50-FPN, 1x, backbone frozen",
        data_set=COCO17,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source="coco-mrcnn-fpn-1x with MODEL.BACKBONE.FREEZE_AT 5",
        recipe=COCO_FPN_1X_FROZEN,
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-1x-pycontrast",
        version=1,
        title="COCO detection and segmentation, Mask R-CNN R50-FPN, 1x, PyContrast's heads",
        data_set=COCO17,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source="PyContrast R_50_FPN_1x_infomin.yaml",
        recipe=COCO_FPN_1X_PYCONTRAST,
        published_as="coco_det_fpn_1x_pycontrast",
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-mrcnn-fpn-2x-pycontrast",
        version=1,
        title="COCO detection and segmentation, Mask R-CNN R50-FPN, 2x, PyContrast's heads",
        data_set=COCO17,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source="PyContrast R_50_FPN_2x_infomin.yaml",
        recipe=COCO_FPN_2X_PYCONTRAST,
        published_as="coco_det_fpn_2x_pycontrast",
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-frcnn-fpn-1x",
        version=1,
        title="COCO detection, Faster R-CNN R50-FPN, 1x",
        data_set=COCO17,
        metric="AP",
        selected_on=LAST,
        trials=1,
        source="D2 faster_rcnn_R_50_FPN_1x.yaml with the norms of MoCo's issues 34 and 39",
        recipe=COCO_FRCNN_FPN_1X,
    ),
    Protocol(
        name="coco-cascade-mrcnn-fpn-1x",
        version=1,
        title="COCO detection and segmentation, Cascade Mask R-CNN R50-FPN, 1x",
        data_set=COCO17,
        metric="box-AP",
        selected_on=LAST,
        trials=1,
        source="D2 cascade_mask_rcnn_R_50_FPN_1x.yaml with the norms of MoCo's issues 34 and 39",
        recipe=COCO_CASCADE_FPN_1X,
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-krcnn-fpn-2x",
        version=1,
        title="COCO keypoints, Keypoint R-CNN R50-FPN, 2x",
        data_set=COCO17_KEYPOINTS,
        metric="keypoint-AP",
        selected_on=LAST,
        trials=1,
        source="MMSelfSup keypoint_rcnn_R_50_FPN_2x_moco.yaml",
        recipe=COCO_KEYPOINTS_FPN_2X,
        also=("box-AP",),
    ),
    Protocol(
        name="coco-retinanet-1x",
        version=1,
        title="COCO detection, RetinaNet R50-FPN, 1x",
        data_set=COCO17,
        metric="AP",
        selected_on=LAST,
        trials=1,
        source="MMSelfSup coco_R_50_RetinaNet_1x_moco.yaml",
        recipe=COCO_RETINANET_1X,
    ),
    Protocol(
        name="coco-retinanet-2x",
        version=1,
        title="COCO detection, RetinaNet R50-FPN, 2x",
        data_set=COCO17,
        metric="AP",
        selected_on=LAST,
        trials=1,
        source="MMSelfSup coco_R_50_RetinaNet_2x_moco.yaml",
        recipe=COCO_RETINANET_2X,
    ),
)
