"""Every naming that files are searched for, one after the other; a new library's is one entry here."""

from twinbench.convert.finding import names, simclr
from twinbench.convert.finding.conv_names import CONVS

NAMINGS = (*names.RESNETS, *CONVS, *simclr.SIMCLR, simclr.SIMCLR_TF2)
