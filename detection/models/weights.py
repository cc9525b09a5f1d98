"""The backbone's way into Detectron2's model, with a proof that all of it arrived."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from twinbench.convert.architectures.network import is_counter
from twinbench.convert.architectures.plain import UNUSED
from twinbench.convert.backbone import Backbone
from twinbench.convert.files import load
from twinbench.convert.write import write_backbone
from twinbench.detection.models import vitdet
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

    The main process writes a ResNet-50 to `path` in Detectron2's layout; every one reads it by Detectron2's loader.
    Other networks have their own names in the detector, and need no file. Raises WeightsError and ModelError.
    """
    process = process or Process()
    is_resnet50 = backbone.network.is_resnet50
    if is_resnet50 and process.is_main:
        write_backbone(backbone, path, to="detectron2")
    torch.manual_seed(derived_seed(seed, 0))
    model = with_synchronized_norms(build_model(config), process)
    if not is_resnet50:
        place(backbone, model)
        return model
    is_there(path, process)
    DetectionCheckpointer(model).load(str(path))
    check_arrival(model, path)
    return model


def place(backbone: Backbone, model: nn.Module) -> None:
    """Copy each tensor of a network of another library to its place in `model`. Raises WeightsError unless all fit.

    ViTDet's transformer has timm's names. It has no place for the class token and the last norm, and relative positions
    of its own, which stay zero.
    """
    if backbone.network.plain:
        sent = {name: values for name, values in backbone.state_dict.items() if name not in UNUSED}
        fill(model.get_submodule("backbone.net"), sent, new=vitdet.NEW, what=backbone.source)
        return
    sent = {backbone.network.key(name): values for name, values in backbone.state_dict.items()}
    fill(model.get_submodule("backbone.bottom_up.trunk"), sent, what=backbone.source)


def fill(module: nn.Module, sent: Mapping[str, torch.Tensor], *, new: Collection[str] = (), what: str = "") -> None:
    """Copy `sent` into `module`: each of its tensors but those whose names end in one of `new`, and nothing else.

    Counters of batches are left out, which frozen norms do not have. Raises WeightsError for what does not fit.
    """
    found = module.state_dict()
    wanted = {name for name in found if name.rpartition(".")[2] not in new and not is_counter(name)}
    sent = {name: values for name, values in sent.items() if not is_counter(name)}
    strange = sorted(wanted ^ set(sent))
    strange += [name for name in sorted(wanted & set(sent)) if found[name].shape != sent[name].shape]
    if not strange:
        for name, values in sent.items():
            found[name].copy_(values)
        arrived = module.state_dict()
        strange = [name for name, values in sent.items() if not torch.equal(arrived[name].cpu(), values)]
    if strange:
        raise WeightsError(
            f"{what}: {len(wanted) - len(wanted & set(strange))} of {len(wanted)} tensors of the network fit the "
            f"detector's, not {', '.join(strange[:3])}; was the file read as another network? Run: twinbench inspect"
        )


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
