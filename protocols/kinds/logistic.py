"""The kinds of logistic regressions on frozen features: one penalty for all classes, chosen on images held out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.house import SettingError, setting_text
from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import FEATURE, GAP
from twinbench.protocols.ranges import CHANCE, COSTS, COUNT, COUNT_OR_NONE, FROM_0, SHOTS

# What the numbers of a search are, for losses summed over images and W without the biases.
Penalty = Literal[
    "lambda/2",  # losses + number / 2 * |W|^2
    "lambda",  # losses + number * |W|^2
    "C",  # number * losses + |W|^2 / 2
]
Solver = Literal["converged", "lbfgs"]
Ignored = Literal["negative", "dropped"]
Draw = Literal["trial", "numpy", "torch", "by-class"]


def lambda_of(penalty: Penalty, number: float) -> float:
    """Return what stands before |W|^2 / 2 beside summed losses, for a number of a search."""
    return {"lambda/2": number, "lambda": 2 * number, "C": 1 / number}[penalty]


@dataclass(frozen=True, kw_only=True)
class LogisticRecipe(Recipe):
    """Multinomial logistic regression with an L2 penalty; of several classes an image, a binary one for each class.

    Each penalty is tried on training images without those held out; the best there is used once more on all of them.
    """

    kind: ClassVar[str] = "logistic"
    room: ClassVar[Room] = "transfer"
    measured_by: ClassVar[str] = "transfer.twelve:measure_logistic"
    later: ClassVar[tuple[str, ...]] = ("feature",)

    transform: ImageTransform
    penalties: Annotated[tuple[float, ...], COSTS]  # in the order that they are tried; the first of equal ones is taken
    penalty: Penalty  # what these numbers are
    halvings: Annotated[int, COUNT_OR_NONE]  # then the step beside the best is halved (in logarithms) so many times
    solver: Solver  # to the minimum; or scikit-learn's L-BFGS until it ends, wherever that is
    tolerance: Annotated[float, FROM_0]  # of lbfgs: ends at such a largest |gradient| over images; converged: at its
    # length over that at zero
    max_iterations: Annotated[int, COUNT_OR_NONE]  # of lbfgs; 0: none
    warm_start: bool  # lbfgs begins at the solution of the penalty before
    validation: Literal["official", "held-out"]  # official where a data set has such a split, else held out
    held_out: Annotated[float, CHANCE]  # share of the training images; 0: as many as the data set's entry says
    draw: Draw  # who draws them: the trial's seed; numpy's shuffle or torch's permutation of seed 0, whose first are
    # held out; by-class: the same share of each class, the first of torch's
    binary: Literal["logistic", "softmax"]  # several classes an image: a softmax has two columns, each with its penalty
    ap: Literal["voc", "from-1"]  # VOC2007's; or with a precision of 1 at a recall of 0, as scikit-learn's curve has it
    ignored: Ignored  # what an image marked `difficult only` is for its class, in training and at test
    precision: Precision = "fp32"  # of the network; features and all after them are float32
    feature: Annotated[str, FEATURE] = GAP  # by name: kinds/forms.py

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image, or several."""
        return ("single-label", "multi-label")

    @property
    def takes_validation(self) -> bool:
        """The split that chooses the penalty."""
        return self.validation == "official"

    @property
    def features(self) -> Features:
        """The features of both splits."""
        return Features(self.transform, self.feature, self.precision)

    def metrics(self) -> tuple[str, ...]:
        """Return AP at 11 points for several classes an image; accuracy over classes and over images for one."""
        return ("mAP-11", "per-class", "top1")

    def metric_on(self, tasks: tuple[Task, ...], headline: str) -> str:
        """Return AP where images have several classes, and else what people report: top-1 if nothing is said."""
        if "single-label" not in tasks:
            return "mAP-11"
        return headline or "top1"

    def rules(self) -> Iterator[tuple[str, str]]:
        """What belongs to one another."""
        if self.halvings and len(self.penalties) < 2:
            yield "halvings", "0 with one penalty: there is no step to halve"
        if self.solver == "converged" and (self.max_iterations or self.warm_start):
            yield "solver", "lbfgs with max_iterations or warm_start: a minimum has none"
        if self.solver == "lbfgs" and not self.max_iterations:
            yield "max_iterations", "at least 1 with solver=lbfgs"


@dataclass(frozen=True, kw_only=True)
class FewShotLogisticRecipe(LogisticRecipe):
    """Logistic regression on k images a class, drawn again and again; mean over the draws, for each k.

    The images held out are the same for all draws, choose the penalty of each, and train none.
    """

    kind: ClassVar[str] = "few-shot-logistic"
    measured_by: ClassVar[str] = "transfer.twelve:measure_few_shot"

    shots: Annotated[tuple[int, ...], SHOTS]  # k: images a class; of a class with fewer all
    draws: Annotated[int, COUNT]  # of each size

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies for each k; the headline is of the largest."""
        per_class = tuple(f"per-class-k{k}" for k in self.shots)
        return (*per_class, *(f"top1-k{k}" for k in self.shots))

    def metric_on(self, tasks: tuple[Task, ...], headline: str) -> str:
        """Return top-1, or what people report on the set, of the largest k."""
        return f"{headline or 'top1'}-k{self.shots[-1]}"

    def require_metric(self, name: str) -> None:
        """Raise SettingError if the headline's k is not among `shots`."""
        if name not in self.metrics():
            k = name.rpartition("-k")[2]
            raise SettingError(f"setting shots={setting_text(self.shots)}: expected {k} among them for {name}")


@dataclass(frozen=True, kw_only=True)
class SizedLogisticRecipe(LogisticRecipe):
    """Logistic regression on so many images of whatever classes, drawn again and again; mean over the draws.

    Each draw has images to train on and others that choose its penalty, which is then fitted to both together. A class
    that a draw has no image of is never predicted. Only images that were drawn, and the test split's, have features.
    """

    kind: ClassVar[str] = "sized-logistic"
    measured_by: ClassVar[str] = "transfer.twelve:measure_sized"

    train_images: Annotated[int, COUNT]  # of a draw: of the training images that no official split holds out
    validation_images: Annotated[int, COUNT]  # of a draw: of the official split; without one, others of the same
    draws: Annotated[int, COUNT]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies over classes and over images."""
        return ("per-class", "top1")

    def metric_on(self, tasks: tuple[Task, ...], headline: str) -> str:
        """Return top-1 on every set, as VTAB does."""
        return "top1"

    def drawn(self, classes: int) -> int:
        """Return how many images all draws have, were none in two of them."""
        return self.draws * (self.train_images + self.validation_images)

    def rules(self) -> Iterator[tuple[str, str]]:
        """The sizes are its own, and the trial's seed draws."""
        yield from super().rules()
        if self.held_out:
            yield "held_out", "0: validation_images says how many choose"
        if self.draw != "trial":
            yield "draw", "trial: the trial's seed draws"
