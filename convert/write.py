"""Writing a proven backbone in the form another library reads; every form carries the input convention."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from twinbench.convert import files
from twinbench.convert.files import CheckpointError
from twinbench.convert.finding.names import detectron2_name
from twinbench.convert.load import Backbone
from twinbench.convert.reading.contents import NOTE
from twinbench.protocols.house import unknown

FORMS = ("torchvision", "detectron2", "timm", "safetensors")


def write_backbone(
    backbone: Backbone, path: Path | str, to: str = "torchvision", *, written: Callable[[int], None] | None = None
) -> None:
    """Write `backbone` to the file `path` in the form `to`: torchvision, detectron2, timm or safetensors.

    torchvision: a dict of 318 tensors. timm: {"arch", "state_dict"}, for `create_model("resnet50", num_classes=0,
    checkpoint_path=...)`. detectron2: {"model", "matching_heuristics", "__author__"}, a pickle if the name ends in
    .pkl. The file appears whole or not at all; `written` hears of the bytes on the way. Raises
    CheckpointError for a form that does not exist or does not fit the name.
    """
    path = Path(path)
    _check_name(path, to)
    note = _note(backbone)
    tensors = {name: values.contiguous() for name, values in backbone.state_dict.items()}
    if to == "safetensors":
        files.save_safetensors(tensors, {"format": "pt", NOTE: note}, path, written)
    elif to == "detectron2":
        _write_detectron2(tensors, note, path, written)
    elif to == "timm":
        files.save({"arch": "resnet50", "state_dict": OrderedDict(tensors), NOTE: note}, path, written)
    else:
        named = OrderedDict(tensors)
        named._metadata = OrderedDict({NOTE: note})  # type: ignore[attr-defined]  # where torch keeps versions
        files.save(named, path, written)


def form_of(path: Path | str) -> str:
    """Return the form that a file name suggests: .safetensors, .pkl (Detectron2), else torchvision."""
    return {".safetensors": "safetensors", ".pkl": "detectron2"}.get(Path(path).suffix, "torchvision")


def _write_detectron2(tensors: dict[str, Tensor], note: str, path: Path, written: Callable[[int], None] | None) -> None:
    """Write what DetectionCheckpointer loads; without matching_heuristics it would load nothing, with a warning."""
    model: dict[str, Any] = {detectron2_name(name): values for name, values in tensors.items()}
    marks = {"matching_heuristics": True, "__author__": "twinbench", NOTE: note}
    if path.suffix == ".pkl":
        model = {name: values.numpy() for name, values in model.items()}
        files.save_pickle({"model": model, **marks}, path, written)
    else:
        files.save({"model": model, **marks}, path, written)


def _check_name(path: Path, to: str) -> None:
    """Refuse an unknown form, a name that promises another one, and a folder."""
    if to not in FORMS:
        raise CheckpointError(unknown("form", to, FORMS))
    if path.suffix in (".safetensors", ".pkl") and form_of(path) != to:
        raise CheckpointError(f"{path}: a name ending in {path.suffix} for the form {to}; call it {path.stem}.pth")
    if to == "safetensors" and path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: the form safetensors needs a name ending in .safetensors")
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder; OUT is the file to write, for example {path / 'resnet50.pth'}")


def _note(backbone: Backbone) -> str:
    """Return what is known of the backbone as JSON, the same text for the same backbone."""
    known = {"convention": backbone.convention.as_dict(), "layout": backbone.layout, "sha256": backbone.sha256}
    return json.dumps({**known, "width": backbone.width}, sort_keys=True)
