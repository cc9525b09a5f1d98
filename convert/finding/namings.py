"""Every naming that files are searched for, one after the other; a new library's is one entry here."""

from twinbench.convert.finding import names
from twinbench.convert.finding.vit_names import VITS
from twinbench.convert.finding.vit_names_transformers import TRANSFORMERS_VITS

NAMINGS = (*names.RESNETS, *VITS, *TRANSFORMERS_VITS)
