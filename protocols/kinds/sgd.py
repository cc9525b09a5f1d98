"""The kinds trained by SGD: a linear probe on a frozen backbone, and fine-tuning of all of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Takes, Task
from twinbench.protocols.ranges import ABOVE_0, COUNT, FROM_0, MOMENTUM, RISING


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
    head: Literal["linear", "batchnorm-linear"]
    head_init_std: Annotated[float, FROM_0]  # of a normal distribution, bias 0; 0: PyTorch's own draw, bias too
    feature: Literal["gap", "res5-avg6"] = "gap"
    precision: Precision = "fp32"  # of the network; no bf16 where it is trained; the head is float32

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies."""
        return ("top5", "top1")

    def rules(self) -> Iterator[tuple[str, str]]:
        """Nesterov's step looks ahead along the momentum."""
        if self.nesterov and not self.momentum:
            yield "nesterov", "false where momentum=0"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of epochs."""
        return "epoch", self.epochs

    @property
    def test_features(self) -> Features:
        """The features of the test images, where the backbone is frozen."""
        return Features(self.transform, self.feature, self.precision)


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe(SgdRecipe):
    """A linear classifier on a frozen backbone."""

    kind: ClassVar[str] = "probe"
    train_backbone: ClassVar[bool] = False
    lr_backbone: ClassVar[float] = 0.0
    accumulate: ClassVar[int] = 1
    norm_groups: ClassVar[int] = 1

    @property
    def shares_test_features(self) -> bool:
        """A frozen backbone's features of the test images are the same after every epoch."""
        return True

    @property
    def takes(self) -> Takes:
        """Pooled features, or the last stage's map."""
        return "maps" if self.feature == "res5-avg6" else "pooled"

    @property
    def passing_megabytes(self) -> float:
        """A head and its momentum, for 1000 classes."""
        return 20.0


@dataclass(frozen=True, kw_only=True)
class FineTuningRecipe(SgdRecipe):
    """A classifier and the backbone below it, trained together."""

    kind: ClassVar[str] = "fine-tuning"
    train_backbone: ClassVar[bool] = True

    lr_backbone: Annotated[float, FROM_0]
    accumulate: Annotated[int, COUNT] = 1  # parts of each of norm_groups, one after the other
    norm_groups: Annotated[int, COUNT] = 1  # of a batch, whose statistics the batch norm sees: the reference's GPUs

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


TrainedRecipe = ProbeRecipe | FineTuningRecipe
