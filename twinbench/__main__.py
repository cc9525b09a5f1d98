"""`python -m twinbench`, `torchrun -m twinbench` and `python CLONE/twinbench`: the same as the command `twinbench`."""

import os
import sys

if not __package__:  # started by its path: this folder came first, whose rooms are nobody's top-level modules
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from twinbench.cli import script

if __name__ == "__main__":
    script()
