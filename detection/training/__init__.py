"""The training run: the order of the images, the iterations, and where a run stands."""
