"""A layout: one way to keep a backbone in a file."""

from dataclasses import dataclass

from twinbench.convert.convention import IMAGENET, InputConvention
from twinbench.convert.finding.conv_names import CONVNEXT_ORIGINALS, OWN_CONVS, SWIN_ORIGINAL
from twinbench.convert.finding.names import CHILDREN, TORCHVISION, WITHOUT_POOL
from twinbench.convert.finding.naming import Naming
from twinbench.convert.finding.regnet_names import REGNET, REGNET_VISSL
from twinbench.convert.finding.vit_names import VITS

Keys = tuple[str, ...]
# Those of the code that builds and trains a network, which most files have.
OWN_NAMES = (
    TORCHVISION,
    CHILDREN,
    WITHOUT_POOL,
    *OWN_CONVS,
    *CONVNEXT_ORIGINALS,
    SWIN_ORIGINAL,
    REGNET,
    REGNET_VISSL,
    *VITS,
)


@dataclass(frozen=True)
class Layout:
    """One way to keep a backbone in a file."""

    name: str
    origins: str  # who saves it so
    at: Keys | None  # None: under whatever keys
    prefix: str | None  # None: behind whatever prefix
    heads: Keys = ()
    branch: str = ""  # which of several backbones in the file: student or teacher, query or key
    also: Keys = ()  # a second container: Haiku keeps batch-norm statistics apart
    naming: Naming | None = None  # None: that of the backbone's own code
    convention: InputConvention | None = IMAGENET  # None: such files come with several
    folded: bool = False  # batch-norm statistics may be folded into weight and bias
    variant: str = ""  # of networks with the same tensors, the one that its authors build (`architectures.recognized`)
    classifier: str = ""  # the linear layer on its trunk, where such files call it otherwise than the network's library

    @property
    def label(self) -> str:
        """The name that --layout takes: `moco` or `moco:key`."""
        return f"{self.name}:{self.branch}" if self.branch else self.name

    def is_at(self, at: Keys, prefix: str, naming: Naming) -> bool:
        """Say whether such files have a backbone under these keys, behind this prefix, in these names."""
        named = naming in OWN_NAMES if self.naming is None else naming is self.naming
        return named and self.at in (None, at) and self.prefix in (None, prefix)
