"""Linear segmentation of a frozen backbone."""
