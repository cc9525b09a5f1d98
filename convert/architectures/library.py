"""Networks of timm and torchvision, built by these libraries: their names, their tensors, their forward pass.

A network is a model's name and, where an origin's files need it, options of its constructor: MoCo v3's ViT-S has 12
heads and timm's has 6, with tensors of the same shapes.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from twinbench.convert.architectures.library_trunks import TimmTrunk, TorchvisionTrunk, leave_out_blocks
from twinbench.convert.architectures.network import Network
from twinbench.convert.architectures.plain import PlainVit, plain_vit
from twinbench.convert.architectures.positions import POSITIONS, Positions
from twinbench.convert.architectures.shapes import Shapes
from twinbench.convert.architectures.trunk import PLAIN, TRAINING, Trunk
from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.convert.named import ModelError
from twinbench.protocols.house import optional, unknown

Options = tuple[tuple[str, Any], ...]
VITS = ("VisionTransformer", "Eva")  # classes of vision transformers: both libraries', and timm's of DINOv3
DROP_PATH = "drop_path_rate"  # timm's option of constructors


@dataclass(frozen=True)
class LibraryNetwork(Network):
    """`library` is timm or torchvision, `model` its name there, `options` go to its constructor.

    `positions` is how the origin's own code fits position embeddings to another image size, where not as timm does.
    """

    library: str
    model: str
    options: Options = ()
    positions: Positions | None = None

    @property
    def name(self) -> str:
        """Return LIBRARY:NAME, with the options behind it: `timm:vit_small_patch16_224 num_heads=12`."""
        return " ".join([f"{self.library}:{self.model}", *(f"{name}={value}" for name, value in self.options)])

    @property
    def offers(self) -> frozenset[str]:
        """Return the forms of features of its trunk; plain transformers can be rebuilt by ViTDet.

        ResNets can be trained, since it is known whose statistics their batch norms see together, and vision
        transformers, which have none. Not Swins and ConvNeXts: they leave out blocks unasked, by draws of their own.
        """
        trained = {TRAINING} if self._is_resnet or self._is_vit else set[str]()
        rebuilt = {PLAIN} if self.plain else set[str]()
        return _empty(self).offers | trained | rebuilt

    @property
    def _is_resnet(self) -> bool:
        return "layer4.0.conv1.weight" in self.shapes()

    @property
    def _is_vit(self) -> bool:
        return type(_model(_empty(self))).__name__ in VITS

    def with_drop_path(self, rate: float) -> Network:
        """Return it with blocks that are left out at a rate which rises to `rate`; ModelError where none can be."""
        if not rate:
            return self
        if not self._is_vit:
            raise self.has_no_drop_path(rate)
        options = dict(self.options) | {DROP_PATH: rate}
        return replace(self, options=tuple(sorted(options.items())))

    @property
    def plain(self) -> PlainVit | None:
        """Return what a plain vision transformer is told by; None for every other network."""
        return plain_vit(_model(_empty(self)))

    def as_dict(self) -> dict[str, Any]:
        """Return it in plain values, as a file's note keeps it."""
        positions = None if self.positions is None else self.positions.name
        return {"library": self.library, "model": self.model, "options": dict(self.options), "positions": positions}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "LibraryNetwork":
        """Read what `as_dict` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        library, model, positions = fields["library"], fields["model"], fields["positions"]
        if library not in _LIBRARIES or not isinstance(model, str) or positions not in (None, *POSITIONS):
            raise ValueError("no network")
        options = tuple(sorted(dict(fields["options"]).items()))
        if not all(isinstance(value, str | int | float | bool) for _, value in options):
            raise ValueError("no network")
        return cls(library, model, options, POSITIONS[positions] if positions else None)

    def shapes(self) -> Shapes:
        """Return its state dict's names and shapes, without its classifier."""
        return _shapes(self)

    def make(self) -> Trunk:
        """Return a fresh one."""
        return self._trunk(_LIBRARIES[self.library](self.model, dict(self.options), False))

    def build(self, state_dict: Mapping[str, Tensor]) -> Trunk:
        """Return it with these tensors. Buffers that no file holds are computed anew, so it is really initialised."""
        with torch.random.fork_rng(devices=[]):
            trunk = self.make()
        trunk.load_state_dict({self.key(name): values for name, values in state_dict.items()})
        return trunk.eval()

    def key(self, name: str) -> str:
        """Return the name below `model.`."""
        return f"model.{name}"

    def _trunk(self, model: nn.Module) -> Trunk:
        wrapper = TimmTrunk if self.library == "timm" else TorchvisionTrunk
        return wrapper(model, self.name, self.positions)


@cache
def _empty(network: LibraryNetwork) -> Trunk:
    """Return a trunk whose tensors have shapes and no values."""
    try:
        with torch.device("meta"):
            return network.make()
    except ModelError:  # torchvision's RegNets compute their channels with tensors, which must have values for it
        with torch.random.fork_rng(devices=[]):
            return network.make().to("meta")


def _model(trunk: Trunk) -> nn.Module:
    """Return the library's model in a trunk of its."""
    return trunk.get_submodule("model")


@cache
def _shapes(network: LibraryNetwork) -> Shapes:
    tensors = _empty(network).state_dict()
    return {name.removeprefix("model."): tuple(values.shape) for name, values in tensors.items()}


def require_model(library: str, name: str) -> None:
    """Raise ModelError unless the library has a model of that name."""
    if library == "timm":
        timm = timm_library(name)
        if not timm.is_model(name):
            raise ModelError(unknown("timm model", name, timm.list_models()))
        return
    models = importlib.import_module("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise ModelError(unknown("torchvision model", name, known))


def make_timm(name: str, options: Mapping[str, Any], pretrained: bool) -> nn.Module:
    """Return timm's model without its classifier. Vision transformers take any image size."""
    require_model("timm", name)
    timm = timm_library(name)
    given = dict(options)
    if _takes_any_size(timm, name):
        given.setdefault("dynamic_img_size", True)
    return _made(lambda: timm.create_model(name, pretrained=pretrained, num_classes=0, **given), name)


def _takes_any_size(timm: ModuleType, name: str) -> bool:
    """Say whether timm's model fits its position embeddings to the image, which it does only if asked."""
    module = timm.model_entrypoint(name).__module__.rpartition(".")[2]
    return module in ("vision_transformer", "eva")


def timm_library(name: str) -> ModuleType:
    """Return timm, or raise ModelError where it is not installed."""
    return optional("timm", "models", f"timm:{name}", ModelError)


def make_torchvision(name: str, options: Mapping[str, Any], pretrained: bool) -> nn.Module:
    """Return torchvision's model without its last linear layer."""
    require_model("torchvision", name)
    models = importlib.import_module("torchvision.models")
    given = dict(options)
    rate = given.pop(DROP_PATH, 0.0)
    model = _made(lambda: models.get_model(name, weights="DEFAULT" if pretrained else None, **given), name)
    if rate:
        leave_out_blocks(model, rate)
    last = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not last:
        raise ModelError(f"torchvision:{name}: has no linear classifier to take off; choose another model")
    parent, _, attribute = last[-1].rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())
    return model


def _made(make: Callable[[], Any], name: str) -> Any:
    """Make a model; its library may have to download weights for it."""
    try:
        return make()
    except (OSError, RuntimeError, ValueError) as error:  # no network, no such weights
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{name}: the library cannot make it ({reason}); fetch its weights and give NAME=FILE"
        ) from None


_LIBRARIES: dict[str, Callable[[str, Mapping[str, Any], bool], nn.Module]] = {
    "timm": make_timm,
    "torchvision": make_torchvision,
}


def conventions(network: LibraryNetwork) -> dict[InputConvention, str]:
    """Return every input convention that the library's own weights of a model have, with some of their names.

    All of torchvision's weights have ImageNet's.
    """
    if network.library == "torchvision":
        return {IMAGENET: "torchvision"}
    timm = timm_library(network.model)
    known: dict[InputConvention, list[str]] = {}
    for tag in timm.list_pretrained(f"{network.model}.*") or [network.model]:
        config = timm.get_pretrained_cfg(tag)
        convention = InputConvention(tuple(config.mean), tuple(config.std))
        known.setdefault(convention, []).append(tag.partition(".")[2] or "timm")
    return {convention: ", ".join(tags[:3]) for convention, tags in known.items()}


def default_convention(network: LibraryNetwork) -> InputConvention:
    """Return the input convention of the library's default weights of a model."""
    if network.library == "torchvision":
        return IMAGENET
    require_model("timm", network.model)
    timm = timm_library(network.model)
    config = timm.get_pretrained_cfg(network.model)
    return InputConvention(tuple(config.mean), tuple(config.std))


def pretrained_tensors(network: LibraryNetwork) -> dict[str, Tensor]:
    """Return the tensors that the library itself offers for the model, which it may download."""
    with torch.random.fork_rng(devices=[]):
        return dict(_LIBRARIES[network.library](network.model, dict(network.options), True).state_dict())
