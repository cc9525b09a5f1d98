"""From what a user calls a backbone to the proven backbone.

A path, zoo:NAME, hf:ORG/MODEL, LIBRARY:NAME=WEIGHTS, `random`, or a module of one's own.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinbench.convert.architectures.network import Network, ResNet50Network
from twinbench.convert.backbone import Backbone, fresh_backbone
from twinbench.convert.convention import IMAGENET, InputConvention, as_convention
from twinbench.convert.conventions import ASKED
from twinbench.convert.finding import prove
from twinbench.convert.finding.find import Found, Wanted, find
from twinbench.convert.load import take
from twinbench.convert.named import PRETRAINED, RANDOM, ModelError, NamedModel, named_model
from twinbench.convert.note import noted
from twinbench.convert.reading import hub
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.reader import open_checkpoint
from twinbench.convert.zoo import entry_named

if TYPE_CHECKING:
    from torch import nn

Convention = InputConvention | Mapping[str, Any] | str | None


def open_backbone(
    backbone: "str | Path | nn.Module",
    random_width: float = 1.0,
    convention: Convention = None,
    wanted: Wanted | None = None,
    cast: bool = False,
) -> Backbone:
    """Return the backbone that is meant, proven.

    `random_width` is that of a `random` ResNet-50. `convention`, see `as_convention`, replaces what is known of its
    input; of a module nothing is known, and none means ImageNet's. `wanted` says where in a file to look. Raises
    UserError.
    """
    asked = None if convention is None else as_convention(convention)
    is_module = not isinstance(backbone, str | Path)
    spec = type(backbone).__name__ if is_module else str(backbone)
    named = None if is_module else named_model(spec)
    if is_module or spec == "random" or (named and not named.file):
        _refuse_places(wanted, spec)
    if is_module:
        return _module(backbone, asked)
    if spec == "random":
        return fresh_backbone(ResNet50Network(random_width), "random", asked or IMAGENET, "random weights")
    if named and not named.file:
        return _of_library(named, asked)
    contents, found = search(spec, wanted or Wanted())
    return replace(take(contents, found, convention=asked, cast=cast), source=spec)


def _refuse_places(wanted: Wanted | None, spec: str) -> None:
    """Raise ModelError where a place in a file is asked for and there is no file."""
    if wanted and (wanted.layout or wanted.drop):
        option = f"--layout {wanted.layout}" if wanted.layout else f"--drop {wanted.drop[0]}"
        raise ModelError(f"{option}: {spec} is no file, and has one backbone; leave it out")


def search(spec: str, wanted: Wanted) -> tuple[Contents, Found]:
    """Return what the file of a spec holds, and the backbone that is meant in it, its values not yet read."""
    named = named_model(spec)
    contents = open_checkpoint(local_file(spec))
    if spec.startswith("zoo:"):
        contents = replace(contents, hints={**contents.hints, "zoo": entry_named(spec.removeprefix("zoo:")).input})
    network = network_named(named) if named else noted(contents).network
    return contents, find(contents, replace(wanted, network=network))


def local_file(spec: str) -> Path:
    """Return the file or folder that a path, zoo:NAME, hf:ORG/MODEL or LIBRARY:NAME=FILE means.

    One of the zoo is fetched the first time.
    """
    named = named_model(spec)
    if named:
        if named.file is None:
            raise ModelError(f"{spec}: names no file; expected {named.label}=FILE")
        return named.file
    if spec.startswith("zoo:"):
        from twinbench.convert.download import fetch

        return fetch(entry_named(spec.removeprefix("zoo:")))
    if spec.startswith(hub.PREFIX):
        return hub.cached_folder(spec)
    return Path(spec)


def network_named(named: NamedModel) -> Network:
    """Return the network that LIBRARY:NAME names, recognised ones as the recogniser has them."""
    from twinbench.convert.architectures.known import KNOWN
    from twinbench.convert.architectures.library import LibraryNetwork

    if named.name == "resnet50":  # both libraries': the stride in the 3 x 3 convolution, torchvision's names
        return ResNet50Network()
    known = {row.network.name: row.network for row in reversed(KNOWN)}
    if named.label in known:
        return known[named.label]
    model, _, options = named.name.partition(" ")
    if options:
        forms = [name for name in known if name.startswith(f"{named.library}:{model} ")]
        raise ModelError(f"{named.label}: no network that twinbench knows; of that model: {', '.join(forms) or 'none'}")
    return LibraryNetwork(named.library, model)


def _of_library(named: NamedModel, asked: InputConvention | None) -> Backbone:
    """Return a library's model with random weights, or with its own, which it may download."""
    from twinbench.convert.architectures.library import LibraryNetwork, default_convention, pretrained_tensors

    network, model = network_named(named), LibraryNetwork(named.library, named.name.partition(" ")[0])
    spec = str(named)
    convention, origin = (asked, ASKED) if asked else (default_convention(model), f"{named.library}'s own")
    if named.weights == RANDOM:
        return fresh_backbone(network, spec, convention, origin)
    assert named.weights == PRETRAINED
    tensors = pretrained_tensors(model)
    prove.check_values(tensors, spec)
    prove.check_trained(tensors, spec)
    return Backbone(tensors, named.label, "", prove.identity(tensors), network, convention, origin, spec)


def _module(module: Any, asked: InputConvention | None) -> Backbone:
    """Return the backbone that a user's own module is."""
    from torch import nn

    from twinbench.convert.architectures.own import module_backbone

    if not isinstance(module, nn.Module):
        raise ModelError(f"backbone {type(module).__name__}: expected a path, a name or an nn.Module")
    return module_backbone(module, asked)
