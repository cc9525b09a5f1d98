"""The detector or segmenter of a finished trial, read back from the files that it left."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from twinbench.convert.files import load
from twinbench.detection import models  # noqa: F401  # registers the networks that configurations name
from twinbench.detection.training.train import FINAL
from twinbench.protocols.house import UserError
from twinbench.report.result import Result, read_result

CONFIG = "config.yaml"
DETECTORS = ("GeneralizedRCNN", "RetinaNet")  # of Detectron2's architectures, those that find objects
SEGMENTER = "Segmenter"  # ours, which has a class for every pixel


class TrainedError(UserError):
    """A folder that does not hold a finished trial of a detector."""


@dataclass(frozen=True)
class Trained:
    """A detector as its trial left it, ready to predict."""

    config: CfgNode
    model: nn.Module
    classes: tuple[str, ...]

    @property
    def is_segmenter(self) -> bool:
        """Say whether it has a class for every pixel, and no objects with scores."""
        return self.config.MODEL.META_ARCHITECTURE == SEGMENTER


def load_trained(trial: Path, device: str = "cpu", threshold: float | None = None) -> Trained:
    """Return the detector of a finished trial, the folder OUT of `twinbench detection`, on `device`.

    A detector tells what has a score of at least `threshold`, or of the recipe's own. Raises TrainedError for any other
    folder.
    """
    classes = tuple(_finished(trial).details["classes"])
    config = _config(trial / CONFIG)
    found = config.MODEL.META_ARCHITECTURE
    if found not in (*DETECTORS, SEGMENTER):
        raise TrainedError(f"{trial}: a trial of a {found}; expected one of a detector or a {SEGMENTER}")
    config.MODEL.DEVICE = device
    if threshold is not None:
        # Non-maximum suppression goes from the best downwards: those that stay are the same without the worse ones.
        config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
        config.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
    config.freeze()
    model = build_model(config)
    final = trial / FINAL
    try:
        model.load_state_dict(load(final)["model"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise TrainedError(f"{final}: {_first_line(error)}; expected the tensors of {CONFIG} beside it") from None
    return Trained(config, model.eval(), classes)


def _finished(trial: Path) -> Result:
    """Return the result in a trial's folder; TrainedError unless it is a detector's and the files are there."""
    expected = "expected the folder OUT of a finished `twinbench detection`"
    if not trial.is_dir():
        raise TrainedError(f"{trial}: no such folder; {expected}")
    if not (trial / "result.json").exists():
        if (trial / CONFIG).exists():
            raise TrainedError(
                f"{trial}: a trial that is not finished, it has no result.json; its own command goes on where it stands"
            )
        raise TrainedError(f"{trial}: no result.json in it; {expected}")
    result = read_result(trial / "result.json")
    if "classes" not in result.details or not (trial / CONFIG).exists():
        raise TrainedError(f"{trial}: a trial of {result.protocol}, without {CONFIG}; {expected}")
    if not (trial / FINAL).exists():
        raise TrainedError(f"{trial}: no {FINAL} in it; {expected}, with the detector that it has trained")
    return result


def _config(path: Path) -> CfgNode:
    """Return the configuration in a file; its sections that stock Detectron2 lacks are taken as they are."""
    config = get_cfg()
    config.set_new_allowed(True)
    try:
        config.merge_from_file(str(path), allow_unsafe=False)  # by default a tag of YAML's runs code
    except (yaml.YAMLError, AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise TrainedError(f"{path}: no configuration of Detectron2 ({_first_line(error)}); run the trial again") from (
            error
        )
    return config


def _first_line(error: Exception) -> str:
    """Return what an error says, the first two lines of it as one."""
    return " ".join(str(error).split("\n")[:2]).replace("\t", " ")
