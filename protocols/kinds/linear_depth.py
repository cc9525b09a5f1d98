"""The kind of linear depth: metres a pixel, by a 1 x 1 convolution on the maps of a frozen backbone."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import Takes
from twinbench.protocols.kinds.linear_segmenter import Padding
from twinbench.protocols.ranges import ABOVE_0, CHANCE, COUNT, COUNT_OR_NONE, FROM_0, MOMENTUM, SIDE, WAYS, Range

SIZE = SIDE.of_each("height and width in pixels, for example 416,544")
MOMENTA = MOMENTUM.of_each("two numbers of at least 0 and below 1")
FRAME = (480, 640)  # (height, width) of the frames that an area is said of
FACTORS = Range(
    lambda values: len(values) == 2 and 0 < values[0] <= values[1] < inf,
    "the least and the largest factor, for example 0.9,1.1",
)
AREA = COUNT_OR_NONE.of_each("top, bottom, left and right within a frame of 480 x 640, or nothing", empty=True)

Norm = Literal["none", "batch"]
Bins = Literal["linear", "log"]
Weights = Literal["linear", "softmax", "sigmoid"]


@dataclass(frozen=True, kw_only=True)
class LinearDepthRecipe(Recipe):
    """Depth of a frozen backbone, by weights of bins; a place's depth is the mean of the bins' depths.

    Images and maps are cut to an area, rotated, flipped, cropped, coloured, normalised and padded, in this order;
    pixels whose depth is not known are no pixels of the loss, nor of a metric.
    """

    kind: ClassVar[str] = "linear-depth"
    room: ClassVar[Room] = "dense"
    measured_by: ClassVar[str] = "dense.depth.trial:measure_depth"

    blocks: Annotated[int, COUNT]  # last blocks, or stages, whose maps lie side by side, at the size of the first
    padding: Padding  # of images, to whole patches of a transformer
    norm: Norm  # a batch norm over all images of a step
    head_init_std: Annotated[float, FROM_0]  # of a normal distribution, bias 0; 0: PyTorch's own draw, bias too
    bins: Annotated[int, WAYS]  # outputs of the convolution
    spacing: Bins  # of the bins' depths, from least_depth to most_depth
    weights: Weights  # linear: outputs above 0, and weight_floor, over their sum; the others, over their sum
    weight_floor: Annotated[float, FROM_0]
    least_depth: Annotated[float, ABOVE_0]  # metres; of bins, of predictions, and of pixels that are tested
    most_depth: Annotated[float, ABOVE_0]
    loss_images: Annotated[int, COUNT]  # of which one loss is, as on one GPU of the source; a step's is their mean
    # The root of the variance of log differences and `mean_weight` of their squared mean, from step loss_warmup on;
    # before it of that mean alone.
    mean_weight: Annotated[float, FROM_0]
    log_floor: Annotated[float, ABOVE_0]  # metres that are added before a logarithm
    loss_warmup: Annotated[int, COUNT_OR_NONE]
    lr: Annotated[float, FROM_0]  # AdamW
    lr_start: Annotated[float, CHANCE]  # of lr: to which a part that grows to the cosine is added while it warms up
    lr_end: Annotated[float, CHANCE]  # of lr: the end of the cosine
    warmup_iterations: Annotated[int, COUNT_OR_NONE]
    momenta: Annotated[tuple[float, ...], MOMENTA]  # AdamW's first beta: half a cosine after the warm-up, before it 0
    beta2: Annotated[float, MOMENTUM]
    weight_decay: Annotated[float, FROM_0]
    clip: Annotated[float, FROM_0]  # norm that the gradient is cut to; 0: none
    batch_size: Annotated[int, COUNT]  # global
    iterations: Annotated[int, COUNT]
    train_area: Annotated[tuple[int, ...], AREA]  # of a frame; of another size in proportion
    rotated: Annotated[float, CHANCE]  # by an angle up to `rotation` either way
    rotation: Annotated[float, FROM_0]  # degrees
    flip: Annotated[float, CHANCE]
    crop: Annotated[tuple[int, ...], SIZE]
    coloured: Annotated[float, CHANCE]  # by a gamma, a brightness and a factor for each of red, green and blue
    gamma: Annotated[tuple[float, ...], FACTORS]
    brightness: Annotated[tuple[float, ...], FACTORS]
    colours: Annotated[tuple[float, ...], FACTORS]
    test_area: Annotated[tuple[int, ...], AREA]  # whose pixels are tested; the network sees the image
    test_flip: bool  # the mean of what is predicted of an image and of its mirror image
    precision: Precision = "fp32"  # of the network; the head is float32

    @property
    def tasks(self) -> tuple[Task, ...]:
        """It learns a depth a pixel."""
        return ("depth",)

    def metrics(self) -> tuple[str, ...]:
        """Return means over images: of errors, of the share of pixels within a factor of 1.25, and RMSE: the headline.

        protocols/metrics.py has the units.
        """
        return ("log10", "sq_rel", "abs_rel", "d1", "rmse")

    def rules(self) -> Iterator[tuple[str, str]]:
        """What belongs to one another."""
        if self.least_depth >= self.most_depth:
            yield "most_depth", f"more than least_depth={self.least_depth}"
        if self.weights == "linear" and not self.weight_floor:
            yield "weight_floor", "a number above 0 with weights=linear, or nothing is divided by nothing"
        if self.batch_size % self.loss_images:
            yield "batch_size", f"a multiple of loss_images={self.loss_images}"
        if len(self.momenta) != 2:
            yield "momenta", MOMENTA.words
        if len(self.crop) != 2:
            yield "crop", SIZE.words
        for name in ("train_area", "test_area"):
            if not _is_area(getattr(self, name)):
                yield name, AREA.words

    @property
    def takes(self) -> Takes:
        """The places of the last block or stage."""
        return "patches"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of iterations."""
        return "iteration", self.iterations

    @property
    def passing_megabytes(self) -> float:
        """A head and what its optimizer keeps."""
        return 20.0


def _is_area(area: tuple[int, ...]) -> bool:
    """Say whether an area is all of a frame, or a part with pixels in it."""
    if not area:
        return True
    if len(area) != 4:
        return False
    top, bottom, left, right = area
    return top < bottom <= FRAME[0] and left < right <= FRAME[1]
