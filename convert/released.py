"""The classifier that a released network comes with: one linear layer on what its trunk gives, left out elsewhere."""

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from twinbench.convert.architectures.library import LibraryNetwork, timm_library
from twinbench.convert.architectures.network import Network
from twinbench.convert.finding import prove
from twinbench.convert.finding.find import Found, Wanted
from twinbench.convert.named import PRETRAINED, ModelError, named_model
from twinbench.convert.opening import network_named, search


@dataclass(frozen=True)
class Released:
    """A linear classifier, float32: weight (K, F), bias (K,)."""

    weight: Tensor
    bias: Tensor

    @property
    def sha256(self) -> str:
        """The identity of its tensors."""
        return prove.identity({"weight": self.weight, "bias": self.bias})


def released_classifier(spec: str, layout: str | None = None) -> Released:
    """Return the classifier beside the backbone that `spec` names: a file's, or its library's own.

    ModelError where there is none, or where more than one linear layer stands between it and the trunk.
    """
    named = named_model(spec)
    if named and named.weights == PRETRAINED:
        network = LibraryNetwork(named.library, named.name.partition(" ")[0])
        return _of_library(network, spec)
    if spec == "random" or (named and not named.file):
        raise ModelError(f"{spec}: random weights have no classifier; expected a file with one, or NAME=pretrained")
    contents, found = search(spec, Wanted(layout))
    network = network_named(named) if named else found.network
    place = _place(network, spec)
    weight, bias = (_stored(found, place, name, contents.name) for name in ("weight", "bias"))
    return _checked(weight, bias, spec)


def _stored(found: Found, place: str, part: str, file: str) -> Tensor:
    """Return a tensor of the layer that its library calls `place`.

    It lies beside the trunk, under the trunk's prefix, unless the file's layout has a name of its own for it.
    """
    own = found.layout.classifier
    tensor = found.place.stored.get(f"{own or found.place.prefix + place}.{part}")
    if tensor is None:
        raise ModelError(
            f"{file}: holds no {own or found.prefix + place}.{part}; expected the classifier of {found.network.name} "
            "beside its trunk; train a head with imagenet-linear and test that with robust-linear"
        )
    return tensor.fetch().to(torch.float32, copy=True)


def _checked(weight: Tensor, bias: Tensor, spec: str) -> Released:
    """Return the classifier; ModelError for tensors that are no linear layer's."""
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or not (weight.isfinite().all() and bias.isfinite().all()):
        raise ModelError(
            f"{spec}: a classifier of shapes {tuple(weight.shape)} and {tuple(bias.shape)}; expected finite (K, F) and "
            "(K,); is the file damaged?"
        )
    return Released(weight, bias)


def _of_library(network: LibraryNetwork, spec: str) -> Released:
    """Return the classifier that the library itself has for a model, which it may download."""
    place = _place(network, spec)
    tensors = _whole(network, pretrained=True).state_dict()
    return _checked(tensors[f"{place}.weight"].clone(), tensors[f"{place}.bias"].clone(), spec)


def _place(network: Network, spec: str) -> str:
    """Return the name of the linear layer that stands on a network's trunk."""
    if not isinstance(network, LibraryNetwork):
        return "fc"  # our ResNet-50 has torchvision's names
    try:
        with torch.device("meta"):
            whole = _whole(network, pretrained=False)
    except ModelError:  # torchvision's RegNets compute their channels with tensors, which must have values for it
        whole = _whole(network, pretrained=False)
    trunk = {network.key(name).removeprefix("model.") for name in network.shapes()}
    beside = sorted(whole.state_dict().keys() - trunk)
    places = {name.rpartition(".")[0] for name in beside}
    place = places.pop() if len(places) == 1 else ""
    if not place or beside != [f"{place}.bias", f"{place}.weight"] or not _is_linear(whole, place):
        raise ModelError(
            f"{spec}: {', '.join(beside[:4]) or 'nothing'} on the trunk of {network.name}; expected one linear layer "
            "with a bias; test a head that is trained on the trunk instead: robust-linear"
        )
    return place


def _is_linear(whole: nn.Module, place: str) -> bool:
    return isinstance(whole.get_submodule(place), nn.Linear)


def _whole(network: LibraryNetwork, *, pretrained: bool) -> nn.Module:
    """Return the library's model with its classifier. The global random state is left alone."""
    options: dict[str, Any] = dict(network.options)
    with torch.random.fork_rng(devices=[]):
        try:
            if network.library == "timm":
                return timm_library(network.model).create_model(network.model, pretrained=pretrained, **options)
            models = importlib.import_module("torchvision.models")
            return models.get_model(network.model, weights="DEFAULT" if pretrained else None, **options)
        except (OSError, RuntimeError, ValueError) as error:  # no network, no such weights
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{network.name}: the library cannot make it ({reason}); fetch its weights and give NAME=FILE"
            ) from None
