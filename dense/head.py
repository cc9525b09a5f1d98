"""The head of a frozen backbone: a 1 x 1 convolution on its map.

Letters: N images, C outputs, F channels of a map, h x w places of a map.
"""

import torch
from torch import Tensor, nn

from twinbench.protocols.kinds.linear_segmenter import Norm
from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.process import Process
from twinbench.runtime.seeds import draw_seed


class Head(nn.Module):
    """Batch norm, dropout of whole channels and a 1 x 1 convolution; drawn from `seed`."""

    def __init__(
        self, features: int, outputs: int, *, norm: Norm, init_std: float, seed: int, process: Process
    ) -> None:
        """Draw weights from a normal distribution of `init_std`, biases 0; with 0 as PyTorch does, biases too."""
        super().__init__()
        self.place = norm
        batch_norm = nn.BatchNorm2d if process.world == 1 else GlobalBatchNorm
        self.norm = nn.Identity() if norm == "none" else batch_norm(features)
        self.classify = nn.Conv2d(features, outputs, 1)
        generator = torch.Generator().manual_seed(draw_seed(seed))
        if init_std:
            nn.init.normal_(self.classify.weight, std=init_std, generator=generator)
            nn.init.zeros_(self.classify.bias)  # type: ignore[arg-type]
        else:
            for values in (self.classify.weight, self.classify.bias):
                bound = features**-0.5
                nn.init.uniform_(values, -bound, bound, generator=generator)  # type: ignore[arg-type]

    def forward(self, maps: Tensor, kept: Tensor | None = None) -> Tensor:
        """Map (N, F, h, w) to (N, C, h, w); in training dropout multiplies channels by `kept` (N, F)."""
        if self.place == "before-dropout":
            maps = self.norm(maps)
        if kept is not None:
            maps = maps * kept[:, :, None, None]
        if self.place == "after-dropout":
            maps = self.norm(maps)
        return self.classify(maps)
