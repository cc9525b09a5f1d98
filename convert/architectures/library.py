"""Networks of timm and torchvision, built by these libraries: their names, their tensors, their forward pass.

A network is a model's name and, where an origin's files need it, options of its constructor: MoCo v3's ViT-S has 12
heads and timm's has 6, with tensors of the same shapes.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from twinbench.convert.architectures.network import Network
from twinbench.convert.architectures.positions import POSITIONS, Positions, at_grid
from twinbench.convert.architectures.shapes import Shapes
from twinbench.convert.architectures.trunk import MAPS, POOLED, TOKENS, Tokens, Trunk
from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.convert.named import ModelError
from twinbench.protocols.house import unknown

Options = tuple[tuple[str, Any], ...]


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
        """Return the forms of features of its trunk; ResNets can be trained."""
        trained = {"training"} if "layer4.0.conv1.weight" in self.shapes() else set[str]()
        return _empty(self).offers | trained

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
        return cls(library, model, options, POSITIONS.get(positions))

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
    with torch.device("meta"):
        return network.make()


@cache
def _shapes(network: LibraryNetwork) -> Shapes:
    tensors = _empty(network).state_dict()
    return {name.removeprefix("model."): tuple(values.shape) for name, values in tensors.items()}


class LibraryTrunk(Trunk):
    """A library's model without its classifier."""

    def __init__(self, model: nn.Module, name: str, positions: Positions | None = None) -> None:
        super().__init__()
        self.model, self.name, self.positions = model, name, positions
        self._original: Tensor | None = None  # position embeddings as the file has them

    def forward(self, images: Tensor) -> Tensor:
        """Return what enters the classifier (N, F)."""
        features = self._run(lambda: self.model(images), images)
        fits = isinstance(features, Tensor) and features.ndim > 1 and len(features) == len(images)
        if not fits or not features.is_floating_point():
            raise ModelError(f"{self.name}: gives {_told(features)} for {len(images)} images; expected features (N, F)")
        return features.flatten(1)

    def _run(self, compute: Callable[[], Any], images: Tensor) -> Any:
        """Compute with position embeddings of the images' size."""
        self._fit_positions(images)
        try:
            return compute()
        except AssertionError as error:  # how both libraries refuse an image size
            side = images.shape[-1]
            raise ModelError(
                f"{self.name}: takes no images of {side} px ({error}); use --set transform.crop=..."
            ) from None

    def _fit_positions(self, images: Tensor) -> None:
        """Put position embeddings for the images' grid of patches in place of the file's, as the origin's code does.

        Where there is no rule of an origin's, timm's own is applied inside its forward pass.
        """
        if self.positions is None:
            return
        held: Any = self.model.pos_embed
        if self._original is None:
            self._original = held.detach().clone()
        patch = self.model.get_submodule("patch_embed").patch_size  # type: ignore[union-attr]
        grid = images.shape[-2] // patch[0], images.shape[-1] // patch[1]  # type: ignore[index]
        fitted = at_grid(self._original.to(held.device), grid, self.positions)
        if fitted.shape != held.shape or not torch.equal(fitted, held):
            self.model.pos_embed = nn.Parameter(fitted, requires_grad=held.requires_grad)


class TimmTrunk(LibraryTrunk):
    """A model of timm's. Those with `forward_intermediates` say what their blocks or stages give."""

    def __init__(self, model: nn.Module, name: str, positions: Positions | None = None) -> None:
        super().__init__(model, name, positions)
        model_: Any = model
        if hasattr(model, "forward_intermediates"):
            self.offers = frozenset({POOLED, TOKENS if hasattr(model_, "num_prefix_tokens") else MAPS})

    def tokens(self, images: Tensor, last: int = 1) -> Sequence[Tokens]:
        """Return the tokens after each of the `last` blocks, normalised by the final norm."""
        if TOKENS not in self.offers:
            return super().tokens(images, last)
        found = self._run(lambda: self._intermediates(images, last, norm=True, return_prefix_tokens=True), images)
        has_class = getattr(self.model, "cls_token", None) is not None
        return [_tokens(patches, prefix, has_class) for patches, prefix in found]

    def maps(self, images: Tensor, last: int = 4) -> Sequence[Tensor]:
        """Return the maps after each of the `last` stages."""
        if MAPS not in self.offers:
            return super().maps(images, last)
        return self._run(lambda: self._intermediates(images, last), images)

    def _intermediates(self, images: Tensor, last: int, **keywords: Any) -> list[Any]:
        model: Any = self.model
        return model.forward_intermediates(images, indices=last, output_fmt="NCHW", intermediates_only=True, **keywords)


def _tokens(patches: Tensor, prefix: Tensor | None, has_class: bool) -> Tokens:
    """Sort what stands before the patches into the class token and the registers."""
    if prefix is None:
        prefix = patches.new_empty(len(patches), 0, patches.shape[1])
    image = prefix[:, 0] if has_class else None
    return Tokens(image, prefix[:, int(has_class) :], patches)


class TorchvisionTrunk(LibraryTrunk):
    """A model of torchvision's; of its ResNets the stages' maps are known."""

    def __init__(self, model: nn.Module, name: str, positions: Positions | None = None) -> None:
        super().__init__(model, name, positions)
        if hasattr(model, "layer4"):
            self.offers = frozenset({POOLED, MAPS})

    def maps(self, images: Tensor, last: int = 4) -> Sequence[Tensor]:
        """Return the outputs of the `last` of layer1 to layer4."""
        if MAPS not in self.offers:
            return super().maps(images, last)
        model: Any = self.model
        x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
        kept: list[Tensor] = []
        for number in range(1, 5):
            x = model.get_submodule(f"layer{number}")(x)
            if number > 4 - last:
                kept.append(x)
        return kept


def _told(found: Any) -> str:
    return f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__


def make_timm(name: str, options: Mapping[str, Any], pretrained: bool) -> nn.Module:
    """Return timm's model without its classifier. Vision transformers take any image size."""
    timm = timm_library(name)
    if not timm.is_model(name):
        raise ModelError(unknown("timm model", name, timm.list_models()))
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
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError:
        raise ModelError(
            f"timm:{name}: needs the package timm, which is not installed; run: pip install timm"
        ) from None


def make_torchvision(name: str, options: Mapping[str, Any], pretrained: bool) -> nn.Module:
    """Return torchvision's model without its last linear layer."""
    models = importlib.import_module("torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise ModelError(unknown("torchvision model", name, known))
    model = _made(lambda: models.get_model(name, weights="DEFAULT" if pretrained else None, **options), name)
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
    timm = timm_library(network.model)
    if not timm.is_model(network.model):
        raise ModelError(unknown("timm model", network.model, timm.list_models()))
    config = timm.get_pretrained_cfg(network.model)
    return InputConvention(tuple(config.mean), tuple(config.std))


def pretrained_tensors(network: LibraryNetwork) -> dict[str, Tensor]:
    """Return the tensors that the library itself offers for the model, which it may download."""
    with torch.random.fork_rng(devices=[]):
        return dict(_LIBRARIES[network.library](network.model, dict(network.options), True).state_dict())
