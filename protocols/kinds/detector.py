"""The kind of detectors: a Detectron2 schedule."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Recipe, Room, Task
from twinbench.protocols.kinds.forms import Takes
from twinbench.protocols.ranges import (
    ABOVE_0,
    ANCHORS,
    CHANCE,
    COUNT,
    COUNT_OR_NONE,
    FROM_0,
    JITTER,
    MOMENTUM,
    RISING,
    SIDE,
    STAGE,
    TRAIN_SIDES,
)

Evaluator = Literal["hotcoco", "faster-coco-eval", "pycocotools"]  # of COCO's AP, to the same numbers: in no recipe
Architecture = Literal[
    "frcnn-c4",
    "mrcnn-c4",
    "frcnn-fpn",
    "mrcnn-fpn",
    "krcnn-fpn",
    "cascade-mrcnn-fpn",
    "retinanet",
    "mrcnn-vitdet",
    "cascade-mrcnn-vitdet",
]
LEVELS = 5  # of a feature pyramid, p2 to p6 or p3 to p7


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe(Recipe):
    """A Detectron2 schedule. Each field is written to the key of Detectron2's configuration named beside it."""

    kind: ClassVar[str] = "detector"
    room: ClassVar[Room] = "detection"
    measured_by: ClassVar[str] = "detection.trial:measure"
    later: ClassVar[tuple[str, ...]] = (
        "gamma",
        "optimizer",
        "layer_decay",
        "drop_path",
        "accumulate",
        "augmentation",
        "jitter",
        "keep_empty",
        "repeat_threshold",
        "rpn_post_nms_train",
        "rpn_convs",
        "box_head",
        "head_norm",
        "box_smooth_l1_beta",
        "score_threshold",
        "detections_per_image",
    )

    architecture: Architecture
    norm: Literal["naiveSyncBN", "SyncBN", "BN", "FrozenBN", "LN"]  # MODEL.RESNETS.NORM, FPN.NORM; LN: ViTDet's
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
    precision: Literal["fp32", "tf32", "fp16", "bf16"]  # of the network; the last two by autocast (SOLVER.AMP)

    gamma: Annotated[float, ABOVE_0] = 0.1  # SOLVER.GAMMA
    optimizer: Literal["sgd", "adamw"] = "sgd"
    layer_decay: Annotated[float, ABOVE_0] = 1.0  # of the rate, from each block of a transformer to the one below
    drop_path: Annotated[float, MOMENTUM] = 0.0  # of a transformer's last block; rises linearly from 0
    accumulate: Annotated[int, COUNT] = 1  # parts of each process's batch, one after the other
    augmentation: Literal["short-side", "large-scale-jitter"] = "short-side"  # both flip
    jitter: Annotated[tuple[float, ...], JITTER] = ()  # least and largest scale of large-scale-jitter
    keep_empty: bool = False  # train on images without an object, too: DATALOADER.FILTER_EMPTY_ANNOTATIONS false
    repeat_threshold: Annotated[float, CHANCE] = 0.0  # DATALOADER.REPEAT_THRESHOLD; above 0 rare classes are repeated
    rpn_post_nms_train: Annotated[int, COUNT_OR_NONE] = 0  # MODEL.RPN.POST_NMS_TOPK_TRAIN; 0: the base model's
    rpn_convs: Annotated[int, COUNT] = 1  # of the RPN's head, MODEL.RPN.CONV_DIMS
    box_head: Literal["fc2", "conv4-fc1"] = "fc2"  # of FPN: MODEL.ROI_BOX_HEAD.NUM_CONV and NUM_FC
    head_norm: Literal["", "LN", "SyncBN", "GN"] = ""  # of the box and mask heads' convolutions
    box_smooth_l1_beta: Annotated[float, FROM_0] = 0.0  # MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA
    score_threshold: Annotated[float, CHANCE] = 0.05  # MODEL.ROI_HEADS.SCORE_THRESH_TEST
    detections_per_image: Annotated[int, COUNT] = 100  # TEST.DETECTIONS_PER_IMAGE

    @property
    def measures(self) -> tuple[str, ...]:
        """What it predicts beside classes: `box`, and `mask` or `keypoint`."""
        if "mrcnn" in self.architecture:
            return ("box", "mask")
        return ("box", "keypoint") if self.architecture.startswith("krcnn") else ("box",)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Mask R-CNN needs masks, Keypoint R-CNN keypoints; the others take the boxes of any such data."""
        by_measure: dict[str, tuple[Task, ...]] = {"mask": ("masks",), "keypoint": ("keypoints",)}
        return by_measure.get(self.measures[-1], ("boxes", "masks", "keypoints"))

    def metrics(self) -> tuple[str, ...]:
        """Return the APs, plainly called so where there are those of boxes alone; the headline last."""
        names = ("AP75", "AP50", "AP")
        if self.measures == ("box",):
            return names
        return tuple(f"{measure}-{name}" for measure in reversed(self.measures) for name in names)

    def rules(self) -> Iterator[tuple[str, str]]:
        """What a pyramid's heads lack, and what belongs to one another."""
        if self.extra_norm and not self.architecture.endswith("-c4"):
            yield "extra_norm", f"false where architecture={self.architecture}: its heads have no res5"
        if not self.architecture.endswith("-c4") and len(self.anchor_sizes) != LEVELS:
            yield "anchor_sizes", f"{LEVELS} sizes, one a level of the feature pyramid"
        if (self.augmentation == "large-scale-jitter") != (len(self.jitter) == 2):
            yield "jitter", "two scales, for example 0.1,2, with augmentation=large-scale-jitter, and else none"
        is_plain = self.architecture.endswith("-vitdet")
        if self.layer_decay != 1 and self.optimizer == "sgd":
            yield "layer_decay", "1 where optimizer=sgd"
        if self.layer_decay != 1 and not is_plain:  # it counts a plain transformer's blocks, which no other network has
            yield (
                "layer_decay",
                f"1 where architecture={self.architecture}: only a plain transformer has the blocks that it counts",
            )
        if is_plain != (self.norm == "LN"):
            yield "norm", f"{'LN' if is_plain else 'another one'} where architecture={self.architecture}"
        has_heads = not self.architecture.endswith("-c4") and self.architecture != "retinanet"
        if self.box_head != "fc2" and not has_heads:
            yield "box_head", f"fc2 where architecture={self.architecture}: it has no such head"
        if self.head_norm and not has_heads:
            yield "head_norm", f"none where architecture={self.architecture}: its heads have no such convolutions"

    @property
    def takes(self) -> Takes:
        """C4's box head is the ResNet-50's last stage; a pyramid stands on any maps, ViTDet's on a plain ViT."""
        if self.architecture.endswith("-c4"):
            return "detector"
        return "plain" if self.architecture.endswith("-vitdet") else "maps"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of iterations."""
        return "iteration", self.iterations

    @property
    def megabytes(self) -> float:
        """Two checkpoints of a C4 detector with its momentum."""
        return 701.0
