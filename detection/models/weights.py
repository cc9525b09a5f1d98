"""The backbone's way into Detectron2's model, with a proof that all of it arrived."""

from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from twinbench.convert.backbone import Backbone
from twinbench.convert.files import load
from twinbench.convert.write import write_backbone
from twinbench.detection.models import head  # noqa: F401  # registers the head that configurations name
from twinbench.detection.models.norms import with_synchronized_norms
from twinbench.protocols.house import UserError
from twinbench.runtime.process import Process
from twinbench.runtime.seeds import derived_seed
from twinbench.runtime.shared import is_there

TENSORS = 265  # of a ResNet-50 in Detectron2: 53 convolutions and 53 x 4 of their norms


class WeightsError(UserError):
    """A backbone that did not arrive in the detector."""


def build_detector(
    config: CfgNode, backbone: Backbone, path: Path, seed: int, process: Process | None = None
) -> nn.Module:
    """Return the detector of `config` with `backbone` in it; what is new (RPN, heads) is drawn from `seed`.

    The main process writes the backbone to `path` in Detectron2's layout; every one reads it by Detectron2's loader.
    """
    process = process or Process()
    if process.is_main:
        write_backbone(backbone, path, to="detectron2")
    is_there(path, process)
    torch.manual_seed(derived_seed(seed, 0))
    model = with_synchronized_norms(build_model(config), process)
    DetectionCheckpointer(model).load(str(path))
    check_arrival(model, path)
    return model


def check_arrival(model: nn.Module, path: Path) -> None:
    """Raise WeightsError unless each of the file's 265 tensors stands in `model`, once and to the bit.

    Detectron2 matches names by suffix and only warns about what it could not place: a file in another layout leaves a
    random backbone behind.
    """
    found = model.state_dict()
    sent = _trained(load(path)["model"])
    lost: list[str] = []
    for name, tensor in sent.items():
        places = [key for key in found if key == name or key.endswith(f".{name}")]
        if len(places) != 1 or not torch.equal(found[places[0]].cpu(), tensor):
            lost.append(name)
    if lost or len(sent) < TENSORS:
        raise WeightsError(
            f"{path}: {len(sent) - len(lost)} of {TENSORS} backbone tensors arrived in the detector"
            f"{', missing ' + ', '.join(lost[:3]) if lost else ''}; "
            "is the backbone's width the one that the detector was built for?"
        )


def _trained(tensors: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors without batch norm's counter of training steps, which frozen norms do not have."""
    kept: dict[str, torch.Tensor] = {}
    for name, value in tensors.items():
        if not name.endswith("num_batches_tracked"):
            kept[name] = torch.as_tensor(value)
    return kept
