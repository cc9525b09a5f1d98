"""The kind of nearest neighbours on frozen features."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from twinbench.protocols.house import SettingError, setting_text
from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import FEATURE, GAP
from twinbench.protocols.ranges import ABOVE_0, NEIGHBORS


@dataclass(frozen=True, kw_only=True)
class KnnRecipe(Recipe):
    """Weighted nearest neighbours among L2-normalised features."""

    kind: ClassVar[str] = "knn"
    room: ClassVar[Room] = "transfer"
    measured_by: ClassVar[str] = "transfer.trials:measure_knn"
    later: ClassVar[tuple[str, ...]] = ("feature",)

    transform: ImageTransform
    neighbors: Annotated[tuple[int, ...], NEIGHBORS]
    temperature: Annotated[float, ABOVE_0]
    precision: Precision = "fp32"  # of the network; features and all after them are float32
    feature: Annotated[str, FEATURE] = GAP  # by name: kinds/forms.py

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies for each k."""
        top5 = tuple(f"top5-k{k}" for k in self.neighbors)
        return (*top5, *(f"top1-k{k}" for k in self.neighbors))

    def require_metric(self, name: str) -> None:
        """Raise SettingError if the headline's k is not among `neighbors`."""
        if name not in self.metrics():
            k = name.rpartition("-k")[2]
            raise SettingError(f"setting neighbors={setting_text(self.neighbors)}: expected {k} among them for {name}")

    @property
    def features(self) -> Features:
        """The features of both splits."""
        return Features(self.transform, self.feature, self.precision)
