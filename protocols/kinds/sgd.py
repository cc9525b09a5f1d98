"""What all kinds that train a classifier by SGD have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.augmentation import Augmentation
from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.ranges import ABOVE_0, COUNT, FROM_0, MOMENTUM, RISING

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
