"""How a training image differs from a test image."""

import re
from dataclasses import dataclass
from typing import Literal

from twinbench.protocols.ranges import Range

POLICY = Range(
    lambda text: not text or re.fullmatch(r"rand(-(m|n|p|w|inc|mstd|mmax)\d+(\.\d+)?)+", text) is not None,
    "timm's name of a RandAugment, for example rand-m9-mstd0.5-inc1, or none",
)

TrainCrop = Literal["resized", "random", "none"]
Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Augmentation:
    """How a training image differs from a test image; each is mirrored half of the time.

    `resized`: a crop of 8 to 100 % of the image, at any place. `random`: the test image's size before its crop, and of
    that the crop at any place. `none`: as at test time.
    """

    crop: TrainCrop = "resized"
    jitter: float = 0.0  # brightness, contrast and saturation by factors of 1 - jitter to 1 + jitter
    lighting: float = 0.0  # deviation of AlexNet's shift along ImageNet's principal colours
    interpolation: Interpolation = "bilinear"  # of resized crops; those of other crops are the transform's
    policy: str = ""  # RandAugment by timm's name
    erasing: float = 0.0  # how often a rectangle is noise: normal, of the network's input
