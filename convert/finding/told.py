"""What a file says of its network beside the tensors: the name, and what differs in networks of the same tensors."""

from twinbench.convert.architectures.known import KNOWN
from twinbench.convert.architectures.network import Network
from twinbench.convert.finding.places import Place
from twinbench.convert.reading.contents import Contents, fields

_SMALL = "timm:vit_small_patch16_224"


def variant(contents: Contents) -> str:
    """Return what no tensor tells: who built the network, or its activation; empty if nothing says it."""
    if fields(contents.tree).get("arch") == "vit_small":  # moco-v3 main_moco.py and main_lincls.py
        return "mocov3"
    config = contents.hints.get("config", {})
    inner = config.get("vision_config", config)
    activation = inner.get("hidden_act") if isinstance(inner, dict) else None
    is_archive = contents.container == "torchscript"  # OpenAI's own files of CLIP
    return "quick-gelu" if activation == "quick_gelu" or is_archive else "gelu" if activation else ""


def called(contents: Contents, networks: list[Network]) -> list[Network]:
    """Return the one of several networks that timm calls by its name, in its config.json or its trainer's checkpoint.

    The former is sure: a resnetblur50 has the tensors of a ResNet-50. A network that it names and none of these is,
    is the one to prove.
    """
    config = contents.hints.get("config", {})
    architecture = config.get("architecture") if "pretrained_cfg" in config else None  # timm's, and no other's
    model = architecture or fields(contents.tree).get("arch")
    chosen = [network for network in networks if _bare(network.name) == model]
    if chosen or not isinstance(architecture, str):
        return chosen or networks
    from twinbench.convert.architectures.library import LibraryNetwork

    return [LibraryNetwork("timm", architecture)]


def by_positions(place: Place, networks: list[Network]) -> list[Network]:
    """Return both networks that a ViT-S with fixed positions can be of: MoCo v3's, with 12 heads, and MAE's, with 6.

    What moco-v3's convert_to_deit.py writes has no other mark. Learned positions of a class token are never all zero.
    """
    if [network.name for network in networks] != [_SMALL]:
        return networks
    positions = place.read("pos_embed")
    if positions is None or positions.fetch()[:, 0].any():
        return networks
    return [*networks, next(row.network for row in KNOWN if row.network.name == f"{_SMALL} num_heads=12")]


def _bare(name: str) -> str:
    """Return what a library calls a network: of `timm:vit_small_patch16_224 num_heads=12` the part in the middle."""
    return name.partition(" ")[0].rpartition(":")[2]
