"""What every kind of recipe answers, so that nobody asks which kind it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from twinbench.protocols.house import SettingError, setting_text, setting_values
from twinbench.protocols.kinds.forms import RES5_AVG6, Takes, rows, takes
from twinbench.protocols.ranges import SIDE, SIDE_OR_NONE, require_in_range

Room = Literal["transfer", "dense", "detection"]
Task = Literal[
    "single-label", "multi-label", "boxes", "masks", "keypoints", "pixels", "depth"
]  # what the labels of a data set look like
Precision = Literal["fp32", "tf32", "bf16"]  # of the network; what is computed from its features is float32


@dataclass(frozen=True)
class ImageTransform:
    """How an image becomes the network's input at test time: resize, then (perhaps) a centre crop."""

    resize: Annotated[int, SIDE_OR_NONE]  # short side in pixels; 0: none
    crop: Annotated[int, SIDE]  # side of the square input in pixels
    # squash: scale both sides to `crop`, aspect ratio not kept; squash-crop: to `resize`, then crop the centre
    shape: Literal["center-crop", "squash", "squash-crop"]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    # pillow: antialiased, as torchvision; the others: OpenCV's bilinear, which is not, and how sides are rounded
    backend: Literal["pillow", "opencv", "albumentations"] = "pillow"


@dataclass(frozen=True)
class Features:
    """What frozen features are features of, beside the backbone and the images: equal ones are extracted once."""

    transform: ImageTransform
    pooling: str  # by name: kinds/forms.py
    precision: Precision
    places: int = 0  # rows of the network's width that are kept side by side, where the name does not say it

    @property
    def positions(self) -> int:
        """How many rows of the network's width are kept side by side: places of a map, or tokens."""
        if self.places:
            return self.places
        if self.pooling == RES5_AVG6:
            return max(self.transform.crop // 32 - 5, 1) ** 2
        return rows(self.pooling)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every number of a procedure that can move a result, as a frozen dataclass; a kind is a subclass.

    A field of a kind has its range beside it (`Annotated[int, COUNT]`) and its meaning behind it.
    """

    kind: ClassVar[str]  # its name in the registry
    room: ClassVar[Room]  # the worker that measures it
    measured_by: ClassVar[Any]  # MODULE:FUNCTION below twinbench, imported when it is measured; of own kinds a function
    later: ClassVar[tuple[str, ...]] = ()  # fields younger than the kind: at their defaults no part of a fingerprint
    takes_samples: ClassVar[bool] = False  # draws that others have made (--targets)
    takes_solver: ClassVar[bool] = False  # a reference solver beside ours (--solver)
    takes_search: ClassVar[bool] = False  # what finds nearest patches (--search)
    tests_only: ClassVar[bool] = False  # trains nothing: a classifier that is there already is tested
    leaves_head: ClassVar[bool] = False  # beside its result: a classifier that others may test
    own_layout: ClassVar[str] = ""  # of what only tests: how data lie that are known by no name

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks whose data it runs on."""
        raise NotImplementedError

    @property
    def trained_by(self) -> str:
        """The name of the protocol whose trial leaves the head that is tested; empty where there is none."""
        return ""

    def metrics(self) -> tuple[str, ...]:
        """Return the names of what it measures: percentages, or what protocols/metrics.py says of them.

        The last is the headline unless a protocol says so.
        """
        raise NotImplementedError

    def metric_on(self, tasks: tuple[Task, ...], headline: str) -> str:
        """Return the headline on data of one of `tasks`, on which `headline` is what people report; empty: any."""
        return ""

    def rules(self) -> Iterator[tuple[str, str]]:
        """Yield each field that contradicts another one, with what was expected."""
        yield from ()

    @property
    def takes_validation(self) -> bool:
        """Say whether it chooses something on an official validation split, where the data have one."""
        return False

    @property
    def features(self) -> Features | None:
        """The frozen features that it rests on; None if it computes features anew in each step."""
        return None

    def drawn(self, classes: int) -> int:
        """Return how many training images at most it takes features of, on data of so many classes; 0: of all."""
        return 0

    @property
    def tested_rows(self) -> Features | None:
        """What is kept, if the disk has room for it, of images that are tested many times, or by many trials."""
        return None

    def tested_images(self, train: int, test: int) -> int:
        """Return how many images are tested, of so many training and test images."""
        return test

    @property
    def shares_test_features(self) -> bool:
        """Say whether the features of the test images, at least, can come from what other trials have extracted."""
        return self.features is not None

    @property
    def takes(self) -> Takes:
        """What of a backbone it takes; a backbone whose architecture has no such thing is refused by name."""
        return takes(self.features.pooling) if self.features else "pooled"

    def length(self, classes: int) -> tuple[str, int]:
        """Return the field of its log that counts, and where that ends: `("epoch", 100)`; empty if it has no log."""
        return "", 0

    @property
    def trainings(self) -> int:
        """How many trainings one trial is, one after the other."""
        return 1

    @property
    def megabytes(self) -> float:
        """About how much it leaves on disk at full width, beside features."""
        return 1.0

    @property
    def passing_megabytes(self) -> float:
        """About how much more it takes at full width while it runs: what a killed run goes on from."""
        return 0.0

    def check(self) -> None:
        """Raise SettingError for the first field that no run can mean, by itself or beside others."""
        require_in_range(self)
        for name, words in self.rules():
            value = setting_values(self)[name]
            raise SettingError(f"setting {name}={setting_text(value)}: expected {words}")

    def require_metric(self, name: str) -> None:
        """Raise SettingError if the metric called `name`, a protocol's headline, is not measured."""
        if name not in self.metrics():
            raise SettingError(f"gives no {name}, the protocol's headline; it gives {', '.join(self.metrics())}")
