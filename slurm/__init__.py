"""One launcher of suites: Slurm, through submitit. Nothing here that a laptop needs."""
