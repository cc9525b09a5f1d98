"""Which images make which batch of a probe, and whose statistics a trained backbone sees together.

Both are functions of the recipe, the seed and the epoch, whatever number of processes shares the work. Of the second
that was learned the hard way: each process's batch norm took its own images, so that one process and two had other
losses under one fingerprint.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from twinbench.protocols.kinds.finetuning import TrainedRecipe
from twinbench.runtime.process import Process, ProcessError
from twinbench.runtime.seeds import draw_seed


class EpochBatches:
    """The batches of one epoch after the other: shuffled by (seed, epoch), every image once, this process's part.

    With `repeats` of 3, say, the crops of an image follow each other, three of them, and an epoch has a third of the
    images (DeiT's repeated augmentation). A crop's key is then (epoch, image, which of them).
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        process: Process,
        *,
        repeats: int = 1,
        drop_last: bool = False,
    ) -> None:
        """Cut `images` into global batches of `batch_size`; the last one may be smaller, or is dropped."""
        self.all_images, self.repeats = images, repeats
        self.images = images // batch_size * batch_size if drop_last else images  # crops an epoch
        self.batch_size, self.seed, self.process = batch_size, seed, process
        self.epoch = self.first = 0  # which epoch, and from which of its batches on
        self.end = len(self)  # and up to which one, which is not among them

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return math.ceil(self.images / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        order = np.random.default_rng(draw_seed(self.seed, self.epoch)).permutation(self.all_images)
        crops = np.repeat(order, self.repeats)
        end = min(self.end * self.batch_size, self.images)
        for start in range(self.first * self.batch_size, end, self.batch_size):
            places = range(start + self.process.rank, min(start + self.batch_size, end), self.process.world)
            mine = crops[places.start : places.stop : places.step].tolist()
            if self.repeats == 1:
                yield [(self.epoch, index) for index in mine]
            else:
                yield [(self.epoch, index, place % self.repeats) for index, place in zip(mine, places, strict=True)]


class StreamBatches(EpochBatches):
    """Epochs of so many batches, all of one size, cut from one pass over the images after the other without end.

    Each pass is shuffled by (seed, pass), and a batch may end one and begin the next. The keys of images are (pass,
    index): in each pass an image is drawn another crop of.
    """

    def __init__(self, images: int, batch_size: int, steps: int, seed: int, process: Process) -> None:
        """Cut `steps` batches an epoch."""
        super().__init__(steps * batch_size, batch_size, seed, process)  # images that an epoch sees
        self.among = images
        self._orders: dict[int, np.ndarray] = {}

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        size, before = self.batch_size, self.epoch * len(self)
        for step in range(self.first, self.end):
            start = (before + step) * size
            places = range(start + self.process.rank, start + size, self.process.world)
            yield [(done, int(self._order(done)[at])) for done, at in (divmod(place, self.among) for place in places)]

    def _order(self, done: int) -> np.ndarray:
        """Return the order (images,) of the pass after `done` others."""
        if done not in self._orders:
            self._orders = {at: order for at, order in self._orders.items() if at == done - 1}
            self._orders[done] = np.random.default_rng(draw_seed(self.seed, done)).permutation(self.among)
        return self._orders[done]


@dataclass(frozen=True)
class NormGroups:
    """The groups of a global batch that have batch statistics of their own, as far as this process holds them.

    Of G groups, g has the images g, g + G, g + 2 G, ... of every batch, which is what GPU g of the reference's G had.
    Process r of W has the images r, r + W, ... Where W divides G these are G / W whole groups, g = r first; where G
    divides W, W / G processes share the group r mod G.
    """

    own: int = 1  # groups of this process: image i is of its group i mod `own`
    shared: bool = False  # its one group is shared with other processes
    others: distributed.ProcessGroup | None = None  # with which ones; none: with all

    @classmethod
    def of(cls, recipe: TrainedRecipe, process: Process) -> "NormGroups":
        """Return this process's groups; every process of a run must ask. ProcessError where they cannot be cut so."""
        groups, world = recipe.norm_groups, process.world
        if groups % world and world % groups:
            raise ProcessError(
                f"{world} processes: expected a divisor or a multiple of norm_groups={groups}, the groups of a batch "
                "whose statistics the backbone sees; start another number"
            )
        if groups >= world:
            return cls(groups // world)
        if groups == 1:
            return cls(1, True)
        made: list[Any] = []  # every process makes every group, in the same order
        for group in range(groups):
            made.append(distributed.new_group(list(range(group, world, groups))))
        return cls(1, True, made[process.rank % groups])

    def part(self, recipe: TrainedRecipe) -> int:
        """Return how many of its images a process takes at once: its share of every group, or a part of that."""
        return self.own * math.ceil(recipe.batch_size / recipe.norm_groups / recipe.accumulate)


def collated(items: list[tuple[Tensor, Any]]) -> tuple[Tensor, Tensor]:
    """Stack a batch: (B, 3, H, W) and (B,), or (B, K) of several labels.

    A small last one may leave a process without images: (0, 3, 1, 1) and (0,).
    """
    targets = torch.from_numpy(np.array([target for _, target in items], dtype=np.int64))
    if not items:
        return torch.empty(0, 3, 1, 1, dtype=torch.uint8), targets
    return torch.stack([image for image, _ in items]), targets
