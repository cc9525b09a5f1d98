"""Which images make which batch of a probe: a function of (seed, epoch), whatever number of processes shares it."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from twinbench.runtime.process import Process
from twinbench.runtime.seeds import draw_seed


class EpochBatches:
    """The batches of one epoch after the other: shuffled by (seed, epoch), every image once, this process's part."""

    def __init__(self, images: int, batch_size: int, seed: int, process: Process) -> None:
        """Cut `images` into global batches of `batch_size`; the last one may be smaller."""
        self.images, self.batch_size, self.seed, self.process = images, batch_size, seed, process
        self.epoch = self.first = 0  # which epoch, and from which of its batches on

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return math.ceil(self.images / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng(draw_seed(self.seed, self.epoch)).permutation(self.images)
        for start in range(self.first * self.batch_size, self.images, self.batch_size):
            mine = order[start : start + self.batch_size][self.process.rank :: self.process.world]
            yield [(self.epoch, index) for index in mine.tolist()]


def collated(items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Stack a batch: (B, 3, H, W) and (B,). A small last one may leave a process without images: (0, 3, 1, 1)."""
    images = torch.stack([image for image, _ in items]) if items else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    return images, torch.tensor([target for _, target in items], dtype=torch.int64)
