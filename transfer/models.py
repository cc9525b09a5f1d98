"""Backbones beside ResNet-50, frozen: another library's model by its name (convert/named.py), or a module of one's own.

A library's model gives as features what enters its last linear layer; its input convention is the library's. The image
transform stays the protocol's.
"""

import copy
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from twinbench.convert import files
from twinbench.convert.architectures.modules import module_architecture
from twinbench.convert.convention import IMAGENET, InputConvention, as_convention
from twinbench.convert.finding import prove
from twinbench.convert.load import RANDOM_SEED, Backbone, build_model, open_backbone
from twinbench.convert.named import PRETRAINED, RANDOM, ModelError, NamedModel, named_model
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
            features = self.model(images)
        except AssertionError as error:  # how both libraries refuse an image size
            side = images.shape[-1]
            raise ModelError(
                f"{self.name}: takes no images of {side} px ({error}); use --set transform.crop=..."
            ) from None
        self._require_features(features, len(images))
        return features.flatten(1)

    def feature_map(self, images: Tensor) -> Tensor:
        """Refuse: res5 is a ResNet's."""
        raise ModelError(f"{self.name}: has no res5 map; use a protocol on pooled features, such as voc07-svm-gap")

    def _require_features(self, found: Any, images: int) -> None:
        """Raise ModelError unless the model gave a row of numbers for each image."""
        fits = isinstance(found, Tensor) and found.ndim > 1 and len(found) == images and found.is_floating_point()
        if not fits:
            told = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(f"{self.name}: gives {told} for {images} images; expected features, floats (N, F)")


@dataclass(frozen=True, kw_only=True)
class ModelBackbone(Backbone):
    """A network other than the ResNet-50 of `convert`; `state_dict` are all of its tensors.

    `layout` says what it is for the table, that its weights are random included.
    """

    trunk: Trunk

    @property
    def architecture(self) -> str:
        """LIBRARY:NAME, or `module:` and what tells the module's code from others."""
        return self.trunk.name

    @property
    def is_resnet(self) -> bool:
        """No: it stays frozen, and only its pooled features are taken."""
        return False

    @property
    def details(self) -> dict[str, str]:
        """What it is, and what named it."""
        return {"backbone": self.layout, "source": self.source}


def open_any(
    backbone: str | Path | nn.Module,
    width: float = 1.0,
    convention: InputConvention | Mapping[str, Any] | str | None = None,
) -> Backbone:
    """Return the backbone that is meant: a checkpoint's path, zoo:NAME, `random`, LIBRARY:NAME=WEIGHTS, or a module.

    `width` is that of a random ResNet-50. `convention`, see `as_convention`, replaces the one that is known of a
    checkpoint; of a module nothing is known, and none means ImageNet's.
    """
    if isinstance(backbone, nn.Module):
        return module_backbone(backbone, convention)
    if not isinstance(backbone, str | Path):
        raise ModelError(f"backbone {type(backbone).__name__}: expected a path, a name or an nn.Module")
    named = named_model(str(backbone))
    found = open_named(named) if named else open_backbone(str(backbone), width)
    return found if convention is None else replace(found, convention=as_convention(convention))


def module_backbone(
    module: nn.Module, convention: InputConvention | Mapping[str, Any] | str | None = None, name: str = ""
) -> ModelBackbone:
    """Return a backbone with a copy of `module`, which maps images (N, 3, H, W) to features (N, F).

    Images come normalised as `convention` says, ImageNet's if it is None. The module itself is left as it is, in its
    mode and on its device. `name` is the row of the table, by default the name of its class. Raises ModelError.
    """
    module = _unwrapped(module)
    name = name or type(module).__name__
    _require_float32(module, name)
    architecture = module_architecture(module)
    try:
        copied = copy.deepcopy(module).cpu().eval()
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"{name}: cannot be copied ({error}); expected a module of parameters and buffers, nothing that computes "
            "them or holds files and processes"
        ) from None
    tensors = copied.state_dict()
    sha256 = prove.identity(tensors.items())
    trunk = Trunk(copied, architecture)
    return ModelBackbone(
        tensors, architecture, "", sha256, convention=as_convention(convention), source=name, trunk=trunk
    )


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return what torch.compile or the wrappers for several GPUs were given."""
    inner: Any = getattr(module, "_orig_mod", None)
    if isinstance(module, nn.DataParallel | DistributedDataParallel):
        inner = module.module
    return module if inner is None else _unwrapped(inner)


def _require_float32(module: nn.Module, name: str) -> None:
    """Raise ModelError for a module that images in float32 do not enter, or whose code is not Python's."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise ModelError(f"{name}: is TorchScript, whose code has no identity; give the nn.Module that it was made of")
    for key, values in module.state_dict(keep_vars=True).items():
        if is_lazy(values):
            raise ModelError(f"{name}: {key} has no shape yet; let the module see a batch of images first")
        if not isinstance(values, Tensor):
            raise ModelError(f"{name}: {key} of its state dict is a {type(values).__name__}; expected tensors only")
        if values.is_floating_point() and values.dtype != torch.float32:
            raise ModelError(f"{name}: {key} is {values.dtype}; expected float32: give module.float()")


def open_named(named: NamedModel) -> ModelBackbone:
    """Return the model with its weights, or with random ones from seed 0, in eval mode on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(RANDOM_SEED)  # torch.manual_seed would leave GPUs' generators changed
        make = _timm if named.library == "timm" else _torchvision
        model, names, convention = make(named.name, named.weights == PRETRAINED)
    if named.file:
        files.regular_file(named.file)
        _load(model, names, named.file, named.label)
    tensors = model.state_dict()
    return ModelBackbone(
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
    return copy.deepcopy(backbone.trunk) if isinstance(backbone, ModelBackbone) else build_model(backbone)


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
