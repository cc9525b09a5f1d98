"""From a file to a proven backbone: open it, find the backbone, fetch its values, check them; or say why not."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from twinbench.convert.architectures.shapes import expected_shapes
from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.convert.files import CheckpointError
from twinbench.convert.finding import prove
from twinbench.convert.finding.find import Found, find
from twinbench.convert.named import named_model
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.hub import PREFIX, cached_folder
from twinbench.convert.reading.reader import open_checkpoint
from twinbench.convert.zoo import entry_named
from twinbench.protocols.identity import backbone_identity

if TYPE_CHECKING:  # it brings torchvision, which a conversion does without
    from twinbench.convert.architectures.resnet import ResNet50

RANDOM_SEED = 0


@dataclass(frozen=True)
class Backbone:
    """A proven ResNet-50 backbone.

    `state_dict` has the 318 torchvision names in torchvision's order, as CPU tensors (float32; counters int64);
    `sha256` is the tensors' (`prove.identity`), the same for the same weights in any file; `identity` is the whole
    backbone's. `width` multiplies ResNet-50's channels. `layout`, `prefix` and `source` say where it was found.
    """

    state_dict: dict[str, Tensor]
    layout: str
    prefix: str
    sha256: str
    width: float = 1.0
    convention: InputConvention = IMAGENET
    source: str = ""

    @property
    def architecture(self) -> str:
        """The network that the tensors are of: `resnet50`, or `resnet50-w0.25` for a width other than 1."""
        return "resnet50" if self.width == 1 else f"resnet50-w{self.width:.10g}"

    @property
    def is_resnet(self) -> bool:
        """Whether it is the ResNet-50 that detectors take, and that may be trained; another network is kept frozen."""
        return True

    @property
    def details(self) -> dict[str, str]:
        """What a result says of a backbone that its sha256 does not: nothing of a ResNet-50."""
        return {}

    @property
    def identity(self) -> str:
        """The sha256 of tensors, architecture and input convention: the same tensors fed otherwise are another one."""
        return backbone_identity(self.sha256, self.architecture, self.convention.as_dict())


def load_backbone(path: Path | str, layout: str | None = None, drop: Sequence[str] = ()) -> Backbone:
    """Read the checkpoint `path`, of any known layout and container, and prove its backbone.

    `layout` chooses one backbone of several (`dino-full:student`), or describes an unknown layout as KEYS/PREFIX
    (`state_dict/net.trunk.`); `drop` adds shell patterns of tensors that may be left over. Raises CheckpointError.
    """
    contents = open_checkpoint(path)
    return take(contents, find(contents, layout, drop))


def take(contents: Contents, found: Found, *, borrow: bool = False) -> Backbone:
    """Fetch the values of the backbone that was found, check them, and return it.

    `borrow` leaves the values in the file, for those who only look or copy: they are gone when the file changes.
    """
    width = prove.width_of(found.tensors["conv1.weight"], contents.name)
    shapes = expected_shapes(width)
    needed = sum(found.tensors[name].nbytes for name in shapes if name in found.tensors)
    if needed > contents.size:
        raise CheckpointError(f"{contents.name}: declares {needed:,} bytes of backbone in a file of {contents.size:,}")
    state_dict: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        values = found.tensors[name].fetch() if name in found.tensors else torch.zeros(shape, dtype=torch.int64)
        state_dict[name] = values if borrow else values.clone()
        contents.let_go(values.nbytes)
    prove.check_values(contents.passing(state_dict), contents.name)
    prove.check_trained(state_dict, contents.name, folded=found.layout.folded)
    return Backbone(
        state_dict,
        found.layout.label,
        found.prefix,
        prove.identity(contents.passing(state_dict)),
        width,
        recorded_convention(contents) or found.layout.convention,
        contents.name,
    )


def open_backbone(spec: str, random_width: float = 1.0) -> Backbone:
    """Return the backbone that a command line names: a path, `zoo:NAME`, or `random`, a fresh one of `random_width`."""
    if spec == "random":
        return random_backbone(random_width)
    return replace(load_backbone(local_file(spec)), source=spec)


def local_file(spec: str) -> Path:
    """Return the file or folder that a path, `zoo:NAME` or `hf:ORG/MODEL` means; `zoo:` is fetched the first time."""
    if named_model(spec):
        raise CheckpointError(
            f"{spec}: another library's model, which only transfer's SVMs, k-NN and linear probes take; expected a "
            "checkpoint of a ResNet-50"
        )
    if spec.startswith(PREFIX):
        return cached_folder(spec)
    if not spec.startswith("zoo:"):
        return Path(spec)
    from twinbench.convert.download import fetch

    return fetch(entry_named(spec.removeprefix("zoo:")))


def random_backbone(width: float = 1.0) -> Backbone:
    """Return a ResNet-50 as torchvision initialises it, always from seed 0; the global random state is left alone."""
    from twinbench.convert.architectures.resnet import ResNet50

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(RANDOM_SEED)  # torch.manual_seed would leave GPUs' generators changed
        state_dict = dict(ResNet50(width).state_dict())
    return Backbone(state_dict, "random", "", prove.identity(state_dict.items()), width, source="random")


def build_model(backbone: Backbone) -> "ResNet50":
    """Return a model in eval mode with a copy of the backbone's tensors; the global random state is left alone."""
    from twinbench.convert.architectures.resnet import ResNet50

    with torch.device("meta"):
        model = ResNet50(backbone.width)
    model = model.to_empty(device="cpu")
    model.load_state_dict(backbone.state_dict)
    return model.eval()


def recorded_convention(contents: Contents) -> InputConvention | None:
    """Return the input convention that twinbench wrote into the file, or None. A broken note is an error."""
    note = contents.note()
    if note is None:
        return None
    try:
        return InputConvention.from_dict(json.loads(note)["convention"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(
            f"{contents.name}: its twinbench metadata is damaged; convert the original again"
        ) from None
