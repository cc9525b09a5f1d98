"""What differs between the kinds of this room, one entry a kind; trial.py does what they have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from twinbench.convert.backbone import Backbone
from twinbench.data.objects.find import objects_layout
from twinbench.data.objects.packed import Record
from twinbench.data.source import Source
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.config.names import catalogue_names
from twinbench.detection.datasets import DetectionData, open_data
from twinbench.detection.evaluation.evaluate import computed_by, scored
from twinbench.detection.evaluation.predictions import FILE as PREDICTIONS
from twinbench.detection.evaluation.predictions import predict_all, write_results
from twinbench.detection.kinds import DATA, PICTURE, Measured, Work
from twinbench.detection.models.weights import build_detector
from twinbench.detection.options import Options
from twinbench.detection.pictures import draw_curves, draw_predictions
from twinbench.detection.semantic.segmenters import Segmenters
from twinbench.detection.training.mapping import image_mapper
from twinbench.detection.training.train import Run
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.kinds.segmenter import SegmentationRecipe
from twinbench.protocols.schema import Protocol as Benchmark
from twinbench.report.asked import Asked
from twinbench.runtime.process import Process

CURVES = "precision-recall.png"


class Detectors:
    """Boxes, masks and keypoints, by Detectron2's own detectors."""

    task = "detection"

    def layout(self, asked: Asked) -> str:
        """Return the layout of the trial's data."""
        return objects_layout(asked.protocol.data_set.layout, Source.of(asked.data))

    def open_data(self, asked: Asked, process: Process, identity: str) -> DetectionData:
        """Return the trial's data, checked and packed."""
        return open_data(asked.protocol, Source.of(asked.data), asked.out / DATA, process, identity)

    def configure(self, protocol: Benchmark, data: DetectionData, backbone: Backbone, device: str) -> CfgNode:
        """Return Detectron2's configuration of the trial."""
        recipe = protocol.recipe
        assert isinstance(recipe, DetectionRecipe)
        names = catalogue_names(protocol.data_set)
        return detectron2_config(
            recipe,
            classes=len(data.classes),
            width=backbone.width,
            convention=backbone.convention,
            mask_format=data.mask_format,
            datasets=names,
            device=device,
            network=backbone.network,
        )

    def build(self, config: CfgNode, backbone: Backbone, path: Path, seed: int, process: Process) -> nn.Module:
        """Return the detector with the backbone in it."""
        return build_detector(config, backbone, path, seed, process)

    def reader(self, recipe: DetectionRecipe, config: CfgNode, data: DetectionData) -> Callable[[Record], Any]:
        """Return Detectron2's mapper."""
        return image_mapper(config, train=True, jitter=recipe.jitter, keypoints=data.keypoints)

    def measure(
        self,
        recipe: DetectionRecipe,
        run: Run,
        model: nn.Module,
        data: DetectionData,
        owner: dict[str, Any],
        options: Options,
    ) -> Measured | None:
        """Compute the APs by the data's rules; draw what was detected, and precision over recall."""
        config, out, process = run.config, run.folder, run.process
        predictions = predict_all(config, model, data.test, out / "predictions", owner, process, run.workers)
        if not process.is_main:
            return None
        write_results(out / PREDICTIONS, predictions, data.test, data.category_ids)
        scores = scored(data, predictions, recipe.measures, options.evaluator)
        draw_predictions(config, model, data, out / PICTURE)
        draw_curves(scores.curves, out / CURVES)
        evaluator = computed_by(data.rule, options.evaluator)
        details = {"evaluator": evaluator} if evaluator else {}
        return Measured(scores, [PICTURE, CURVES], "predictions", details)

    def share(self, recipe: DetectionRecipe, images: int) -> str:
        """The recipes put 2 of 16 images on each of 8 GPUs."""
        return f"{images} images of up to {recipe.max_size} px"


WORK: dict[str, Work] = {  # by kind of recipe
    DetectionRecipe.kind: Detectors(),
    SegmentationRecipe.kind: Segmenters(),
}
