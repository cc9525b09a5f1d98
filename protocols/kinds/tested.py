"""The kinds that train nothing: a classifier that is there already, on images it has not seen and on how sure it is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from twinbench.protocols.kinds.base import ImageTransform, Recipe, Room, Task
from twinbench.protocols.kinds.forms import Takes
from twinbench.protocols.ranges import ABOVE_0, COUNT, FOLDS, Range

RELEASED = "released"  # the classifier that lies in the backbone's own file, or that its library has for it
_LABEL = re.compile(r"[^\s:]+:[0-9a-f]{12}")
HEAD = Range(
    lambda label: label == RELEASED or bool(_LABEL.fullmatch(label)),
    f"{RELEASED}, or the protocol that trained it with its fingerprint, NAME:FINGERPRINT",
)
NAMES = Range(lambda name: bool(name), "").of_each("different names of folders, for example fog,snow", different=True)
ERRORS = ABOVE_0.of_each("an error for each corruption, above 0", empty=True)


def head_label(name: str, fingerprint: str) -> str:
    """Return how a recipe names the head that a protocol trains."""
    return f"{name}:{fingerprint}"


@dataclass(frozen=True, kw_only=True)
class HeadTestRecipe(Recipe):
    """A classifier of single labels on a set that only tests it.

    Of an image of several labels (ReaL) any is right. Where the set has fewer classes than the classifier, only their
    outputs count, in the probabilities, too.

    Metrics are percent and more is better, so that the expected calibration error is told as what it leaves of 100.
    """

    kind: ClassVar[str] = "head-test"
    room: ClassVar[Room] = "transfer"
    measured_by: ClassVar[str] = "transfer.robust:measure_head"
    tests_only: ClassVar[bool] = True
    own_layout: ClassVar[str] = "test-classes"  # of data that are known by no name

    head: Annotated[str, HEAD]  # NAME:FINGERPRINT of the protocol that trained it, or `released`
    transform: ImageTransform
    bins: Annotated[int, COUNT]  # of confidence, equally wide
    folds: Annotated[int, FOLDS]  # of the test images: a temperature is fitted on each, measured on the others; 0: none

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image; or several, of which a hit is any."""
        return ("single-label",) if self.folds else ("single-label", "multi-label")

    @property
    def takes(self) -> Takes:
        """Of a released classifier what its network gives; what a trained head takes, its own recipe says."""
        return "pooled"

    @property
    def trained_by(self) -> str:
        """The name of the protocol whose trial leaves the head; empty for a released one."""
        return "" if self.head == RELEASED else self.head.rpartition(":")[0]

    @property
    def passing_megabytes(self) -> float:
        """Three numbers an image, or where temperatures are fitted its scores of 1000 classes, of 50,000 images."""
        return 200.0 if self.folds else 45.0

    def metrics(self) -> tuple[str, ...]:
        """Return the accuracies, and 100 less the calibration error, as it is and after a temperature."""
        return ("top5", "top1", "100-ece", *(("100-ece-scaled",) if self.folds else ()))


@dataclass(frozen=True, kw_only=True)
class CorruptionTestRecipe(HeadTestRecipe):
    """A classifier on images that were spoilt in several ways (`corruptions`), each by degrees.

    The accuracies are means over each way and degree, whose images count alike. With an error of AlexNet's for each way
    the details have the mean corruption error, too.
    """

    kind: ClassVar[str] = "corruption-test"
    own_layout: ClassVar[str] = "corruptions"

    corruptions: Annotated[tuple[str, ...], NAMES]
    reference_errors: Annotated[tuple[float, ...], ERRORS]  # AlexNet's, mean over degrees, in the order of corruptions

    def rules(self) -> Iterator[tuple[str, str]]:
        """Each corruption has an error, or none has."""
        yield from super().rules()
        if self.reference_errors and len(self.reference_errors) != len(self.corruptions):
            yield "reference_errors", f"{len(self.corruptions)} errors, one a corruption, or none"
