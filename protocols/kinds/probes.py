"""The kinds of linear probes: classifiers on a frozen backbone, on its features or on each of several layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from twinbench.protocols.kinds.augmentation import Augmentation, TrainCrop
from twinbench.protocols.kinds.base import Features
from twinbench.protocols.kinds.forms import FEATURE, GAP, Takes, takes
from twinbench.protocols.kinds.sgd import Decayed, LayerHead, NormMomentum, Optimizer, SgdRecipe
from twinbench.protocols.ranges import COUNT, COUNT_OR_NONE, FROM_0, Range

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
