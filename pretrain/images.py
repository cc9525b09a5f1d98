"""From image files to batches of two views, step by step, the same on any number of processes and workers.

Sets of small images of one size are decoded once and kept in memory; all others are decoded and cropped in worker
processes while the device is at work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from twinbench.data.images import read_rgb
from twinbench.data.items import ImageFile
from twinbench.data.layouts import DataError
from twinbench.pretrain import augment, reference
from twinbench.pretrain.views import BATCH, IMAGE, ORDER, Colors, draw_colors, draw_crops
from twinbench.protocols.pretraining import PretrainRecipe
from twinbench.runtime.loading import batches_of
from twinbench.runtime.process import Process, ProcessError
from twinbench.runtime.progress import bar
from twinbench.runtime.seeds import generator
from twinbench.runtime.stopping import ignore_signals

MEMORY_BYTES = 2**30  # decoded sets up to this size are kept in memory

Views = tuple[Tensor, Tensor]  # float32 (n, 3, crop, crop), n this process's part of the batch


@dataclass(frozen=True)
class Plan:
    """Which images make which step's batch: a pure function of the seed."""

    recipe: PretrainRecipe
    images: int
    seed: int

    def __post_init__(self) -> None:
        """Raise DataError where the images do not fill one batch."""
        if self.steps_per_epoch == 0:
            raise DataError(
                f"{self.images} images do not fill one batch of {self.recipe.batch_size}; add images, or choose a"
                f" smaller batch with --set batch_size={self.images}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in the set, a short one at the end included if the recipe has it."""
        if self.images < self.recipe.batch_size:
            return 0
        return -(-self.epoch_images // self.recipe.batch_size)

    @property
    def epoch_images(self) -> int:
        """Images that an epoch trains on: whole batches, or all of them and as many again as DistributedSampler adds.

        It gives each process equally many. What it would do in `reference_world` processes is done in any number.
        """
        recipe = self.recipe
        if recipe.last_batch == "dropped":
            return self.images // recipe.batch_size * recipe.batch_size
        return -(-self.images // recipe.reference_world) * recipe.reference_world

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.recipe.epochs

    def batch(self, step: int) -> np.ndarray:
        """Return the indices of the global batch of `step`, counted over the whole run."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            order = generator(self.seed, ORDER, epoch).permutation(self.images)
            # Beyond the last image the epoch's first ones come again, as DistributedSampler has it.
            self._order[0], self._order[1] = epoch, np.resize(order, self.epoch_images)
        start = place * self.recipe.batch_size
        return self._order[1][start : start + self.batch_images(step)]

    def batch_images(self, step: int) -> int:
        """Return how many images the global batch of `step` has."""
        start = step % self.steps_per_epoch * self.recipe.batch_size
        return min(self.recipe.batch_size, self.epoch_images - start)

    @cached_property
    def _order(self) -> list:
        """Hold the epoch last asked for and its order."""
        return [-1, np.empty(0, np.int64)]

    def own(self, process: Process, step: int) -> slice:
        """Return this process's part of the batch of `step`."""
        part = self.batch_images(step) // process.world
        return slice(process.rank * part, (process.rank + 1) * part)

    def require_shares(self, process: Process) -> None:
        """Raise ProcessError unless every batch divides by the number of processes."""
        process.share(self.recipe.batch_size, "batch_size")
        last = self.batch_images(self.steps_per_epoch - 1)
        if last % process.world:
            raise ProcessError(
                f"the last batch of an epoch, {last} images, does not divide by {process.world} processes; start as"
                f" many as divide reference_world={self.recipe.reference_world}, or choose --set last_batch=dropped, or"
                f" --set reference_world={process.world} for what the original computes in so many"
            )


class Corrupt:
    """Damaged images, tolerated up to a number."""

    def __init__(self, tolerated: int) -> None:
        self.tolerated = tolerated
        self.found: dict[str, None] = {}  # messages, in the order they were met

    def add(self, message: str) -> None:
        """Note an image; raise DataError when it is one too many."""
        self.found[message] = None
        if len(self.found) > self.tolerated:
            more = (
                f" (image {len(self.found)} of this kind)"
                if self.tolerated
                else ", or --skip-corrupt 1 to leave it out"
            )
            raise DataError(message + more)


def decode_all(paths: Sequence[ImageFile], corrupt: Corrupt) -> Tensor | None:
    """Return all images as uint8 (N, 3, H, W), or None where they differ in size or take too much memory."""
    images: list[np.ndarray] = []
    for path in bar(paths, what="decode", unit="image"):
        image = _decode(path)
        if isinstance(image, str):
            corrupt.add(image)
            continue
        images.append(image)
        if image.shape != images[0].shape or image.nbytes * len(paths) > MEMORY_BYTES:
            return None
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous() if images else None


def _decode(path: ImageFile) -> np.ndarray | str:
    """Return the image as (H, W, 3), or what is wrong with it."""
    try:
        return np.asarray(read_rgb(path))
    except DataError as error:
        return str(error)


def views_from_memory(
    images: Tensor, plan: Plan, process: Process, device: torch.device, first_step: int
) -> Iterator[Views]:
    """Yield the views of each step from decoded images (N, 3, H, W), which may be on the device already."""
    recipe = plan.recipe
    height, width = images.shape[-2:]
    for step in range(first_step, plan.steps):
        own = plan.own(process, step)
        batch = images[augment.sent(plan.batch(step)[own], images.device)]
        batch = batch.to(device).float().div_(255)
        views = []
        for view in (0, 1):
            random = generator(plan.seed, BATCH, step, view)
            crops = draw_crops(recipe, random, recipe.batch_size, height, width)[own]
            colors = draw_colors(recipe, random, recipe.batch_size, view)[own]
            views.append(_finish(augment.crop_resize(batch, crops, recipe.crop), colors))
        yield views[0], views[1]


def views_from_files(
    paths: Sequence[ImageFile],
    plan: Plan,
    process: Process,
    device: torch.device,
    first_step: int,
    *,
    workers: int,
    corrupt: Corrupt,
) -> Iterator[Views]:
    """Yield the views of each step, decoding and cropping in `workers` processes (0: in this one)."""
    recipe = plan.recipe
    loader = DataLoader(
        Pairs(paths, plan),
        batch_sampler=_Places(plan, process, first_step),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=ignore_signals,
    )
    for step, (pairs, messages) in enumerate(batches_of(loader), first_step):
        for message in messages:
            corrupt.add(message)
        pairs = pairs.to(device, non_blocking=True)  # (n, 2, 3, crop, crop)
        if recipe.views == "pil":
            view1, view2 = (pairs[:, view].contiguous(memory_format=torch.channels_last) for view in (0, 1))
            yield view1, view2
            continue
        views, own = [], plan.own(process, step)
        for view in (0, 1):
            colors = draw_colors(recipe, generator(plan.seed, BATCH, step, view), recipe.batch_size, view)[own]
            views.append(_finish(pairs[:, view].float().div_(255), colors))
        yield views[0], views[1]


def _finish(images: Tensor, colors: Colors) -> Tensor:
    """Turn crops in [0, 1] into the network's input."""
    return augment.normalize(augment.recolor(images, colors))


class _Places:
    """The batches of a run from some step on, as a DataLoader wants them: (index, step, place in the global batch)."""

    def __init__(self, plan: Plan, process: Process, first_step: int) -> None:
        self.plan, self.process, self.first_step = plan, process, first_step

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for step in range(self.first_step, self.plan.steps):
            own = self.plan.own(self.process, step)
            places = range(self.plan.batch_images(step))[own]
            indices = self.plan.batch(step)[own].tolist()
            yield [(index, step, place) for index, place in zip(indices, places, strict=True)]

    def __len__(self) -> int:
        return self.plan.steps - self.first_step


class Pairs(Dataset[tuple[Tensor, list[str]]]):
    """Both views of an image (2, 3, crop, crop): uint8 crops, or whole views where the recipe says `pil`."""

    def __init__(self, paths: Sequence[ImageFile], plan: Plan) -> None:
        self.paths, self.plan = paths, plan

    def __getitem__(self, place: tuple[int, int, int]) -> tuple[Tensor, list[str]]:
        index, step, row = place
        recipe, random = self.plan.recipe, generator(self.plan.seed, IMAGE, step, row)
        # A damaged image is told, not raised (a DataLoader would wrap the message), and its neighbour stands in.
        messages: list[str] = []
        for shift in range(len(self.paths)):
            try:
                image = read_rgb(self.paths[(index + shift) % len(self.paths)])
                break
            except DataError as error:
                messages.append(str(error))
        else:
            return torch.zeros(2, 3, recipe.crop, recipe.crop), messages
        views = []
        for view in (0, 1):
            crops = draw_crops(recipe, random, 1, image.height, image.width)
            crop = reference.crop_resize_pil(image, crops, recipe.crop)
            if recipe.views == "pil":
                crop = reference.recolor_pil(crop, draw_colors(recipe, random, 1, view))
                views.append(reference.to_input(crop))
            else:
                views.append(reference.to_bytes(crop))
        return torch.stack(views), messages


def _collate(items: list[tuple[Tensor, list[str]]]) -> tuple[Tensor, list[str]]:
    """Stack a batch and join the messages."""
    messages: list[str] = []
    for _, told in items:
        messages += told
    return torch.stack([pair for pair, _ in items]), messages
