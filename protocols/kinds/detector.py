"""The kind of detectors: a Detectron2 schedule."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Recipe, Room, Takes, Task
from twinbench.protocols.ranges import (
    ANCHORS,
    COUNT,
    COUNT_OR_NONE,
    FROM_0,
    MOMENTUM,
    RISING,
    SIDE,
    STAGE,
    TRAIN_SIDES,
)

Evaluator = Literal["pycocotools", "faster-coco-eval"]  # of COCO's AP, to the same numbers: no part of a recipe


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe(Recipe):
    """A Detectron2 schedule. Each field is written to the key of Detectron2's configuration named beside it."""

    kind: ClassVar[str] = "detector"
    room: ClassVar[Room] = "detection"
    measured_by: ClassVar[str] = "detection.trial:measure"

    architecture: Literal["frcnn-c4", "mrcnn-c4", "mrcnn-fpn"]
    norm: Literal["naiveSyncBN", "SyncBN", "BN", "FrozenBN"]  # MODEL.RESNETS.NORM (and FPN.NORM)
    extra_norm: bool  # a norm layer after res5 in the C4 box head (MoCo's Res5ROIHeadsExtraNorm)
    freeze_at: Annotated[int, STAGE]  # MODEL.BACKBONE.FREEZE_AT
    batch_size: Annotated[int, COUNT]  # SOLVER.IMS_PER_BATCH, global
    lr: Annotated[float, FROM_0]  # SOLVER.BASE_LR
    warmup_iterations: Annotated[int, COUNT_OR_NONE]  # SOLVER.WARMUP_ITERS
    warmup_factor: Annotated[float, FROM_0]  # SOLVER.WARMUP_FACTOR
    steps: Annotated[tuple[int, ...], RISING]  # SOLVER.STEPS
    iterations: Annotated[int, COUNT]  # SOLVER.MAX_ITER
    momentum: Annotated[float, MOMENTUM]  # SOLVER.MOMENTUM
    weight_decay: Annotated[float, FROM_0]  # SOLVER.WEIGHT_DECAY
    min_size_train: Annotated[tuple[int, ...], TRAIN_SIDES]  # INPUT.MIN_SIZE_TRAIN
    min_size_test: Annotated[int, SIDE]  # INPUT.MIN_SIZE_TEST
    max_size: Annotated[int, COUNT]  # INPUT.MAX_SIZE_TRAIN and MAX_SIZE_TEST
    anchor_sizes: Annotated[tuple[int, ...], ANCHORS]  # MODEL.ANCHOR_GENERATOR.SIZES
    rpn_pre_nms_test: Annotated[int, COUNT]  # MODEL.RPN.PRE_NMS_TOPK_TEST
    rpn_post_nms_test: Annotated[int, COUNT]  # MODEL.RPN.POST_NMS_TOPK_TEST
    rpn_loss_weight: Annotated[float, FROM_0]  # MODEL.RPN.LOSS_WEIGHT
    rois_per_image: Annotated[int, COUNT]  # MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE
    roi_resolution: Annotated[int, COUNT]  # MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
    precise_bn_iterations: Annotated[int, COUNT_OR_NONE]  # TEST.PRECISE_BN.NUM_ITER; 0: off
    precision: Literal["fp32", "tf32"]  # of the network in training and at test: no key, see runtime/precision.py

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Mask R-CNN needs masks; Faster R-CNN takes the boxes of data with masks, too."""
        return ("masks",) if self.architecture.startswith("mrcnn") else ("boxes", "masks")

    def metrics(self) -> tuple[str, ...]:
        """Return the APs of its evaluator's style: VOC's for boxes alone, COCO's beside masks."""
        if self.architecture.startswith("mrcnn"):
            masks = ("mask-AP75", "mask-AP50", "mask-AP")
            return (*masks, "box-AP75", "box-AP50", "box-AP")
        return ("AP75", "AP50", "AP")

    def rules(self) -> Iterator[tuple[str, str]]:
        """A pyramid's heads hold no res5."""
        if self.extra_norm and self.architecture == "mrcnn-fpn":
            yield "extra_norm", "false where architecture=mrcnn-fpn: its heads have no res5"

    @property
    def takes(self) -> Takes:
        """The trunk becomes Detectron2's."""
        return "detector"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of iterations."""
        return "iteration", self.iterations

    @property
    def megabytes(self) -> float:
        """Two checkpoints of a C4 detector with its momentum."""
        return 701.0
