"""Semantic segmentation, a class a pixel: FCN on a dilated ResNet-50, trained by the same trainer as the detectors.

Importing it makes its network known to Detectron2's `build_model`, and `with_keys` a configuration fit for it.
"""

from twinbench.detection.semantic import model, trunk
from twinbench.detection.semantic.config import with_keys

__all__ = ["model", "trunk", "with_keys"]
