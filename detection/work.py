"""What differs between the kinds of this room, one entry a kind; trial.py does what they have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from detectron2.config import CfgNode
from torch import nn

from twinbench.convert.backbone import Backbone
from twinbench.data.source import Source
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.datasets import DetectionData, layout_of, open_data
from twinbench.detection.evaluation.evaluate import Scores, evaluate
from twinbench.detection.models.weights import build_detector
from twinbench.detection.options import Options
from twinbench.detection.pictures import draw_curves, draw_predictions
from twinbench.detection.training.stream import Record, image_mapper
from twinbench.detection.training.train import Run
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.report.asked import Asked
from twinbench.runtime.process import Process

PICTURE, CURVES = "predictions.png", "precision-recall.png"


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
    def train(self) -> Any:
        """The records that are trained on, a sequence."""
        ...


class Work(Protocol):
    """How the trials of one kind open their data, build their model, measure and draw it."""

    task: str  # of TASKS in data/identity.py: what makes two copies of the data the same

    def layout(self, asked: Asked) -> str:
        """Return the layout of the trial's data."""
        ...

    def open_data(self, asked: Asked) -> Opened:
        """Return the trial's data, checked; DataError for what does not fit."""
        ...

    def configure(self, recipe: Any, data: Any, backbone: Backbone, device: str) -> CfgNode:
        """Return Detectron2's configuration of the trial, frozen."""
        ...

    def build(self, config: CfgNode, backbone: Backbone, path: Path, seed: int, process: Process) -> nn.Module:
        """Return the model with `backbone`, written to `path` on the way, in it; all else is drawn from `seed`."""
        ...

    def reader(self, config: CfgNode) -> Callable[[Record], Any]:
        """Return what makes a training example of a record."""
        ...

    def evaluate(self, run: Run, model: nn.Module, data: Any, options: Options) -> Scores | None:
        """Return the scores on the test images; None in all processes but the main one."""
        ...

    def draw(self, run: Run, model: nn.Module, data: Any, scores: Scores) -> list[str]:
        """Draw into the run's folder and return the names of the pictures."""
        ...

    def details(self, data: Any, options: Options) -> dict[str, Any]:
        """Return what a result says of how it was measured, beside what all results say."""
        ...

    def share(self, recipe: Any, images: int) -> str:
        """Say what one process holds at a time, for the message that its memory is short."""
        ...


class Detectors:
    """Boxes, masks and keypoints, by Detectron2's own detectors."""

    task = "detection"

    def layout(self, asked: Asked) -> str:
        """Return the layout of the trial's data."""
        return layout_of(asked.protocol, root_of(asked))

    def open_data(self, asked: Asked) -> DetectionData:
        """Return the trial's data, checked."""
        return open_data(asked.protocol, root_of(asked))

    def configure(self, recipe: DetectionRecipe, data: DetectionData, backbone: Backbone, device: str) -> CfgNode:
        """Return Detectron2's configuration of the trial."""
        return detectron2_config(
            recipe,
            classes=len(data.classes),
            width=backbone.width,
            convention=backbone.convention,
            mask_format=data.mask_format,
            device=device,
        )

    def build(self, config: CfgNode, backbone: Backbone, path: Path, seed: int, process: Process) -> nn.Module:
        """Return the detector with the backbone in it."""
        return build_detector(config, backbone, path, seed, process)

    def reader(self, config: CfgNode) -> Callable[[Record], Any]:
        """Return Detectron2's mapper."""
        return image_mapper(config, train=True)

    def evaluate(self, run: Run, model: nn.Module, data: DetectionData, options: Options) -> Scores | None:
        """Return the APs by the data's rules."""
        return evaluate(run.config, model, data, run.process, run.workers, options.evaluator)

    def draw(self, run: Run, model: nn.Module, data: DetectionData, scores: Scores) -> list[str]:
        """Draw what was detected, and precision over recall."""
        draw_predictions(run.config, model, data, run.folder / PICTURE)
        draw_curves(scores.curves, run.folder / CURVES)
        return [PICTURE, CURVES]

    def details(self, data: DetectionData, options: Options) -> dict[str, Any]:
        """Say who computed COCO's AP."""
        return {"evaluator": options.evaluator} if data.layout == "coco" else {}

    def share(self, recipe: DetectionRecipe, images: int) -> str:
        """The recipes put 2 of 16 images on each of 8 GPUs."""
        return f"{images} images of up to {recipe.max_size} px"


def root_of(asked: Asked) -> Path:
    """Return the root folder of a trial's data."""
    return Source.of(asked.data).folder(asked.protocol.name)


WORK: dict[str, Work] = {DetectionRecipe.kind: Detectors()}  # by kind of recipe
