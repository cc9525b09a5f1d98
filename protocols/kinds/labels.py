"""The kind of label efficiency: one head on ever more labels, drawn again and again, on features extracted once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Task
from twinbench.protocols.kinds.logistic import LogisticRecipe
from twinbench.protocols.ranges import ABOVE_0, COUNT, Range

SHARE = Range(lambda value: 0 < value <= 100, "a percentage above 0 and up to 100")
SHARES = SHARE.of_each("different percentages above 0 and up to 100, or none", different=True, empty=True)
SHOTS = COUNT.of_each("different whole numbers of images per class, at least 1, or none", different=True, empty=True)


@dataclass(frozen=True)
class Size:
    """How many labels: so many images a class, or so many percent of the training images."""

    value: float
    of: Literal["class", "all"]

    @property
    def name(self) -> str:
        """What the metrics call it: k5, or 1pct."""
        return f"k{self.value:g}" if self.of == "class" else f"{self.value:g}pct"


@dataclass(frozen=True, kw_only=True)
class LabelsRecipe(LogisticRecipe):
    """Logistic regression on shares of the training images and on k images a class; mean over draws, and the area.

    Larger draws of one number hold the smaller ones. Every draw chooses its own penalty.
    """

    kind: ClassVar[str] = "labels"
    measured_by: ClassVar[str] = "transfer.labels:measure_labels"

    shots: Annotated[tuple[int, ...], SHOTS]  # k: images a class; of a class with fewer all
    shares: Annotated[tuple[float, ...], SHARES]  # percent of the training images
    share_of: Literal["each-class", "all"]  # the same share of each class, at least an image; or equally many a class
    draws: Annotated[int, COUNT]  # of each size; of all images there is one
    # the draw: `held_out` of each class, then fitted once more to all of it; training: as many of all training images
    # as there are test images, equally many a class, whether drawn or not, and nothing is fitted again
    chosen_on: Literal["draw", "training"]
    alone: Annotated[float, ABOVE_0]  # the penalty of draws with nothing to hold out: one image a class
    scaling: Literal["none", "min-max"]  # of each feature, by the images that are fitted: to 0 at the least, 1 at most

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """All sizes, smallest first of either sort."""
        shots = [Size(k, "class") for k in sorted(self.shots)]
        return (*shots, *(Size(share, "all") for share in sorted(self.shares)))

    def draws_of(self, size: Size) -> int:
        """Return how many draws there are of a size."""
        return 1 if size == Size(100, "all") else self.draws

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies for each size, and the areas under them."""
        names: list[str] = []
        for metric in ("per-class", "top1"):
            names += [f"{metric}-{size.name}" for size in self.sizes]
            names += [f"{metric}-area-{sort}" for sort, sizes in self.sorts() if len(sizes) > 1]
        return tuple(names)

    def sorts(self) -> Iterator[tuple[str, list[Size]]]:
        """Yield the two sorts of sizes by the name of their area."""
        for sort, of in (("shots", "class"), ("shares", "all")):
            yield sort, [size for size in self.sizes if size.of == of]

    def metric_on(self, tasks: tuple[Task, ...], headline: str) -> str:
        """Return top-1, or what people report on the set, of the smallest share, or else the largest k."""
        sizes = dict(self.sorts())
        size = sizes["shares"][0] if sizes["shares"] else sizes["shots"][-1]
        return f"{headline or 'top1'}-{size.name}"

    def require_metric(self, name: str) -> None:
        """Raise SettingError if the headline is not measured."""
        super(LogisticRecipe, self).require_metric(name)

    def rules(self) -> Iterator[tuple[str, str]]:
        """What belongs to one another."""
        yield from super().rules()
        if not self.sizes:
            yield "shots", "images per class, or shares: there is nothing to draw"
        if self.chosen_on == "draw" and not self.held_out:
            yield "held_out", "above 0 where each draw chooses its penalty"

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of draws."""
        return "draws", sum(map(self.draws_of, self.sizes))
