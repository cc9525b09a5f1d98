"""ViTDet: Mask R-CNN and Cascade Mask R-CNN on a plain vision transformer (Li et al. 2022, arXiv:2203.16527).

The recipe is Detectron2's own, projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py at 02b5c4e, for a ViT-B; what
its other sizes change is theirs: ViT-L has layer_decay 0.8 and drop_path 0.4. Its batch of 64 images of 1024 px is one
of many GPUs: on fewer, `--set accumulate=N` takes it in parts, as LayerNorm allows.
"""

from dataclasses import replace

from twinbench.protocols.datasets import COCO17
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.schema import Protocol

COCO_VITDET = DetectionRecipe(
    architecture="mrcnn-vitdet",  # mask_rcnn_vitdet_b_100ep.py
    norm="LN",  # configs/common/models/mask_rcnn_vitdet.py, of the pyramid; the transformer's are its own
    extra_norm=False,  # there is no res5
    freeze_at=0,  # nothing is frozen
    batch_size=64,  # coco_loader_lsj.py
    lr=1e-4,  # configs/common/optim.py, AdamW
    warmup_iterations=250,  # mask_rcnn_vitdet_b_100ep.py
    warmup_factor=0.001,  # mask_rcnn_vitdet_b_100ep.py
    steps=(163_889, 177_546),  # mask_rcnn_vitdet_b_100ep.py
    iterations=184_375,  # mask_rcnn_vitdet_b_100ep.py: 100 epochs
    momentum=0.9,  # configs/common/optim.py: AdamW's first beta
    weight_decay=0.1,  # configs/common/optim.py; none of norms and of positions
    min_size_train=(1024,),  # coco_loader_lsj.py: the side of its crop
    min_size_test=1024,  # coco_loader_lsj.py
    max_size=1024,  # coco_loader_lsj.py
    anchor_sizes=(32, 64, 128, 256, 512),  # configs/common/models/mask_rcnn_fpn.py, one on each level
    rpn_pre_nms_test=1000,  # mask_rcnn_fpn.py
    rpn_post_nms_test=1000,  # mask_rcnn_fpn.py
    rpn_loss_weight=1.0,  # D2
    rois_per_image=512,  # mask_rcnn_fpn.py
    roi_resolution=7,  # mask_rcnn_fpn.py
    precise_bn_iterations=0,  # it has no batch norm
    precision="fp16",  # mask_rcnn_vitdet_b_100ep.py: train.amp.enabled
    gamma=0.1,  # mask_rcnn_vitdet_b_100ep.py
    optimizer="adamw",  # mask_rcnn_vitdet_b_100ep.py
    layer_decay=0.7,  # mask_rcnn_vitdet_b_100ep.py
    drop_path=0.1,  # mask_rcnn_vitdet.py
    accumulate=1,  # D2: a step for each batch
    augmentation="large-scale-jitter",  # coco_loader_lsj.py
    jitter=(0.1, 2.0),  # coco_loader_lsj.py
    keep_empty=False,  # D2 get_detection_dataset_dicts
    repeat_threshold=0.0,  # D2: nothing is repeated
    rpn_post_nms_train=0,  # mask_rcnn_fpn.py: 1000, as in Base-RCNN-FPN.yaml
    rpn_convs=2,  # mask_rcnn_vitdet.py
    box_head="conv4-fc1",  # mask_rcnn_vitdet.py
    head_norm="LN",  # mask_rcnn_vitdet.py
    box_smooth_l1_beta=0.0,  # D2
    score_threshold=0.05,  # mask_rcnn_fpn.py
    detections_per_image=100,  # D2
)
COCO_CASCADE_VITDET = replace(
    COCO_VITDET,
    architecture="cascade-mrcnn-vitdet",  # cascade_mask_rcnn_vitdet_b_100ep.py
)

PROTOCOLS = (
    Protocol(
        name="coco-mrcnn-vitdet-100ep",
        version=1,
        title="COCO detection and segmentation, Mask R-CNN on a plain ViT-B (ViTDet), 100 epochs",
        data_set=COCO17,
        metric="box-AP",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="D2 projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py",
        recipe=COCO_VITDET,
        also=("mask-AP",),
    ),
    Protocol(
        name="coco-cascade-mrcnn-vitdet-100ep",
        version=1,
        title="COCO detection and segmentation, Cascade Mask R-CNN on a plain ViT-B (ViTDet), 100 epochs",
        data_set=COCO17,
        metric="box-AP",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="D2 projects/ViTDet/configs/COCO/cascade_mask_rcnn_vitdet_b_100ep.py",
        recipe=COCO_CASCADE_VITDET,
        also=("mask-AP",),
    ),
)
