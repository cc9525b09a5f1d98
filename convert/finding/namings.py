"""Every naming that files are searched for, one after the other; a new library's is one entry here."""

from twinbench.convert.finding import names

NAMINGS = names.RESNETS
