"""Every naming that files are searched for, one after the other; a new library's is one entry here."""

from twinbench.convert.finding import names
from twinbench.convert.finding.conv_names import CONVS

NAMINGS = (*names.RESNETS, *CONVS)
