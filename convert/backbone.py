"""A proven backbone: its tensors, the network that they are of, and the input that it expects."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from twinbench.convert.architectures.network import Network, ResNet50Network
from twinbench.convert.architectures.trunk import DETECTOR, MAPS, PATCHES, PLAIN, TOKENS, TRAINING, Trunk
from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.convert.finding import prove
from twinbench.convert.named import ModelError
from twinbench.protocols.identity import backbone_identity

_TAKES = {
    MAPS: "takes the map of the last stage",
    TOKENS: "takes the tokens of a transformer",
    PATCHES: "takes what the last block or stage gives for each place",
    TRAINING: "trains its backbone",
    DETECTOR: "trains a C4 detector, whose box head is a ResNet-50's last stage",
    PLAIN: "rebuilds a plain vision transformer (patches of 16 px, learned positions, no registers, no layer scale)",
}
_EITHER = {PATCHES: {TOKENS, MAPS}}  # what is offered by whoever offers one of these
_OTHERWISE = {
    TOKENS: "take what it has, with --set feature=gap, or heads_on=gap of many heads",
    DETECTOR: "choose a detector on a pyramid, such as coco-mrcnn-fpn-1x, for a network with maps",
    PLAIN: "choose a detector on a pyramid, such as coco-mrcnn-fpn-1x, for a network with maps",
}
_POOLED = "choose a protocol on pooled features, such as voc07-svm-gap or imagenet-linear"
_ON_PATCHES = "choose a protocol on patches, such as ade20k-linear-dinov3"
_WITH_PLACES = "choose a transformer, or a network whose stages give maps, or a protocol on pooled features"
_VITDET = ", and for a detector one of ViTDet, such as coco-mrcnn-vitdet-100ep"


@dataclass(frozen=True)
class Backbone:
    """A proven backbone.

    `state_dict` has the names of its network's library (a ResNet-50's 318 are torchvision's) in that order, as CPU
    tensors (float32; counters and tables of indices int64); `sha256` is the tensors' (`prove.identity`), the same for
    the same weights in any file; `identity` is the whole backbone's. `layout`, `prefix` and `source` say where it was
    found, `convention_from` how its input convention is known, `cast` from which type its values were converted.
    """

    state_dict: Mapping[str, Tensor]
    layout: str
    prefix: str
    sha256: str
    network: Network = field(default_factory=ResNet50Network)
    convention: InputConvention = IMAGENET
    convention_from: str = "assumed"
    source: str = ""
    cast: str = ""

    @property
    def architecture(self) -> str:
        """The network that the tensors are of: `resnet50`, `resnet50-w0.25`, `timm:vit_base_patch16_224`."""
        return self.network.name

    @property
    def width(self) -> float:
        """What ResNet-50's channels are multiplied by; 1 for every other network."""
        return self.network.width if isinstance(self.network, ResNet50Network) else 1.0

    @property
    def details(self) -> dict[str, str]:
        """What a result says of a backbone that its identity does not: where the convention is known from, a cast, and
        of a network that is no ResNet-50 what named it."""
        told = {"convention_from": self.convention_from}
        if self.cast:
            told["cast"] = self.cast
        if not self.network.is_resnet50:
            is_random = self.source == f"{self.architecture}=random"
            told |= {"backbone": self.source if is_random else self.architecture, "source": self.source}
        return told

    def require(self, what: str, who: str, room: str = "") -> None:
        """Raise ModelError unless the architecture offers `what`, which `who` takes, a protocol of a `room`."""
        if not _EITHER.get(what, {what}) & self.network.offers:
            raise ModelError(
                f"{who} on {self.source}: {_TAKES.get(what, f'takes {what}')}, which {self.architecture} does not "
                f"offer; it has {', '.join(sorted(self.network.offers))}; {self._otherwise(what, room)}"
            )

    def _otherwise(self, what: str, room: str) -> str:
        """Return what to do where the network does not offer `what` to a protocol of a `room`."""
        if room == "dense":
            return _ON_PATCHES if TOKENS in self.network.offers else _WITH_PLACES
        by_vitdet = room == "detection" and what == MAPS and PLAIN in self.network.offers
        return f"{_OTHERWISE.get(what, _POOLED)}{_VITDET if by_vitdet else ''}"

    @property
    def identity(self) -> str:
        """The sha256 of tensors, architecture and input convention: the same tensors fed otherwise are another one."""
        return backbone_identity(self.sha256, self.architecture, self.convention.as_dict())

    def build(self, drop_path: float = 0.0) -> Trunk:
        """Return its network in eval mode with a copy of its tensors; the global random state is left alone.

        In training its blocks are left out at a rate that rises to `drop_path`; ModelError where none can be.
        """
        trunk = self.network.with_drop_path(drop_path).build(self.state_dict)
        trunk.name = self.architecture
        return trunk


def fresh_backbone(network: Network, source: str, convention: InputConvention, convention_from: str) -> Backbone:
    """Return a network as initialised from seed 0. The global random state is left alone."""
    tensors = network.fresh()
    return Backbone(
        tensors,
        source,
        "",
        prove.identity(tensors),
        network,
        convention,
        convention_from,
        source,
    )
