"""A user's own `nn.Module` as a backbone, under an identity of its tensors, its code and its input convention."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from twinbench.convert.architectures.library_trunks import LibraryTrunk
from twinbench.convert.architectures.modules import module_architecture
from twinbench.convert.architectures.network import Network
from twinbench.convert.architectures.shapes import Shapes
from twinbench.convert.architectures.trunk import POOLED, Trunk
from twinbench.convert.backbone import Backbone
from twinbench.convert.convention import InputConvention, as_convention
from twinbench.convert.finding import prove
from twinbench.convert.named import ModelError


@dataclass(frozen=True, eq=False)
class ModuleNetwork(Network):
    """A copy of somebody's module, which no other process can build."""

    module: nn.Module
    architecture: str

    @property
    def name(self) -> str:
        """Return `module:CLASS-` and what tells its code from others'."""
        return self.architecture

    @property
    def offers(self) -> frozenset[str]:
        """Return `pooled`: what calling it gives."""
        return frozenset({POOLED})

    def shapes(self) -> Shapes:
        """Return what its state dict has."""
        return {name: tuple(values.shape) for name, values in self.module.state_dict().items()}

    def make(self) -> Trunk:
        """Return a copy as it is: nobody but its owner can initialise it."""
        return LibraryTrunk(copy.deepcopy(self.module), self.architecture)

    def build(self, state_dict: Mapping[str, Tensor]) -> Trunk:
        """Return a copy with these tensors."""
        trunk = self.make()
        trunk.load_state_dict({self.key(name): values for name, values in state_dict.items()})
        return trunk.eval()

    def key(self, name: str) -> str:
        """Return the name below `model.`."""
        return f"model.{name}"


def module_backbone(
    module: nn.Module, convention: InputConvention | Mapping[str, Any] | str | None = None, name: str = ""
) -> Backbone:
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
    return Backbone(
        tensors,
        architecture,
        "",
        prove.identity(tensors),
        ModuleNetwork(copied, architecture),
        as_convention(convention),
        "assumed: nothing was asked for" if convention is None else "asked for",
        name,
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
