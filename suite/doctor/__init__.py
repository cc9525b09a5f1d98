"""What this machine, its packages and its places are to twinbench, told in one page."""
