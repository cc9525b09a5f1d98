"""Segmenters as a kind of this room: how their trials open data, build the network and measure it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from twinbench.convert.backbone import Backbone
from twinbench.data.objects.packed import Record
from twinbench.data.pixels.matrix import MATRIX, draw_confusion
from twinbench.data.pixels.opened import PixelData, open_pixels
from twinbench.data.source import Source
from twinbench.detection.evaluation.scores import Scores
from twinbench.detection.kinds import DATA, PICTURE, Measured
from twinbench.detection.models.weights import build_detector
from twinbench.detection.options import Options
from twinbench.detection.semantic.config import segmenter_config
from twinbench.detection.semantic.evaluate import confusions
from twinbench.detection.semantic.images import TrainImages
from twinbench.detection.semantic.pictures import draw_segments
from twinbench.detection.training.train import Run
from twinbench.protocols.kinds.segmenter import SegmentationRecipe
from twinbench.protocols.schema import Protocol
from twinbench.report.asked import Asked
from twinbench.runtime.confusion import scores_of, table_of
from twinbench.runtime.process import Process

CONFUSIONS = "confusions"  # folder of what the processes have counted


class Segmenters:
    """A class a pixel, by FCN."""

    task = "segmentation"

    def layout(self, asked: Asked) -> str:
        """Return the layout of the trial's data."""
        return asked.protocol.data_set.layout

    def open_data(self, asked: Asked, process: Process, identity: str) -> PixelData:
        """Return the trial's data, checked and packed."""
        return open_pixels(asked.protocol, Source.of(asked.data), asked.out / DATA, process, identity)

    def configure(self, protocol: Protocol, data: PixelData, backbone: Backbone, device: str) -> CfgNode:
        """Return Detectron2's configuration of the trial."""
        recipe = protocol.recipe
        assert isinstance(recipe, SegmentationRecipe)
        return segmenter_config(
            recipe, classes=len(data.classes), width=backbone.width, convention=backbone.convention, device=device
        )

    def build(self, config: CfgNode, backbone: Backbone, path: Path, seed: int, process: Process) -> nn.Module:
        """Return the network with the backbone in it."""
        return build_detector(config, backbone, path, seed, process)

    def reader(self, recipe: SegmentationRecipe, config: CfgNode, data: PixelData) -> Callable[[Record], Any]:
        """Return what reads and augments an image and its mask."""
        return TrainImages(config, data.decode)

    def measure(
        self,
        recipe: SegmentationRecipe,
        run: Run,
        model: nn.Module,
        data: PixelData,
        owner: dict[str, Any],
        options: Options,
    ) -> Measured | None:
        """Count the pixels of each pair of true and predicted class, and draw the best and the worst images."""
        config, out, process = run.config, run.folder, run.process
        cells = confusions(config, model, data.test, data.decode, out / CONFUSIONS, owner, process, run.workers)
        if not process.is_main:
            return None
        found = scores_of(table_of(cells, len(data.classes)), data.classes)
        scores = Scores(found.metrics, found.per_class, notes=found.notes)
        draw_segments(config, model, data, cells, out / PICTURE)
        draw_confusion(found.table, data.classes, out / MATRIX)
        return Measured(scores, [PICTURE, MATRIX], CONFUSIONS)

    def share(self, recipe: SegmentationRecipe, images: int) -> str:
        """The recipes put 2 or 4 images on each of 4 GPUs."""
        return f"{images} images of {recipe.crop} x {recipe.crop} px"
