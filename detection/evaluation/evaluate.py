"""A detector's scores from its predictions on the test images, by the rules that its data set is measured by."""

from collections.abc import Sequence

from twinbench.data.objects.split import Rule
from twinbench.detection.datasets import DetectionData
from twinbench.detection.evaluation.cityscapes import cityscapes_scores
from twinbench.detection.evaluation.coco import coco_scores
from twinbench.detection.evaluation.lvis import lvis_scores
from twinbench.detection.evaluation.predictions import Detections
from twinbench.detection.evaluation.scores import Scores
from twinbench.detection.evaluation.voc import voc_scores
from twinbench.protocols.kinds.detector import Evaluator


def computed_by(rule: Rule, evaluator: Evaluator) -> str:
    """Return the package that computes the scores by `rule` where `evaluator` was asked for; empty: none does."""
    if rule == "lvis":
        return "hotcoco"
    return evaluator if rule == "coco" else ""


def scored(
    data: DetectionData, predictions: Sequence[Detections], measures: Sequence[str], evaluator: Evaluator = "hotcoco"
) -> Scores:
    """Return the scores of the predictions on each test image, in their order.

    `evaluator` is for COCO's rules; LVIS's have hotcoco alone, VOC's and Cityscapes' are computed here.
    """
    if data.rule in ("voc-11-points", "voc-area"):
        return voc_scores(data.test, predictions, data.classes, data.rule)
    if data.rule == "cityscapes":
        return cityscapes_scores(data.test, predictions, data.classes)
    if data.rule == "lvis":
        return lvis_scores(data.test, predictions, data.classes, data.frequencies, measures)
    return coco_scores(data.test, predictions, data.classes, measures, evaluator)
