"""The kinds trained by SGD: linear probes on a frozen backbone, of one layer or of several, and fine-tuning of all."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import FEATURE, GAP, Takes, takes
from twinbench.protocols.ranges import ABOVE_0, COUNT, COUNT_OR_NONE, FROM_0, MOMENTUM, RISING, Range

STAGES = ("conv1", "res2", "res3", "res4", "res5")  # whose maps are pooled; conv1 is the stem before its own pooling
AVERAGE, BARE = "res5avg", "res5avg-linear"  # res5's global average, and the same without a norm before the classifier
LAYERS = (*STAGES, AVERAGE, BARE)
SOME_LAYERS = Range(LAYERS.__contains__, "").of_each(
    f"different layers of {', '.join(LAYERS)}, for example res4,res5", different=True
)
_EACH = f"of each of {', '.join(STAGES)}"
KERNELS = Range(
    lambda values: len(values) == len(STAGES) and all(map(COUNT.holds, values)),
    f"{len(STAGES)} whole numbers of at least 1, one {_EACH}",
)
PADDINGS = Range(
    lambda values: len(values) == len(STAGES) and all(map(COUNT_OR_NONE.holds, values)),
    f"{len(STAGES)} whole numbers of at least 0, one {_EACH}",
)

TrainCrop = Literal["resized", "random", "none"]
# The part that a batch has in the running statistics of a trained trunk's batch norms: PyTorch's tenth; or, of an epoch of
# s batches, 10 / s where that is less.
NormMomentum = Literal["torch", "by-epoch"]


@dataclass(frozen=True)
class Augmentation:
    """How a training image differs from a test image; each is mirrored half of the time.

    `resized`: a crop of 8 to 100 % of the image, at any place. `random`: the test image's size before its crop, and of
    that the crop at any place. `none`: as at test time.
    """

    crop: TrainCrop = "resized"
    jitter: float = 0.0  # brightness, contrast and saturation by factors of 1 - jitter to 1 + jitter
    lighting: float = 0.0  # deviation of AlexNet's shift along ImageNet's principal colours


@dataclass(frozen=True)
class LayerHead:
    """A linear classifier on one layer of a backbone."""

    name: str
    stage: int  # whose map: 1 is the stem's, 5 res5's
    pool: tuple[int, int, int] | None  # kernel, stride and padding of an average; None: the global one
    has_norm: bool  # a batch norm before it


@dataclass(frozen=True, kw_only=True)
class SgdRecipe(Recipe):
    """A classifier on a backbone, trained by SGD with momentum."""

    room: ClassVar[Room] = "transfer"
    measured_by: ClassVar[str] = "transfer.trials:measure_probe"
    train_backbone: ClassVar[bool]

    transform: ImageTransform
    epochs: Annotated[int, COUNT]
    batch_size: Annotated[int, COUNT]  # global
    lr_head: Annotated[float, FROM_0]
    momentum: Annotated[float, MOMENTUM]
    nesterov: bool
    weight_decay: Annotated[float, FROM_0]
    schedule: Literal["cosine", "steps"]  # both change once an epoch
    milestones: Annotated[tuple[int, ...], RISING]  # epochs after which the rate drops (steps)
    gamma: Annotated[float, ABOVE_0]  # factor of a drop (steps)
    # standardized: by a batch norm without scale and shift of its own
    head: Literal["linear", "batchnorm-linear", "standardized-linear"]
    head_init_std: Annotated[float, FROM_0]  # of a normal distribution, bias 0; 0: PyTorch's own draw, bias too
    precision: Precision = "fp32"  # of the network; no bf16 where it is trained; the head is float32

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    @property
    def augmentation(self) -> Augmentation:
        """What is done to training images: PyTorch's crop of ImageNet training."""
        return Augmentation()

    @property
    def layer_heads(self) -> tuple[LayerHead, ...]:
        """The heads that are trained side by side; empty: one, on `feature`."""
        return ()

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies: first all top-5s, then as many top-1s in the same order."""
        return ("top5", "top1")

    def rules(self) -> Iterator[tuple[str, str]]:
        """Nesterov's step looks ahead along the momentum."""
        if self.nesterov and not self.momentum:
            yield "nesterov", "false where momentum=0"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of epochs."""
        return "epoch", self.epochs

    @property
    def test_features(self) -> Features | None:
        """The features of the test images that are extracted once; None if they are computed after every epoch."""
        return None


@dataclass(frozen=True, kw_only=True)
class FrozenRecipe(SgdRecipe):
    """Linear classifiers on a frozen backbone."""

    later: ClassVar[tuple[str, ...]] = ("train_crop", "jitter", "lighting")
    train_backbone: ClassVar[bool] = False
    lr_backbone: ClassVar[float] = 0.0
    accumulate: ClassVar[int] = 1
    norm_groups: ClassVar[int] = 1
    steps: ClassVar[int] = 0
    norm_momentum: ClassVar[NormMomentum] = "torch"

    train_crop: TrainCrop = "resized"
    jitter: Annotated[float, FROM_0] = 0.0
    lighting: Annotated[float, FROM_0] = 0.0

    @property
    def augmentation(self) -> Augmentation:
        """What is done to training images."""
        return Augmentation(self.train_crop, self.jitter, self.lighting)

    def rules(self) -> Iterator[tuple[str, str]]:
        """Only PyTorch's crops are drawn, and no random one is drawn of an image that is no larger."""
        yield from super().rules()
        if self.train_crop != "resized" and self.transform.backend != "pillow":
            yield "train_crop", f"resized where transform.backend={self.transform.backend}"
        if self.train_crop == "random" and self.transform.resize < self.transform.crop:
            yield "train_crop", "resized or none where transform.resize is smaller than transform.crop"


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe(FrozenRecipe):
    """A linear classifier on a frozen backbone."""

    kind: ClassVar[str] = "probe"

    feature: Annotated[str, FEATURE] = GAP  # by name: kinds/forms.py

    @property
    def test_features(self) -> Features:
        """The features of the test images."""
        return Features(self.transform, self.feature, self.precision)

    @property
    def shares_test_features(self) -> bool:
        """A frozen backbone's features of the test images are the same after every epoch."""
        return True

    @property
    def takes(self) -> Takes:
        """What its features are made of."""
        return takes(self.feature)

    @property
    def passing_megabytes(self) -> float:
        """A head and its momentum, for 1000 classes."""
        return 20.0


@dataclass(frozen=True, kw_only=True)
class LayerProbeRecipe(FrozenRecipe):
    """A linear classifier on each of several layers of a frozen backbone, all of them trained in one pass.

    Their losses are added, so that none feels the others. `kernels`, `strides` and `paddings` are of the averages that
    pool the maps of conv1 and res2 to res5, in this order, whether a layer takes part or not.
    """

    kind: ClassVar[str] = "layer-probe"
    feature: ClassVar[str] = "layers"

    layers: Annotated[tuple[str, ...], SOME_LAYERS]
    kernels: Annotated[tuple[int, ...], KERNELS]
    strides: Annotated[tuple[int, ...], KERNELS]
    paddings: Annotated[tuple[int, ...], PADDINGS]

    @property
    def layer_heads(self) -> tuple[LayerHead, ...]:
        """The heads in the order of `layers`."""
        found: list[LayerHead] = []
        for name in self.layers:
            has_norm = self.head != "linear" and name != BARE
            if name in STAGES:
                index = STAGES.index(name)
                pool = self.kernels[index], self.strides[index], self.paddings[index]
                found.append(LayerHead(name, index + 1, pool, has_norm))
            else:
                found.append(LayerHead(name, len(STAGES), None, has_norm))
        return tuple(found)

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies by layer."""
        return tuple(f"{accuracy}-{name}" for accuracy in ("top5", "top1") for name in self.layers)

    def rules(self) -> Iterator[tuple[str, str]]:
        """An average over padding alone has no meaning, and PyTorch refuses it."""
        yield from super().rules()
        if any(2 * padding > kernel for kernel, padding in zip(self.kernels, self.paddings, strict=True)):
            yield "paddings", "half of each kernel or less"

    @property
    def takes(self) -> Takes:
        """The maps of all stages."""
        return "maps"

    @property
    def passing_megabytes(self) -> float:
        """Seven heads and their momentum, for 1000 classes."""
        return 370.0


@dataclass(frozen=True, kw_only=True)
class FineTuningRecipe(SgdRecipe):
    """A classifier and the backbone below it, trained together."""

    kind: ClassVar[str] = "fine-tuning"
    later: ClassVar[tuple[str, ...]] = ("steps", "norm_momentum")
    train_backbone: ClassVar[bool] = True

    feature: Annotated[str, FEATURE] = GAP  # by name: kinds/forms.py
    lr_backbone: Annotated[float, FROM_0]
    accumulate: Annotated[int, COUNT] = 1  # parts of each of norm_groups, one after the other
    norm_groups: Annotated[int, COUNT] = 1  # of a batch, whose statistics the batch norm sees: the reference's GPUs
    # Its epochs end after so many; a cosine then falls with each of them, and the last alone is followed by a test. 0:
    # all epochs, each followed by a test; a cosine falls with each epoch
    steps: Annotated[int, COUNT_OR_NONE] = 0
    norm_momentum: NormMomentum = "torch"

    @property
    def takes(self) -> Takes:
        """The trunk is trained, too."""
        return "training"

    @property
    def passing_megabytes(self) -> float:
        """Backbone, head, momentum."""
        return 300.0

    def rules(self) -> Iterator[tuple[str, str]]:
        """Gradients of a trained trunk need more than bfloat16's eight bits.

        Groups are of one size.
        """
        yield from super().rules()
        if self.precision == "bf16":
            yield "precision", "fp32 or tf32 where the backbone is trained"
        if self.batch_size % self.norm_groups:
            yield "norm_groups", "a divisor of batch_size"


TrainedRecipe = ProbeRecipe | LayerProbeRecipe | FineTuningRecipe
