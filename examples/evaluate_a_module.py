"""Measure a network of your own beside another one: nearest neighbours on generated scenes, in seconds on a CPU.

python evaluate_a_module.py     writes scenes/ and results/ where it is started

Nothing is trained here, so the numbers mean nothing. With images of yours in train/<class>/ and val/<class>/ the same
lines measure "imagenet-knn@NAME", NAME being whatever you call them.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

import twinbench
from twinbench.data.scenes.make import make_scenes


class SmallNet(nn.Module):
    """Two convolutions and a mean over the picture: normalised images (N, 3, H, W) in, features (N, 64) out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 5, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of a batch."""
        return self.layers(images).mean((2, 3))


make_scenes(Path("scenes"), scale=0.02)
torch.manual_seed(0)
mine = twinbench.evaluate(
    SmallNet(),
    "demo-imagenet-knn@digits",
    "scenes/imagenet",
    "results/mine",
    convention="unit",  # it wants plain [0, 1] images
    method="mine",
    workers=0,
)
random = twinbench.evaluate("random", "demo-imagenet-knn@digits", "scenes/imagenet", "results/random", workers=0)
for result in (mine, random):
    print(result.line, result.architecture, sep="\n  ")
