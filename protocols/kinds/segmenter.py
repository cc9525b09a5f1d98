"""The kind of semantic segmenters: a fully convolutional head on a dilated ResNet-50, both trained end to end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Recipe, Room, Task
from twinbench.protocols.kinds.forms import Takes
from twinbench.protocols.ranges import (
    CHANCE,
    COUNT,
    COUNT_OR_NONE,
    FROM_0,
    JITTER,
    MOMENTUM,
    RISING,
    SIDE,
    SIDE_OR_NONE,
)

STAGES = 4  # of a ResNet: res2 to res5
DILATIONS = COUNT.of_each(f"{STAGES} whole numbers of at least 1, one a stage, for example 1,1,2,4")

Norm = Literal["naiveSyncBN", "SyncBN", "BN", "FrozenBN"]
Schedule = Literal["poly", "steps"]
TestMode = Literal["whole", "slide", "center"]


@dataclass(frozen=True, kw_only=True)
class SegmentationRecipe(Recipe):
    """Semantic segmentation, a class a pixel, by FCN (Long et al., arXiv:1411.4038) on Detectron2's ResNet-50.

    Images and labels are resized, cropped, flipped, distorted, normalised and padded, in this order; pixels that are
    padded, and those without a label, are no pixels of the loss.
    """

    kind: ClassVar[str] = "segmenter"
    room: ClassVar[Room] = "detection"
    measured_by: ClassVar[str] = "detection.trial:measure"
    later: ClassVar[tuple[str, ...]] = ("accumulate",)

    dilations: Annotated[tuple[int, ...], DILATIONS]  # of res2 to res5; above 1 the stage keeps its input's size
    contract_dilation: bool  # the first block of a dilated stage has half of the dilation
    norm: Norm  # of backbone and heads
    head_convs: Annotated[int, COUNT]  # 3 x 3, on res5
    head_channels: Annotated[int, COUNT]
    head_dilation: Annotated[int, COUNT]
    head_concat: bool  # one more 3 x 3, over res5 and the convolutions' output side by side
    dropout: Annotated[float, MOMENTUM]  # of whole channels, before each head's last 1 x 1
    aux_weight: Annotated[float, FROM_0]  # of the loss of a second head, one 3 x 3 on res4; 0: there is none
    aux_channels: Annotated[int, COUNT]
    align_corners: bool  # of scores that are resized
    loss_mean: Literal["all", "labelled"]  # which pixels the summed cross-entropy is divided by
    batch_size: Annotated[int, COUNT]  # global
    lr: Annotated[float, FROM_0]
    schedule: Schedule
    poly_power: Annotated[float, FROM_0]  # lr_end + (lr - lr_end) * (1 - iteration / iterations) ** poly_power
    lr_end: Annotated[float, FROM_0]  # of poly
    steps: Annotated[tuple[int, ...], RISING]  # of steps: iterations at which the rate falls to a tenth
    iterations: Annotated[int, COUNT]
    momentum: Annotated[float, MOMENTUM]
    weight_decay: Annotated[float, FROM_0]
    norm_weight_decay: Annotated[float, FROM_0]  # of the norms' weights and biases
    long_side: Annotated[int, SIDE_OR_NONE]  # images are resized to fit into long x short; 0: they keep their size
    short_side: Annotated[int, SIDE_OR_NONE]
    scale: Annotated[tuple[float, ...], JITTER]  # in training that size times a number from here
    crop: Annotated[int, SIDE]  # side of the training images
    cat_max_ratio: Annotated[float, CHANCE]  # a crop with more than this of one class is drawn anew, 10 times; 1: never
    flip: Annotated[float, CHANCE]
    distortion: bool  # brightness, contrast, saturation and hue at random (SSD's, arXiv:1512.02325)
    test_mode: TestMode  # the image at once, in windows whose scores are averaged, or its centre alone
    test_crop: Annotated[int, SIDE_OR_NONE]  # side of the windows, or of the centre
    test_stride: Annotated[int, COUNT_OR_NONE]  # of the windows
    precision: Literal["fp32", "tf32", "fp16", "bf16"]  # of the network; the last two by autocast
    accumulate: Annotated[int, COUNT] = 1  # parts of each process's batch, one after the other

    @property
    def tasks(self) -> tuple[Task, ...]:
        """It learns a class a pixel."""
        return ("pixels",)

    def metrics(self) -> tuple[str, ...]:
        """Return accuracy over pixels, its mean over classes, and the mean IoU: the headline."""
        return ("aAcc", "mAcc", "mIoU")

    def rules(self) -> Iterator[tuple[str, str]]:
        """What belongs to one another."""
        if len(self.dilations) != STAGES:
            yield "dilations", DILATIONS.words
        if bool(self.long_side) != bool(self.short_side) or self.long_side < self.short_side:
            yield "long_side", f"0 as short_side is, or at least short_side={self.short_side}"
        if len(self.scale) != 2:
            yield "scale", "the least and the largest scale, for example 0.5,2"
        if (self.schedule == "steps") != bool(self.steps):
            yield "steps", "rising whole numbers with schedule=steps, and else none"
        if self.schedule == "poly" and self.lr_end > self.lr:
            yield "lr_end", f"at most lr={self.lr}"
        if self.test_mode == "center" and self.long_side:
            yield "test_mode", f"whole or slide, where long_side={self.long_side}: only a whole image is resized back"
        if (self.test_mode == "whole") != (self.test_crop == 0):
            yield "test_crop", "0 with test_mode=whole, and else a number of pixels"
        if self.test_mode == "slide" and not 0 < self.test_stride <= self.test_crop:
            yield "test_stride", f"1 to test_crop={self.test_crop}, or pixels would have no score"
        if self.test_mode != "slide" and self.test_stride:
            yield "test_stride", f"0 with test_mode={self.test_mode}"

    @property
    def takes(self) -> Takes:
        """The stages of a ResNet-50, whose strides and dilations it sets."""
        return "detector"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of iterations."""
        return "iteration", self.iterations

    @property
    def megabytes(self) -> float:
        """The backbone, and it once more with the heads."""
        return 300.0

    @property
    def passing_megabytes(self) -> float:
        """Two checkpoints of backbone and heads with their momentum."""
        return 790.0
