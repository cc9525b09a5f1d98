"""The kinds trained by SGD: linear probes on a frozen backbone, of one layer or of several, and fine-tuning of all."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.augmentation import POLICY, Augmentation, Interpolation, TrainCrop
from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import FEATURE, GAP, Takes, takes
from twinbench.protocols.ranges import ABOVE_0, CHANCE, COUNT, COUNT_OR_NONE, FROM_0, MOMENTUM, RISING, Range

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

# The part that a batch has in the running statistics of a trained trunk's batch norms: PyTorch's tenth; or, of an epoch
# of s batches, 10 / s where that is less.
NormMomentum = Literal["torch", "by-epoch"]
Optimizer = Literal["sgd", "adamw"]
Decayed = Literal["all", "weights"]


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
    schedule: Literal["cosine", "steps", "cosine-by-step", "cosine-met", "cosine-late"]  # see transfer/schedule.py
    milestones: Annotated[tuple[int, ...], RISING]  # epochs after which the rate drops (steps)
    gamma: Annotated[float, ABOVE_0]  # factor of a drop (steps)
    # standardized: by a batch norm without scale and shift of its own; layernorm: of each image by itself
    head: Literal["linear", "batchnorm-linear", "standardized-linear", "layernorm-linear"]
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
    def has_batch_norm(self) -> bool:
        """Say whether its head begins with a batch norm, which needs a whole batch."""
        return self.head in ("batchnorm-linear", "standardized-linear")

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
    optimizer: ClassVar[Optimizer] = "sgd"
    warmup_epochs: ClassVar[int] = 0
    warmup_start: ClassVar[float] = 0.0
    rate_floor: ClassVar[float] = 0.0
    layer_decay: ClassVar[float] = 1.0
    decayed: ClassVar[Decayed] = "all"
    drop_path: ClassVar[float] = 0.0
    smoothing: ClassVar[float] = 0.0
    mixup: ClassVar[float] = 0.0
    cutmix: ClassVar[float] = 0.0
    mixes: ClassVar[bool] = False
    repeats: ClassVar[int] = 1
    drop_last: ClassVar[bool] = False

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
    leaves_head: ClassVar[bool] = True

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
    def megabytes(self) -> float:
        """The head that is kept, for 1000 classes."""
        return 9.0

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
    leaves_head: ClassVar[bool] = True
    later: ClassVar[tuple[str, ...]] = (
        "steps",
        "norm_momentum",
        "optimizer",
        "warmup_epochs",
        "warmup_start",
        "rate_floor",
        "layer_decay",
        "decayed",
        "drop_path",
        "smoothing",
        "mixup",
        "cutmix",
        "train_interpolation",
        "policy",
        "erasing",
        "repeats",
        "drop_last",
    )
    train_backbone: ClassVar[bool] = True

    feature: Annotated[str, FEATURE] = GAP  # by name: kinds/forms.py
    lr_backbone: Annotated[float, FROM_0]
    accumulate: Annotated[int, COUNT] = 1  # parts of each of norm_groups, one after the other
    # Groups of a batch, the reference's GPUs: whose statistics the batch norm sees, and within which images are mixed.
    norm_groups: Annotated[int, COUNT] = 1
    # Its epochs end after so many; a cosine then falls with each of them, and the last alone is followed by a test. 0:
    # all epochs, each followed by a test; a cosine falls with each epoch
    steps: Annotated[int, COUNT_OR_NONE] = 0
    norm_momentum: NormMomentum = "torch"
    optimizer: Optimizer = "sgd"  # adamw: momentum is its first beta, the second is 0.999
    warmup_epochs: Annotated[int, COUNT_OR_NONE] = 0  # over which a rate rises
    warmup_start: Annotated[float, CHANCE] = 0.0  # from this part of it
    rate_floor: Annotated[float, CHANCE] = 0.0  # the part of a rate that a cosine falls to
    layer_decay: Annotated[float, ABOVE_0] = 1.0  # of the rate, from each block of the backbone to the one before it
    decayed: Decayed = "all"  # by weight_decay; weights: no biases, norms, position embeddings or class tokens
    drop_path: Annotated[float, MOMENTUM] = 0.0  # of a transformer's last block; rises linearly from 0
    smoothing: Annotated[float, MOMENTUM] = 0.0  # of labels: what all classes share of a target
    # Of the beta distribution that says how two images are mixed, once for each of norm_groups; both: one or the other.
    mixup: Annotated[float, FROM_0] = 0.0
    cutmix: Annotated[float, FROM_0] = 0.0
    train_interpolation: Interpolation = "bilinear"  # of the training crops
    policy: Annotated[str, POLICY] = ""  # RandAugment by timm's name
    erasing: Annotated[float, CHANCE] = 0.0  # how often a rectangle of an image is noise
    repeats: Annotated[int, COUNT] = 1  # crops of an image that follow each other; an epoch has fewer images then
    drop_last: bool = False  # an epoch ends with its last whole batch

    @property
    def augmentation(self) -> Augmentation:
        """What is done to training images."""
        return Augmentation(interpolation=self.train_interpolation, policy=self.policy, erasing=self.erasing)

    @property
    def mixes(self) -> bool:
        """Say whether training images are each two."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def takes(self) -> Takes:
        """The trunk is trained, too."""
        return "training"

    @property
    def megabytes(self) -> float:
        """The network that is kept, for 1000 classes."""
        return 103.0

    @property
    def passing_megabytes(self) -> float:
        """Backbone, head, momentum; with adamw, which few ResNets see, those of a ViT-B."""
        return 1100.0 if self.optimizer == "adamw" else 300.0

    def rules(self) -> Iterator[tuple[str, str]]:
        """SGD's steps on a trained trunk need more than bfloat16's eight bits; Adam's are divided by their own size.

        Groups are of one size.
        """
        yield from super().rules()
        if self.optimizer == "adamw" and self.nesterov:
            yield "nesterov", "false where optimizer=adamw"
        if self.optimizer == "sgd" and self.precision == "bf16":
            yield "precision", "fp32 or tf32 where the backbone is trained by optimizer=sgd"
        if self.batch_size % self.norm_groups:
            yield "norm_groups", "a divisor of batch_size"
        if self.schedule == "steps" and self.warmup_epochs:
            yield "warmup_epochs", "0 where schedule=steps"
        if self.warmup_epochs >= self.epochs:
            yield "warmup_epochs", f"fewer than epochs={self.epochs}"


TrainedRecipe = ProbeRecipe | LayerProbeRecipe | FineTuningRecipe
