"""Which networks the tensors of a file can be of, told by a few of them; what is recognised is then proven by name."""

from twinbench.convert.architectures.known import KNOWN
from twinbench.convert.architectures.landmarks import Look
from twinbench.convert.architectures.network import Network
from twinbench.convert.architectures.resnets import resnet_of


def recognized(look: Look, variant: str = "") -> list[Network]:
    """Return the networks whose landmarks are there; several where only the forward pass tells them apart.

    `look` returns the shape of the tensor that we call by a name, None where there is none. `variant` says which of
    several with the same tensors an origin builds.
    """
    resnet = resnet_of(look)
    if resnet is not None:
        return [resnet]
    fitting = [known for known in KNOWN if known.fits(look)]
    meant = [known for known in fitting if known.variant == variant] or [
        known for known in fitting if variant == "" or not known.variant
    ]
    plain = [known for known in meant if not known.variant]
    return [known.network for known in plain or meant]
