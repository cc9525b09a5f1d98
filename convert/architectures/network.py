"""A network without weights: its name in identities, the tensors that it must have, and how it is built."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from twinbench.convert.architectures.plain import PlainVit
from twinbench.convert.architectures.shapes import COUNTER, Shapes, expected_shapes
from twinbench.convert.architectures.trunk import DETECTOR, MAPS, POOLED, TRAINING, Trunk
from twinbench.convert.named import ModelError

RANDOM_SEED = 0


class Network(ABC):
    """An architecture: everything about a backbone but the values of its tensors."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What tells it from others in results and identities: `resnet50`, `timm:vit_base_patch16_224`."""

    @property
    def is_resnet50(self) -> bool:
        """Whether it is the ResNet-50 of any width that detectors take."""
        return False

    @property
    def plain(self) -> PlainVit | None:
        """What a plain vision transformer is told by; None for every other network."""
        return None

    @property
    @abstractmethod
    def offers(self) -> frozenset[str]:
        """What it can be asked for: forms of features (`architectures.trunk`), `training`, `detector`, `plain`."""

    @abstractmethod
    def shapes(self) -> Shapes:
        """Return its tensors' names and shapes in the order of its state dict, which is what a file must hold."""

    def with_drop_path(self, rate: float) -> "Network":
        """Return it with blocks that are left out at a rate which rises to `rate`; ModelError where none can be."""
        if not rate:
            return self
        raise self.has_no_drop_path(rate)

    def has_no_drop_path(self, rate: float) -> ModelError:
        """Return the error of who asks for it."""
        return ModelError(f"drop_path={rate:g}: {self.name} has no blocks that can be left out; expected drop_path=0")

    def as_dict(self) -> dict[str, Any]:
        """Return what a file's note keeps of it; empty where the tensors tell."""
        return {}

    @abstractmethod
    def make(self) -> Trunk:
        """Return it freshly initialised from torch's global generator."""

    @abstractmethod
    def build(self, state_dict: Mapping[str, Tensor]) -> Trunk:
        """Return it in eval mode with a copy of these tensors; the global random state is left alone."""

    def fresh(self) -> dict[str, Tensor]:
        """Return the tensors that `random` means: as initialised from seed 0. The global random state stays."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(RANDOM_SEED)  # torch.manual_seed would leave GPUs' generators changed
            made = self.make().state_dict()
        return {name: made[self.key(name)] for name in self.shapes()}

    def key(self, name: str) -> str:
        """Return how the state dict of a built trunk spells a tensor."""
        return name


@dataclass(frozen=True)
class ResNet50Network(Network):
    """Our ResNet-50 (`architectures.resnet`), all of its channel counts multiplied by `width`."""

    width: float = 1.0

    @property
    def name(self) -> str:
        """Return `resnet50`, or `resnet50-w0.25` for a width other than 1."""
        return "resnet50" if self.width == 1 else f"resnet50-w{self.width:.10g}"

    @property
    def is_resnet50(self) -> bool:
        """Return True."""
        return True

    @property
    def offers(self) -> frozenset[str]:
        """Return everything but a transformer's tokens."""
        return frozenset({POOLED, MAPS, TRAINING, DETECTOR})

    def shapes(self) -> Shapes:
        """Return torchvision's 318 names with their shapes."""
        return expected_shapes(self.width)

    def make(self) -> Trunk:
        """Return a fresh one, initialised as torchvision does."""
        from twinbench.convert.architectures.resnet import ResNet50

        return ResNet50(self.width)

    def build(self, state_dict: Mapping[str, Tensor]) -> Trunk:
        """Return it with these tensors."""
        model = copy.deepcopy(_empty(self)).to_empty(device="cpu")
        model.load_state_dict(dict(state_dict))
        return model.eval()


@cache
def _empty(network: ResNet50Network) -> Trunk:
    """Return a trunk whose tensors have shapes and no values: a copy of it takes a third of the time of a new one."""
    with torch.device("meta"):
        return network.make()


def is_counter(name: str) -> bool:
    """Say whether a tensor only counts batches: no feature depends on it, and it takes part in no proof."""
    return name.endswith(COUNTER)
