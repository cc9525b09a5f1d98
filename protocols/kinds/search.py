"""The kind of fine-tuning whose rate and weight decay are chosen on images held out: a grid of trainings, then one."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.finetuning import FineTuningRecipe
from twinbench.protocols.kinds.forms import Takes
from twinbench.protocols.kinds.logistic import Draw, Ignored
from twinbench.protocols.kinds.sgd import NormMomentum
from twinbench.protocols.ranges import CHANCE, COSTS, COUNT, FROM_0, MOMENTUM

DECAYS = FROM_0.of_each("different numbers of at least 0, for example 0,0.0001", different=True)
MEGABYTES = 300.0  # backbone, head, momentum


@dataclass(frozen=True, kw_only=True)
class FineTuningSearchRecipe(Recipe):
    """Fine-tuning of all layers at every pair of a rate and a weight decay, and again at the best one.

    Each pair is tried on the training images that are not held out and scored on those that are; the best one is used
    once more on all of them. One training has one rate, for backbone and head.
    """

    kind: ClassVar[str] = "fine-tuning-search"
    room: ClassVar[Room] = "transfer"
    measured_by: ClassVar[str] = "transfer.search:measure_search"

    transform: ImageTransform
    steps: Annotated[int, COUNT]  # of each training
    batch_size: Annotated[int, COUNT]  # global
    lrs: Annotated[tuple[float, ...], COSTS]  # tried in their order, each with all decays; the first best one is taken
    weight_decays: Annotated[tuple[float, ...], DECAYS]
    decays_are: Literal["decay", "lr*decay"]  # what these numbers are: the decay, or its product with the rate
    momentum: Annotated[float, MOMENTUM]
    nesterov: bool
    schedule: Literal["cosine", "constant"]  # a cosine falls to 0 with every step
    head_init_std: Annotated[float, FROM_0]  # of a normal distribution, bias 0; 0: PyTorch's own draw, bias too
    norm_momentum: NormMomentum
    class_losses: Literal["mean", "sum"]  # several classes an image: what its binary losses are joined by
    ignored: Ignored  # what an image marked `difficult only` is for its class, in training and at test
    validation: Literal["official", "held-out"]  # official where a data set has such a split, else held out
    held_out: Annotated[float, CHANCE]  # share of the training images; 0: as many as the data set's entry says
    draw: Draw  # who draws them, see logistic.py
    accumulate: Annotated[int, COUNT] = 1  # parts of each of norm_groups, one after the other
    norm_groups: Annotated[int, COUNT] = 1  # of a batch, whose statistics the batch norm sees
    precision: Precision = "fp32"  # of the network; no bf16, as it is trained; the head is float32

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image, or several."""
        return ("single-label", "multi-label")

    @property
    def takes_validation(self) -> bool:
        """The split that chooses rate and decay."""
        return self.validation == "official"

    @property
    def takes(self) -> Takes:
        """The trunk is trained, too."""
        return "training"

    @property
    def grid(self) -> tuple[tuple[float, float], ...]:
        """The pairs of a rate and a number of `weight_decays`, in the order that they are tried."""
        return tuple(product(self.lrs, self.weight_decays))

    @property
    def trainings(self) -> int:
        """All pairs, and the last one."""
        return len(self.grid) + 1

    def training(self, lr: float, number: float, epochs: int) -> FineTuningRecipe:
        """Return one training at a pair of the grid, of data of which `steps` batches are so many `epochs`."""
        return FineTuningRecipe(
            transform=self.transform,
            epochs=epochs,
            steps=self.steps,
            batch_size=self.batch_size,
            lr_head=lr,
            lr_backbone=lr,
            weight_decay=number / lr if self.decays_are == "lr*decay" else number,
            momentum=self.momentum,
            nesterov=self.nesterov,
            schedule="cosine" if self.schedule == "cosine" else "steps",
            milestones=(),
            gamma=1.0,
            head="linear",
            head_init_std=self.head_init_std,
            norm_momentum=self.norm_momentum,
            accumulate=self.accumulate,
            norm_groups=self.norm_groups,
            precision=self.precision,
        )

    def metrics(self) -> tuple[str, ...]:
        """Return AP at 11 points for several classes an image; accuracy over classes and over images for one."""
        return ("mAP-11", "per-class", "top1")

    def metric_on(self, tasks: tuple[Task, ...], headline: str) -> str:
        """Return AP where images have several classes, and else what people report: top-1 if nothing is said."""
        if "single-label" not in tasks:
            return "mAP-11"
        return headline or "top1"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of trainings."""
        return "training", self.trainings

    @property
    def passing_megabytes(self) -> float:
        """One training's state: that of the one before it is gone."""
        return MEGABYTES

    def rules(self) -> Iterator[tuple[str, str]]:
        """What one training's recipe asks."""
        yield from self.training(1.0, 0.0, 1).rules()
