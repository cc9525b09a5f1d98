"""The kinds of nearest neighbours on frozen features: one temperature, a grid of settings, a few images a class."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.house import SettingError, setting_text
from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import FEATURE, GAP
from twinbench.protocols.ranges import ABOVE_0, CHANCE, COSTS, COUNT, NEIGHBORS, RISING, SHOTS

Votes = Literal[
    "weighted",  # exp(similarity / temperature)
    "equal",  # one each: the temperature plays no part
]


@dataclass(frozen=True, kw_only=True)
class NeighborsRecipe(Recipe):
    """What all have in common: the nearest among L2-normalised features vote for their classes."""

    room: ClassVar[Room] = "transfer"
    later: ClassVar[tuple[str, ...]] = ("feature", "votes", "topk")

    transform: ImageTransform
    neighbors: Annotated[tuple[int, ...], NEIGHBORS]
    precision: Precision = "fp32"  # of the network; features and all after them are float32
    feature: Annotated[str, FEATURE] = GAP  # by name: kinds/forms.py
    votes: Votes = "weighted"
    topk: Annotated[tuple[int, ...], RISING] = (1, 5)  # n of top-n: the class is among the n with the most votes

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    @property
    def features(self) -> Features:
        """The features of both splits."""
        return Features(self.transform, self.feature, self.precision)


@dataclass(frozen=True, kw_only=True)
class KnnRecipe(NeighborsRecipe):
    """Nearest neighbours at one temperature, reported for each k."""

    kind: ClassVar[str] = "knn"
    measured_by: ClassVar[str] = "transfer.trials:measure_knn"

    temperature: Annotated[float, ABOVE_0]

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies for each k, the headline's rank last."""
        return tuple(f"top{rank}-k{k}" for rank in reversed(self.topk) for k in self.neighbors)

    def require_metric(self, name: str) -> None:
        """Raise SettingError if the headline's k is not among `neighbors`, or its rank not among `topk`."""
        rank, _, k = name.removeprefix("top").partition("-k")
        if k not in map(str, self.neighbors):
            raise SettingError(f"setting neighbors={setting_text(self.neighbors)}: expected {k} among them for {name}")
        if rank not in map(str, self.topk):
            raise SettingError(f"setting topk={setting_text(self.topk)}: expected {rank} among them for {name}")


@dataclass(frozen=True, kw_only=True)
class KnnGridRecipe(NeighborsRecipe):
    """Nearest neighbours at the k and temperature that are best on some images; the first of equal ones is taken.

    Temperatures are gone through in their order, each with every k.
    """

    kind: ClassVar[str] = "knn-grid"
    measured_by: ClassVar[str] = "transfer.neighbors:measure_grid"

    temperatures: Annotated[tuple[float, ...], COSTS]
    chosen_on: Literal["test", "held-out"]  # the reported images; or training images, with the others as neighbours
    held_out: Annotated[float, CHANCE]  # share of the training images that choose, drawn by the trial's seed

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies at the chosen pair."""
        return tuple(f"top{rank}" for rank in reversed(self.topk))


@dataclass(frozen=True, kw_only=True)
class FewShotKnnRecipe(KnnRecipe):
    """Nearest neighbours among a few images a class, drawn again and again; mean over the draws."""

    kind: ClassVar[str] = "few-shot-knn"
    measured_by: ClassVar[str] = "transfer.neighbors:measure_few_shot_knn"

    shots: Annotated[tuple[int, ...], SHOTS]  # n: images a class; of a class with fewer all
    draws: Annotated[int, COUNT]  # of each size

    def neighbors_among(self, shots: int) -> tuple[int, ...]:
        """Return each k for so many images a class: of `neighbors` those that are no more than they, and they."""
        return tuple(sorted(k for k in {*self.neighbors, shots} if k <= shots))

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies for each n and k; the headline is of the largest."""
        names: list[str] = []
        for rank in reversed(self.topk):
            for shots in self.shots:
                names += [f"top{rank}-n{shots}-k{k}" for k in self.neighbors_among(shots)]
        return tuple(names)

    def require_metric(self, name: str) -> None:
        """Raise SettingError if the headline's n, k or rank is not measured."""
        if name not in self.metrics():
            raise SettingError(f"gives no {name}, the protocol's headline; it gives {', '.join(self.metrics())}")
