"""The training images as a pure function of the seed, so that a run can stop and go on at any iteration.

Detectron2's own loader remembers nothing: after a restart its order begins anew. Here the order of the images, their
grouping into batches and the random choices of each augmentation depend on (seed, rank, world) and the position in
the stream alone; to go on at iteration n, the first n batches are counted, not read. Neither the number of loader
processes nor an interruption changes a single pixel.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Record, Records
from twinbench.runtime.loading import batches_of
from twinbench.runtime.seeds import derived_seed
from twinbench.runtime.stopping import ignore_signals


def batches(
    shapes: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    repeats: torch.Tensor | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Yield the endless batches of one rank, each `batch_size` pairs (image, position in the stream).

    `shapes` (N, 2) are the images' (width, height). As in Detectron2: one shuffled pass over the data after the other,
    image k of the stream to rank k mod `world`, and wide images are batched apart from tall ones. With `repeats` (N,)
    a pass holds each image that many times, fractions by chance.
    """
    stream = enumerate(_shuffled_passes(len(shapes), seed, repeats))
    waiting: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for position, image in itertools.islice(stream, rank, None, world):
        width, height = shapes[image]
        group = waiting[bool(width > height)]
        group.append((image, position))
        if len(group) == batch_size:
            yield group.copy()
            group.clear()


def _shuffled_passes(images: int, seed: int, repeats: torch.Tensor | None) -> Iterator[int]:
    """Yield the images of one shuffled pass over the data after the other, without end."""
    generator = torch.Generator().manual_seed(seed)
    every = torch.arange(images)
    while True:
        if repeats is not None:  # Detectron2's RepeatFactorTrainingSampler
            whole = repeats.trunc()
            chance = torch.rand(images, generator=generator) < repeats - whole
            every = torch.arange(images).repeat_interleave((whole + chance).long())
        yield from every[torch.randperm(len(every), generator=generator)].tolist()


def shared_batches(
    order: Callable[[int], Iterator[list[tuple[int, int]]]], *, streams: int, rank: int, world: int
) -> Iterator[list[tuple[int, int]]]:
    """Yield a process's part of each iteration's batches, which `streams` processes took one each when the run began.

    `order(k)` gives the batches of stream k. With fewer processes than streams each takes several, put together; with
    more each takes its part of one: what an iteration sees stays the same.
    """
    if streams >= world:
        several = streams // world
        for parts in zip(*(order(rank * several + k) for k in range(several)), strict=True):
            yield [pair for part in parts for pair in part]
        return
    sharing = world // streams
    stream, place = divmod(rank, sharing)
    for batch in order(stream):
        size = len(batch) // sharing
        yield batch[place * size : (place + 1) * size]


class Checked:
    """The batches of a loader, of which a DataError among the images is raised."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.loader)

    def __iter__(self) -> Iterator[list[Record]]:
        """Yield the batches, or raise the first error."""
        for batch in batches_of(self.loader):
            for image in batch:
                if isinstance(image, DataError):
                    raise image
            yield batch


class SeededImages(Dataset[Record]):
    """Images read and augmented by `mapper`, whose random choices are set by the position in the stream."""

    def __init__(self, records: Records, mapper: Callable[[Record], Any], seed: int) -> None:
        self.records, self.mapper, self.seed = records, mapper, seed

    def __getitem__(self, item: tuple[int, int]) -> Record:
        """Return the training example of (image, position in the stream)."""
        image, position = item
        # Detectron2 augments with numpy's global generator (and plain Python's), never with torch's.
        seed = derived_seed(self.seed, position)
        np.random.seed(seed)
        random.seed(seed)
        return self.mapper(self.records[image])


def training_loader(
    images: SeededImages, order: Iterator[list[tuple[int, int]]], *, start: int, stop: int, workers: int
) -> Checked:
    """Return a loader of the batches `start` to `stop` of `order`."""
    return Checked(
        DataLoader(
            images,
            batch_sampler=itertools.islice(order, start, stop),  # type: ignore[arg-type]  # any iterable will do
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator(),  # its own: starting a loader would otherwise draw from the global one
            worker_init_fn=ignore_signals,
        )
    )


class _Mapped(Dataset[Record]):
    """Images read by `mapper`, one after the other."""

    def __init__(self, records: Records, mapper: Callable[[Record], Any]) -> None:
        self.records, self.mapper = records, mapper

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.mapper(self.records[index])


def test_loader(records: Records, mapper: Callable[[Record], Any], workers: int) -> Checked:
    """Return a loader of the images in their order, each a batch of its own."""
    return Checked(
        DataLoader(
            _Mapped(records, mapper),
            batch_size=1,
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator(),
            worker_init_fn=ignore_signals,
        )
    )
