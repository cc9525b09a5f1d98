"""The kinds of linear SVMs on frozen features: the full training set, low-shot samples, one class an image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.house import SettingError, setting_text
from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import FEATURE
from twinbench.protocols.ranges import ABOVE_0, COSTS, COUNT, FOLDS, FROM_0, SHOTS

Ignored = Literal["negative", "dropped"]  # what an image marked `difficult only` is for its class
Curve = Literal["envelope", "step"]  # area under the precision envelope, or scikit-learn's sum


@dataclass(frozen=True, kw_only=True)
class LinearSvmRecipe(Recipe):
    """What all of them share: the features, and the SVM that LIBLINEAR solves."""

    room: ClassVar[Room] = "transfer"
    takes_solver: ClassVar[bool] = True

    transform: ImageTransform
    pooling: Annotated[str, FEATURE]  # which features, by name: kinds/forms.py
    positive_weight: Annotated[float, ABOVE_0]  # class weight of label 1; negatives weigh 1
    tolerance: Annotated[float, ABOVE_0]  # LIBLINEAR's stopping tolerance
    max_iterations: Annotated[int, COUNT]  # LIBLINEAR's
    normalize_epsilon: Annotated[float, FROM_0]  # rows become x / (||x|| + this)
    precision: Precision = "fp32"  # of the network; features and all after them are float32

    @property
    def features(self) -> Features:
        """The features of both splits."""
        return Features(self.transform, self.pooling, self.precision)


@dataclass(frozen=True, kw_only=True)
class SvmRecipe(LinearSvmRecipe):
    """One SVM a class on the full training set, its cost by cross-validation (VISSL's rules), and AP at test."""

    kind: ClassVar[str] = "svm"
    measured_by: ClassVar[str] = "transfer.trials:measure_svm"

    costs: Annotated[tuple[float, ...], COSTS]  # one of them is chosen for each class
    folds: Annotated[int, FOLDS]  # 0: one cost, nothing to choose
    ignored_in_training: Ignored
    ignored_at_test: Ignored
    test_ap: Curve = "envelope"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Several classes an image."""
        return ("multi-label",)

    def metrics(self) -> tuple[str, ...]:
        """Return the mean over classes."""
        return ("mAP",)

    def rules(self) -> Iterator[tuple[str, str]]:
        """A cost is chosen on folds, or there is one."""
        if len(self.costs) > 1 and not self.folds:
            yield "costs", "one cost where folds=0: there is nothing to choose it on"


@dataclass(frozen=True, kw_only=True)
class SampledSvmRecipe(LinearSvmRecipe):
    """What low-shot SVMs share: samples of k images a class, and a cost for each k."""

    costs: Annotated[tuple[float, ...], COSTS]  # for each k one of them is chosen, on the test split as published
    shots: Annotated[tuple[int, ...], SHOTS]  # k: images per class
    samples: Annotated[int, COUNT]  # independent draws of each size
    test_ap: Curve = "envelope"

    def metrics(self) -> tuple[str, ...]:
        """Return, for each k, the mAP as published and the one at a cost that the test split had no say in."""
        held_out = tuple(f"mAP-heldout-k{k}" for k in self.shots)
        return (*held_out, *(f"mAP-k{k}" for k in self.shots))

    def require_metric(self, name: str) -> None:
        """Raise SettingError if the headline's k is not among `shots`."""
        if name not in self.metrics():
            k = name.rpartition("-k")[2]
            raise SettingError(f"setting shots={setting_text(self.shots)}: expected {k} among them for {name}")


@dataclass(frozen=True, kw_only=True)
class LowShotSvmRecipe(SampledSvmRecipe):
    """One SVM a class on samples of k images a class; mean over the samples, for each k."""

    kind: ClassVar[str] = "low-shot-svm"
    measured_by: ClassVar[str] = "transfer.trials:measure_low_shot"

    sampling: Literal["by-class", "pooled"]  # each class trains on its own draw, or on all classes' draws
    ignored_in_training: Ignored
    ignored_at_test: Ignored

    @property
    def takes_samples(self) -> bool:  # type: ignore[override]
        """Files hold samples class by class."""
        return self.sampling == "by-class"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Several classes an image."""
        return ("multi-label",)


@dataclass(frozen=True, kw_only=True)
class LowShotOneVsRestSvmRecipe(SampledSvmRecipe):
    """One SVM a class on samples of images of one class each, k of every class put together; AP of each class.

    Only images that a sample has drawn, and those of the test split, have features.
    """

    kind: ClassVar[str] = "low-shot-one-vs-rest-svm"
    measured_by: ClassVar[str] = "transfer.trials:measure_low_shot_one_vs_rest"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    def drawn(self, classes: int) -> int:
        """Return how many images all samples have, were none in two of them."""
        return self.samples * sum(self.shots) * classes

    def rules(self) -> Iterator[tuple[str, str]]:
        """The next sample's images choose the cost that the test split has no say in."""
        if self.samples < 2:
            yield "samples", "at least 2: a sample's honest cost is chosen on images of the next one"


@dataclass(frozen=True, kw_only=True)
class OneVsRestSvmRecipe(LinearSvmRecipe):
    """One SVM a class on images of one class each; the class of the highest score."""

    kind: ClassVar[str] = "one-vs-rest-svm"
    measured_by: ClassVar[str] = "transfer.trials:measure_one_vs_rest"

    cost: Annotated[float, ABOVE_0]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies."""
        return ("top5", "top1")

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of classes."""
        return "classes", classes
