"""The networks: heads and norms that Detectron2 lacks, and the backbone's way into them."""
