"""Every naming that files are searched for, one after the other; a new library's is one entry here."""

from twinbench.convert.finding import names, simclr
from twinbench.convert.finding.conv_names import CONVS
from twinbench.convert.finding.regnet_names import REGNETS
from twinbench.convert.finding.vit_names import VITS
from twinbench.convert.finding.vit_names_transformers import TRANSFORMERS_VITS

NAMINGS = (*names.RESNETS, *CONVS, *REGNETS, *simclr.SIMCLR, simclr.SIMCLR_TF2, *VITS, *TRANSFORMERS_VITS)
