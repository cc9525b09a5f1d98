"""Backbones by another library's name (convert/named.py), frozen: today's models beside ResNet-50.

A model's features are what enters its last linear layer. Its input convention is the library's; the image transform
stays the protocol's.
"""

import copy
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from twinbench.convert import files, prove
from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.convert.load import RANDOM_SEED, Backbone, build_model
from twinbench.convert.named import PRETRAINED, RANDOM, ModelError, NamedModel
from twinbench.protocols.house import unknown


class Trunk(nn.Module):
    """A model without its classifier, under the names that a ResNet-50 of `convert` has."""

    def __init__(self, model: nn.Module, name: str) -> None:
        """Take `model`, which maps images (N, 3, H, W) to features (N, F)."""
        super().__init__()
        self.model, self.name = model, name

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, F)."""
        try:
            return self.model(images).flatten(1)
        except AssertionError as error:  # how both libraries refuse an image size
            side = images.shape[-1]
            raise ModelError(
                f"{self.name}: takes no images of {side} px ({error}); use --set transform.crop=..."
            ) from None

    def feature_map(self, images: Tensor) -> Tensor:
        """Refuse: res5 is a ResNet's."""
        raise ModelError(f"{self.name}: has no res5 map; use a protocol on pooled features, such as voc07-svm-gap")


@dataclass(frozen=True, kw_only=True)
class NamedBackbone(Backbone):
    """A network other than the ResNet-50 of `convert`; `state_dict` are all of its tensors.

    `layout` says what it is for the table, that its weights are random included.
    """

    trunk: Trunk

    @property
    def architecture(self) -> str:
        """LIBRARY:NAME."""
        return self.trunk.name


def open_named(named: NamedModel) -> NamedBackbone:
    """Return the model with its weights, or with random ones from seed 0, in eval mode on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        make = _timm if named.library == "timm" else _torchvision
        model, names, convention = make(named.name, named.weights == PRETRAINED)
    if named.file:
        files.regular_file(named.file)
        _load(model, names, named.file, named.label)
    tensors = model.state_dict()
    return NamedBackbone(
        tensors,
        str(named) if named.weights == RANDOM else named.label,
        "",
        prove.identity(tensors.items()),
        convention=convention,
        source=str(named),
        trunk=Trunk(model.eval(), named.label),
    )


def build_trunk(backbone: Backbone) -> Any:
    """Return a model in eval mode with a copy of the backbone's tensors."""
    return copy.deepcopy(backbone.trunk) if isinstance(backbone, NamedBackbone) else build_model(backbone)


def _torchvision(name: str, pretrained: bool) -> tuple[nn.Module, set[str], InputConvention]:
    """Return the model without its last linear layer, and the names of all tensors that it has with it."""
    models = importlib.import_module("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise ModelError(unknown("torchvision model", name, known))
    model = _fetched(lambda: models.get_model(name, weights="DEFAULT" if pretrained else None), name)
    names = set(model.state_dict())
    last = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not last:
        raise ModelError(f"torchvision:{name}: has no linear classifier to take off; choose another model")
    parent, _, attribute = last[-1].rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())
    return model, names, IMAGENET


def _timm(name: str, pretrained: bool) -> tuple[nn.Module, set[str], InputConvention]:
    """Return the model without its classifier, and the names of all tensors that it has with it."""
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError:
        raise ModelError(f"timm:{name}: needs the package timm, which is not installed; run: make setup") from None
    if not timm.is_model(name):
        raise ModelError(unknown("timm model", name, timm.list_models()))
    whole = _fetched(lambda: timm.create_model(name, pretrained=pretrained), name)
    names, config = set(whole.state_dict()), whole.pretrained_cfg
    whole.reset_classifier(0)
    return whole, names, InputConvention(tuple(config["mean"]), tuple(config["std"]))


def _fetched(make: Callable[[], Any], name: str) -> Any:
    """Make a model; its library may have to download weights for it."""
    try:
        return make()
    except (OSError, RuntimeError, ValueError) as error:  # no network, no such weights
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{name}: the library cannot make it ({reason}); fetch its weights and give NAME=FILE"
        ) from None


def _load(model: nn.Module, names: set[str], path: Path, layout: str) -> None:
    """Load `path` into the model: every tensor must arrive, and only the classifier's may be left over."""
    if path.suffix == ".safetensors":
        try:
            found: Any = load_file(path)
        except SafetensorError as error:
            raise ModelError(f"{path}: not a whole safetensors file ({error}); fetch it again") from None
    else:
        try:
            found = files.load(path)
        except files.CheckpointError:
            raise ModelError(
                f"{path}: no whole file of weights; expected {layout}'s state dict as torch.save writes it, or as "
                ".safetensors; fetch it again"
            ) from None
    for key in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    wanted = model.state_dict()
    if not isinstance(found, Mapping) or not all(isinstance(values, Tensor) for values in found.values()):
        raise ModelError(f"{path}: no dict of tensors; expected the weights of {layout}")
    missing, strange = sorted(wanted.keys() - found.keys()), sorted(found.keys() - names)
    bent = [name for name in wanted.keys() & found.keys() if wanted[name].shape != found[name].shape]
    for what, those in (("lacks", missing), ("has unknown tensors", strange), ("has other shapes of", sorted(bent))):
        if those:
            raise ModelError(
                f"{path}: {what} {', '.join(those[:3])} ({len(those)} in all); expected {layout}'s weights"
            )
    model.load_state_dict({name: found[name] for name in wanted})
