"""The machine: rank and world, progress, suites, and the launch of any worker by name, locally or on SLURM."""
