"""Writing a proven backbone in the form another library reads; every form carries the input convention."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import Tensor

from twinbench.convert import files
from twinbench.convert.backbone import Backbone
from twinbench.convert.files import CheckpointError
from twinbench.convert.finding.names import detectron2_name
from twinbench.convert.note import note_of
from twinbench.convert.reading.contents import NOTE
from twinbench.protocols.house import unknown

FORMS = ("torchvision", "detectron2", "timm", "safetensors")
ENDINGS = (".pth", ".pt", ".pth.tar", ".ckpt", ".bin", ".safetensors", ".pkl")  # the first five are torch's


def write_backbone(backbone: Backbone, path: Path | str, to: str = "") -> None:
    """Write `backbone` to the file `path` in the form `to`: torchvision, detectron2, timm or safetensors.

    torchvision: a dict of tensors under torchvision's names, a ResNet-50's 318. timm: {"arch", "state_dict"}, for
    `create_model(arch, num_classes=0, checkpoint_path=...)`. detectron2: {"model", "matching_heuristics",
    "__author__"}, a pickle if the name ends in .pkl; ResNet-50s only. Nothing said: `form_of`. The file appears whole
    or not at all. Raises CheckpointError for a form that does not exist, or does not fit the name or the network.
    """
    path = Path(path)
    to = to or form_of(path, backbone)
    _check_name(path, to)
    _check_network(backbone, path, to)
    note = note_of(backbone)
    tensors = {name: values.contiguous() for name, values in backbone.state_dict.items()}
    if to == "safetensors":
        files.save_safetensors(tensors, {"format": "pt", NOTE: note}, path)
    elif to == "detectron2":
        _write_detectron2(tensors, note, path)
    elif to == "timm":
        files.save({"arch": _arch(backbone), "state_dict": OrderedDict(tensors), NOTE: note}, path)
    else:
        named = OrderedDict(tensors)
        named._metadata = OrderedDict({NOTE: note})  # type: ignore[attr-defined]  # where torch keeps versions
        files.save(named, path)


def form_of(path: Path | str, backbone: Backbone | None = None) -> str:
    """Return the form that a name suggests: .safetensors, .pkl (Detectron2), else that of the network's library."""
    of_library = "timm" if backbone and backbone.architecture.startswith("timm:") else "torchvision"
    return {".safetensors": "safetensors", ".pkl": "detectron2"}.get(Path(path).suffix, of_library)


def _arch(backbone: Backbone) -> str:
    """Return timm's name of the network; it has torchvision's ResNets under the same names."""
    name = backbone.architecture.partition(":")[2].partition(" ")[0]
    return name or "resnet50"


def _check_network(backbone: Backbone, path: Path, to: str) -> None:
    """Refuse a form whose readers know no such network."""
    network, library = backbone.network, backbone.architecture.partition(":")[0]
    fits = {
        "torchvision": network.is_resnet50 or library == "torchvision",
        "timm": library == "timm" or "layer4.0.conv1.weight" in network.shapes(),
        "detectron2": network.is_resnet50,
    }
    if not fits.get(to, True):
        raise CheckpointError(
            f"{path}: {network.name} in the form {to}, which is not of that network; expected --to "
            f"{'timm or ' if fits['timm'] else ''}safetensors"
        )


def _write_detectron2(tensors: dict[str, Tensor], note: str, path: Path) -> None:
    """Write what DetectionCheckpointer loads; without matching_heuristics it would load nothing, with a warning."""
    model: dict[str, Any] = {detectron2_name(name): values for name, values in tensors.items()}
    marks = {"matching_heuristics": True, "__author__": "twinbench", NOTE: note}
    if path.suffix == ".pkl":
        model = {name: values.numpy() for name, values in model.items()}
        files.save_pickle({"model": model, **marks}, path)
    else:
        files.save({"model": model, **marks}, path)


def _check_name(path: Path, to: str) -> None:
    """Refuse an unknown form, a name that promises another one, and a folder."""
    if to not in FORMS:
        raise CheckpointError(unknown("form", to, FORMS))
    if path.suffix in (".safetensors", ".pkl") and form_of(path) != to:
        raise CheckpointError(f"{path}: a name ending in {path.suffix} for the form {to}; call it {path.stem}.pth")
    if to == "safetensors" and path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: the form safetensors needs a name ending in .safetensors")
    require_ending(path)


def require_ending(path: Path | str) -> None:
    """Raise CheckpointError unless the name promises what will be in the file.

    `convert x out.onnx` wrote a file of torch, which its reader called damaged. No ending promises nothing at all.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder; OUT is the file to write, for example {path / 'resnet50.pth'}")
    if not path.name.endswith(ENDINGS):
        found = f"a name ending in {path.suffix}" if path.suffix else "a name without an ending"
        raise CheckpointError(
            f"{path}: {found}, which no form has; expected {', '.join(ENDINGS)}; call it {path.stem}.pth"
        )
