"""What a trial asks of its kind, and gets from it: the seam between trial.py and the kinds of this room."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from detectron2.config import CfgNode
from torch import nn

from twinbench.convert.backbone import Backbone
from twinbench.data.objects.packed import Record, Records
from twinbench.detection.evaluation.scores import Scores
from twinbench.detection.options import Options
from twinbench.detection.training.train import Run
from twinbench.protocols.schema import Protocol as Benchmark
from twinbench.report.asked import Asked
from twinbench.runtime.process import Process

DATA = "data"  # folder of the packed records
PICTURE = "predictions.png"


class Opened(Protocol):
    """The data of a trial: what every kind needs of it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names."""
        ...

    @property
    def images(self) -> dict[str, int]:
        """Split -> images of the data set."""
        ...

    @property
    def train(self) -> Records:
        """What is trained on."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result must know of the data."""
        ...


@dataclass(frozen=True)
class Measured:
    """What a trained model was measured to be, in the main process."""

    scores: Scores
    pictures: list[str]  # names of the files
    folder: str  # of what a killed evaluation would have gone on from
    details: dict[str, Any] = field(default_factory=dict[str, Any])  # how it was measured, beside what all results say


class Work(Protocol):
    """How the trials of one kind open their data, build their model and measure it."""

    task: str  # of TASKS in data/identity.py: what makes two copies of the data the same

    def layout(self, asked: Asked) -> str:
        """Return the layout of the trial's data."""
        ...

    def open_data(self, asked: Asked, process: Process, identity: str) -> Opened:
        """Return the trial's data, checked and packed into OUT/data; DataError for what does not fit."""
        ...

    def configure(self, protocol: Benchmark, data: Any, backbone: Backbone, device: str) -> CfgNode:
        """Return Detectron2's configuration of the trial, frozen."""
        ...

    def build(self, config: CfgNode, backbone: Backbone, path: Path, seed: int, process: Process) -> nn.Module:
        """Return the model with `backbone`, written to `path` on the way, in it; all else is drawn from `seed`."""
        ...

    def reader(self, recipe: Any, config: CfgNode, data: Any) -> Callable[[Record], Any]:
        """Return what makes a training example of a record."""
        ...

    def measure(
        self, recipe: Any, run: Run, model: nn.Module, data: Any, owner: dict[str, Any], options: Options
    ) -> Measured | None:
        """Measure on the test images and draw; None in all processes but the main one.

        `owner` says whose predictions are kept on the way: a killed evaluation goes on from its own alone.
        """
        ...

    def share(self, recipe: Any, images: int) -> str:
        """Say what one process holds at a time, for the message that its memory is short."""
        ...
