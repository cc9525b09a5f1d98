"""The networks that are recognised by landmarks, beside ResNets: one row each."""

from twinbench.convert.architectures.convs import CONVS
from twinbench.convert.architectures.landmarks import Known
from twinbench.convert.architectures.vits import VITS

KNOWN: tuple[Known, ...] = (*CONVS, *VITS)
