"""What twinbench notes of a backbone in the files that it writes, and reads again."""

import json
from dataclasses import dataclass
from typing import Any

from twinbench.convert.architectures.network import Network
from twinbench.convert.backbone import Backbone
from twinbench.convert.convention import InputConvention
from twinbench.convert.files import CheckpointError
from twinbench.convert.reading.contents import Contents
from twinbench.protocols.text import TextError, parse_json


@dataclass(frozen=True)
class Noted:
    """What a file says of itself; nothing in the files of others."""

    convention: InputConvention | None = None
    network: Network | None = None


def note_of(backbone: Backbone) -> str:
    """Return what is known of the backbone as JSON, the same text for the same backbone."""
    known: dict[str, Any] = {
        "convention": backbone.convention.as_dict(),
        "layout": backbone.layout,
        "sha256": backbone.sha256,
        "width": backbone.width,
    }
    network = backbone.network.as_dict()
    if network:
        known["network"] = network
    return json.dumps(known, sort_keys=True)


def noted(contents: Contents) -> Noted:
    """Return what twinbench wrote into the file. A broken note is an error."""
    note = contents.note()
    if note is None:
        return Noted()
    try:
        known = parse_json(note, contents.name)
        return Noted(InputConvention.from_dict(known["convention"]), _network(known))
    except (TextError, ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"{contents.name}: its twinbench metadata is damaged; convert the original again"
        ) from None


def _network(known: dict[str, Any]) -> Network | None:
    """Return the network that a note names; None for a ResNet-50, which its tensors tell.

    Options of a constructor are only taken as we know them: `checkpoint_path` of timm's would have it open a file.
    """
    if "network" not in known:
        return None
    from twinbench.convert.architectures.known import KNOWN
    from twinbench.convert.architectures.library import LibraryNetwork

    network = LibraryNetwork.from_dict(known["network"])
    is_plain = network == LibraryNetwork(network.library, network.model)
    if not is_plain and network not in [row.network for row in KNOWN]:
        raise ValueError("no network")
    return network
