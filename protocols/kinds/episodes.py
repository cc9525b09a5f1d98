"""The kind of few-shot episodes: a few classes, a few images of each, and the nearest mean for the rest."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import FEATURE, GAP
from twinbench.protocols.ranges import COUNT, WAYS


@dataclass(frozen=True, kw_only=True)
class EpisodesRecipe(Recipe):
    """Classification by the nearest class mean (prototypical networks' rule, arXiv:1703.05175) of frozen features.

    Episodes are drawn from the images of both splits, each with `ways` classes, `shots` images of each to take the mean
    of, and `queries` to classify. Distances are Euclidean, features as they come.
    """

    kind: ClassVar[str] = "episodes"
    room: ClassVar[Room] = "transfer"
    measured_by: ClassVar[str] = "transfer.twelve:measure_episodes"
    later: ClassVar[tuple[str, ...]] = ("feature",)

    transform: ImageTransform
    ways: Annotated[int, WAYS]
    shots: Annotated[int, COUNT]
    queries: Annotated[int, COUNT]  # images a class
    episodes: Annotated[int, COUNT]
    precision: Precision = "fp32"  # of the network; features and all after them are float32
    feature: Annotated[str, FEATURE] = GAP  # by name: kinds/forms.py

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    @property
    def features(self) -> Features:
        """The features of both splits."""
        return Features(self.transform, self.feature, self.precision)

    def metrics(self) -> tuple[str, ...]:
        """Return the mean accuracy over episodes."""
        return ("top1",)
