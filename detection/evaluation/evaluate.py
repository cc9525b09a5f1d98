"""Average precision by Detectron2's evaluators, with the cases in which they have no number said out loud."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.evaluation import COCOEvaluator, PascalVOCDetectionEvaluator, coco_evaluation, inference_on_dataset
from detectron2.evaluation.pascal_voc_evaluation import parse_rec, voc_eval
from detectron2.utils import comm
from torch import nn

from twinbench.detection.datasets import DetectionData
from twinbench.detection.training.stream import Checked, image_mapper
from twinbench.protocols.kinds.detector import Evaluator
from twinbench.runtime.process import Process
from twinbench.runtime.progress import bar

RECALLS = np.linspace(0, 1, 101)  # at which curves are drawn; also COCO's own thresholds
KINDS = {"bbox": "box", "segm": "mask"}


@dataclass
class Scores:
    """What an evaluation found. Metrics are percent; `notes` say what a reader must know about them."""

    metrics: dict[str, float] = field(default_factory=dict[str, float])
    per_class: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])  # metric -> class -> %
    curves: dict[str, list[list[float]]] = field(default_factory=dict[str, list[list[float]]])  # [recall, precision]
    notes: list[str] = field(default_factory=list[str])


def evaluate(
    config: CfgNode,
    model: nn.Module,
    data: DetectionData,
    process: Process,
    workers: int,
    evaluator: Evaluator = "pycocotools",
) -> Scores | None:
    """Return the scores of `model` on the test images, or None in all processes but the main one.

    `evaluator` is for COCO's rules; VOC has one of its own.
    """
    scores = Scores()
    if data.layout == "coco":
        measure = CocoEvaluator(data, scores, evaluator, masks=config.MODEL.MASK_ON)
    else:
        measure = VocEvaluator(data, scores)
    build: Any = build_detection_test_loader  # its signature is made by a decorator
    loader: Any = Checked(build(data.test, mapper=image_mapper(config, train=False), num_workers=workers))
    if process.is_main:
        loader = bar(loader, what="evaluate", total=len(loader))
    inference_on_dataset(model, loader, measure)
    return scores if process.is_main else None


class VocEvaluator(PascalVOCDetectionEvaluator):
    """VOC's AP: the class mean at IoU .5, .75 and over .5:.05:.95, by the 11-point rule for 2007."""

    def __init__(self, data: DetectionData, scores: Scores) -> None:
        super().__init__(data.test_name)
        self.scores = scores

    def evaluate(self) -> Any:
        """Fill the scores from Detectron2's numbers; on the main process only, as Detectron2 does."""
        found = super().evaluate()
        gathered: Any = comm.gather(self._predictions, dst=0)
        if found is None:
            return None
        for name, value in found["bbox"].items():
            self.scores.metrics[name] = float(value)
        lines: list[list[str]] = []  # of each class, from all processes
        for number in range(len(self._class_names)):
            lines.append([line for part in gathered for line in part.get(number, ())])
        self._by_class(lines)
        return found

    def _by_class(self, lines: list[list[str]]) -> None:
        """Add AP50 of each class, the mean curve at IoU .5 and a note on classes without an object."""
        objects = self._objects()
        precision: list[np.ndarray] = []
        ap50 = self.scores.per_class.setdefault("AP50", {})
        with TemporaryDirectory() as folder:
            for name, detections in zip(self._class_names, lines, strict=True):
                if not objects[name]:
                    continue
                (Path(folder) / f"{name}.txt").write_text("\n".join(detections))
                template = str(Path(folder) / "{}.txt")
                files = (template, self._anno_file_template, self._image_set_path)
                recalls, precisions, ap = voc_eval(*files, name, ovthresh=0.5, use_07_metric=self._is_2007)
                ap50[name] = float(ap) * 100
                precision.append(_envelope(np.asarray(recalls), np.asarray(precisions)))
        if precision:
            self.scores.curves["precision-recall, box, IoU .5"] = _curve(np.mean(precision, axis=0))
        absent = [name for name in self._class_names if not objects[name]]
        if absent:
            self.scores.notes.append(
                f"no test object of {', '.join(absent)}: Detectron2 counts their AP as 0, COCO would leave them out"
            )

    def _objects(self) -> dict[str, int]:
        """Return the number of test objects of each class, the difficult ones apart, which are not counted."""
        count = dict.fromkeys(self._class_names, 0)
        for image in Path(self._image_set_path).read_text().split():
            for thing in parse_rec(self._anno_file_template.format(image)):
                count[thing["name"]] += not thing["difficult"]
        return count


class CocoEvaluator(COCOEvaluator):
    """COCO's AP of boxes and masks: over IoU .5:.05:.95, at .5, at .75, and of small, medium and large objects.

    Without `masks` the APs are of boxes and are called plainly AP, as everywhere for a detector of boxes.
    """

    def __init__(
        self, data: DetectionData, scores: Scores, evaluator: Evaluator = "pycocotools", *, masks: bool = True
    ) -> None:
        faster = evaluator == "faster-coco-eval"
        if faster:
            # Detectron2's own faster evaluation is there or not, by how it was built; this one takes its place.
            from faster_coco_eval import COCOeval_faster

            coco_evaluation.COCOeval_opt = COCOeval_faster
        tasks = ("bbox", "segm") if masks else ("bbox",)
        super().__init__(data.test_name, tasks=tasks, distributed=True, use_fast_impl=faster)
        self.scores, self.masks = scores, masks

    def _derive_coco_results(self, coco_eval: Any, iou_type: str, class_names: Any = None) -> dict[str, float]:
        """Fill the scores from Detectron2's numbers, and the curve from the table behind them."""
        found = super()._derive_coco_results(coco_eval, iou_type, class_names)
        kind = KINDS[iou_type]
        prefix = f"{kind}-" if self.masks else ""
        if coco_eval is None:
            self.scores.metrics.update({f"{prefix}{name}": 0.0 for name in ("AP", "AP50", "AP75")})
            self.scores.notes.append(f"no {kind} was detected at all: AP is 0")
            return found
        per_class = self.scores.per_class.setdefault(f"{prefix}AP", {})
        empty: list[str] = []  # size ranges without an object, whose AP is NaN
        for name, value in found.items():
            if name.startswith("AP-"):  # of one class
                if not math.isnan(value):
                    per_class[name.removeprefix("AP-")] = value
            elif math.isnan(value):
                empty.append(name)
            else:
                self.scores.metrics[f"{prefix}{name}"] = value
        if empty:
            self.scores.notes.append(f"no test object in the size range of {kind} {', '.join(empty)}: left out")
        precision = coco_eval.eval["precision"][0, :, :, 0, -1]  # IoU .5, all areas, 100 detections: (101, classes)
        known = (precision > -1).all(axis=0)
        self.scores.curves[f"precision-recall, {kind}, IoU .5"] = _curve(precision[:, known].mean(axis=1))
        return found


def _envelope(recalls: np.ndarray, precisions: np.ndarray) -> np.ndarray:
    """Return the best precision at or beyond each of RECALLS, 0 where the recall is never reached."""
    return np.array([precisions[recalls >= level].max(initial=0.0) for level in RECALLS])


def _curve(precision: np.ndarray) -> list[list[float]]:
    """Return [recall, precision] pairs of a (101,) mean precision."""
    return [[round(float(x), 2), round(float(y), 4)] for x, y in zip(RECALLS, precision, strict=True)]
