"""The kind of linear segmentation: a class a pixel, by a 1 x 1 convolution on the maps of a frozen backbone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Precision, Recipe, Room, Task
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
DILATIONS = COUNT.of_each(
    f"{STAGES} whole numbers of at least 1, one a stage, for example 1,1,2,4; or nothing", empty=True
)
BETAS = MOMENTUM.of_each("two numbers of at least 0 and below 1")

Norm = Literal["none", "before-dropout", "after-dropout"]
Shape = Literal["fit", "short", "squash"]
TrainCrop = Literal["scaled", "resized"]
Backend = Literal["opencv", "pillow"]
Distortion = Literal["none", "opencv", "torchvision"]
Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["poly", "one-cycle", "steps"]
TestMode = Literal["whole", "slide"]
Padding = Literal[
    "end",  # below and to the right; scores of it are cut off
    "around",  # half of it on each side; scores are enlarged as if the image had none of it
]


@dataclass(frozen=True, kw_only=True)
class LinearSegmenterRecipe(Recipe):
    """Linear segmentation of a frozen backbone.

    Images and labels are resized, cropped, flipped, distorted, normalised and padded, in this order; pixels that are
    padded, and those without a label, are no pixels of the loss.
    """

    kind: ClassVar[str] = "linear-segmenter"
    room: ClassVar[Room] = "dense"
    measured_by: ClassVar[str] = "dense.linear.trial:measure_linear"
    later: ClassVar[tuple[str, ...]] = ("padding",)

    blocks: Annotated[int, COUNT]  # last blocks, or stages, whose maps lie side by side, at the size of the first
    dilations: Annotated[tuple[int, ...], DILATIONS]  # of a ResNet's stages; above 1 one keeps its input's size
    norm: Norm  # a batch norm over all images of a step
    dropout: Annotated[float, MOMENTUM]  # of whole channels
    head_init_std: Annotated[float, FROM_0]  # of a normal distribution, bias 0; 0: PyTorch's own draw, bias too
    # side to which maps, and labels by the nearest pixel, are resized; 0: scores are resized to the labels' size
    grid: Annotated[int, SIDE_OR_NONE]
    loss_mean: Literal["all", "labelled"]  # which pixels the summed cross-entropy is divided by
    optimizer: Optimizer
    momentum: Annotated[float, MOMENTUM]  # sgd
    betas: Annotated[tuple[float, ...], BETAS]  # adamw
    weight_decay: Annotated[float, FROM_0]
    lr: Annotated[float, FROM_0]
    schedule: Schedule  # poly: lr_end + (lr - lr_end) (1 - i / iterations)^power; one-cycle: half a cosine to 0
    poly_power: Annotated[float, FROM_0]
    lr_end: Annotated[float, FROM_0]  # of poly
    steps: Annotated[tuple[int, ...], RISING]  # iterations at which the rate falls to a tenth
    warmup_iterations: Annotated[int, COUNT_OR_NONE]  # rising to what the schedule says, from warmup_ratio of it
    warmup_ratio: Annotated[float, CHANCE]
    batch_size: Annotated[int, COUNT]  # global
    iterations: Annotated[int, COUNT]
    shape: Shape  # fit: into long_side x short_side; short: the short side is short_side; squash: both sides are
    backend: Backend  # that resizes: OpenCV's bilinear, or Pillow's, antialiased
    long_side: Annotated[int, SIDE_OR_NONE]  # of fit
    short_side: Annotated[int, SIDE]
    train_crop: TrainCrop  # scaled: that size times a number from `scale`, and a crop of it; resized: a part of the
    # image, of an area from `scale`, at a ratio of sides from 3/4 to 4/3, resized to the crop
    scale: Annotated[tuple[float, ...], JITTER]
    crop: Annotated[int, SIDE]  # side of the training images
    cat_max_ratio: Annotated[float, CHANCE]  # a crop with more than this of one class is drawn anew, 10 times; 1: never
    flip: Annotated[float, CHANCE]
    distortion: Distortion  # brightness, contrast, saturation, hue: MMSegmentation's, or with torchvision's last two
    test_mode: TestMode  # the image at once, or in windows whose scores are averaged
    test_crop: Annotated[int, SIDE_OR_NONE]  # side of the windows
    test_stride: Annotated[int, COUNT_OR_NONE]  # of the windows
    precision: Precision = "fp32"  # of the network; the head is float32
    padding: Padding = "end"  # of images, to whole patches of a transformer

    @property
    def tasks(self) -> tuple[Task, ...]:
        """It learns a class a pixel."""
        return ("pixels",)

    def metrics(self) -> tuple[str, ...]:
        """Return accuracy over pixels, its mean over classes, and the mean IoU: the headline."""
        return ("aAcc", "mAcc", "mIoU")

    def rules(self) -> Iterator[tuple[str, str]]:
        """What belongs to one another."""
        if self.dilations and len(self.dilations) != STAGES:
            yield "dilations", DILATIONS.words
        if len(self.betas) != 2:
            yield "betas", BETAS.words
        if (self.shape == "fit") != bool(self.long_side):
            yield "long_side", "a number of pixels with shape=fit, and else 0"
        if len(self.scale) != 2:
            yield "scale", "the least and the largest scale, for example 0.5,2"
        if self.train_crop == "resized" and max(self.scale) > 1:
            yield "scale", "the least and the largest part of the image's area with train_crop=resized, both up to 1"
        if (self.schedule == "steps") != bool(self.steps):
            yield "steps", "rising whole numbers with schedule=steps, and else none"
        if self.schedule == "poly" and self.lr_end > self.lr:
            yield "lr_end", f"at most lr={self.lr}"
        if (self.test_mode == "whole") != (self.test_crop == 0):
            yield "test_crop", "0 with test_mode=whole, and else a number of pixels"
        if self.test_mode == "slide" and not 0 < self.test_stride <= self.test_crop:
            yield "test_stride", f"1 to test_crop={self.test_crop}, or pixels would have no score"
        if self.test_mode == "whole" and self.test_stride:
            yield "test_stride", "0 with test_mode=whole"

    @property
    def takes(self) -> Takes:
        """The places of the last block or stage; of several stages, or dilated ones, their maps."""
        return "maps" if self.dilations else "patches"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of iterations."""
        return "iteration", self.iterations

    @property
    def passing_megabytes(self) -> float:
        """A head and what its optimizer keeps."""
        return 20.0
