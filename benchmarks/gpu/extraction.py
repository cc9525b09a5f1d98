"""Features for `voc07-svm` (224 px, ResNet-50 of full width): images per second, and what bounds them.

Reading alone is the loader of `extract` with nothing behind it: decode, resize, crop. The network alone takes its
batches from pinned memory and brings the features back, as `extract` does. Plain is a network as one writes it first:
exact float32, channels first, on float images that lie on the card already. The whole is `extract` itself.
"""

import itertools
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.figures import TIMES, Figure, Place
from benchmarks.views import photographs
from twinbench.convert.backbone import Backbone
from twinbench.convert.inputs import Inputs
from twinbench.convert.opening import open_backbone
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.kinds.base import Precision
from twinbench.protocols.kinds.svm import SvmRecipe
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process, loader_workers
from twinbench.transfer.features import BATCH, CPU_BATCH, extract, feature_loader, pooled

FASTER = 2.5  # in the card's best precision than plain, as on a processor
LEAST_TOGETHER = 0.8  # of the rate of the slower of reading and network
IMAGES, TINY_IMAGES = 24_576, 16  # so many that the start of loader processes does not count
SECONDS = 5.0  # about, for all of it in one precision
PASSES, TINY_PASSES = 40, 1  # of a batch, for the network alone
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32", "tf32")


def measure(place: Place) -> Iterator[Figure]:
    """Yield the network alone, reading alone, and both together in two precisions."""
    backbone, recipe = open_backbone("random", 0.25 if place.rehearsal else 1.0), find_protocol("voc07-svm").recipe
    assert isinstance(recipe, SvmRecipe)
    alone: dict[str, float] = {}
    plain = _plain(place, backbone, recipe)
    for precision in PRECISIONS:
        if precision == "tf32" and place.device == "cpu":
            continue
        alone[precision] = _network(place, backbone, recipe, precision)
        least = FASTER if precision == "bf16" else None
        yield Figure(f"extraction, network alone, {precision}", alone[precision], "images/s")
        yield Figure(
            f"extraction, network alone, {precision}", alone[precision] / plain, TIMES, of="plain fp32", least=least
        )
    yield Figure("extraction, network alone, plain fp32", plain, "images/s")
    yield from _from_files(place, backbone, recipe, alone)


def _from_files(place: Place, backbone: Backbone, recipe: SvmRecipe, alone: dict[str, float]) -> Iterator[Figure]:
    """Yield reading alone, and `extract` beside the slower of its halves."""
    count = TINY_IMAGES if place.rehearsal else IMAGES
    workers = loader_workers(Process(device=place.device), None)
    with tempfile.TemporaryDirectory() as folder:
        paths = list(itertools.islice(itertools.cycle(photographs(Path(folder))), count))

        def read() -> None:
            for _ in feature_loader(paths, recipe.transform, place.device, workers):
                pass

        reading = count / place.seconds(read)
        yield Figure(f"extraction, reading alone, {workers} loader processes", reading, "images/s")
        for precision in ("bf16", "fp32"):
            slower = min(reading, alone[precision])
            half = "reading" if slower == reading else "the network"
            some = paths[: math.ceil(SECONDS * slower)]
            rate = len(some) / place.seconds(partial(_extracted, place, backbone, recipe, some, workers, precision))
            name = f"extraction, all of it, {precision}"
            yield Figure(name, rate, "images/s")
            yield Figure(name, rate / slower, TIMES, of=f"{half} alone, the slower", least=LEAST_TOGETHER)


def _extracted(
    place: Place,
    backbone: Backbone,
    recipe: SvmRecipe,
    paths: Sequence[Path],
    workers: int,
    precision: Precision,
) -> np.ndarray:
    """Return the features of the images at `paths`, as a trial computes them."""
    features = replace(recipe.features, precision=precision)
    return extract(backbone, paths, features, device=place.device, workers=workers)


def _rate(place: Place, images: int, work: Callable[[], object]) -> float:
    """Return the images per second of `work`, which does so many of them, after some calls to warm up."""
    passes = TINY_PASSES if place.rehearsal else PASSES
    spent = [place.seconds(work) for _ in range(2 * passes)]
    return images / statistics.median(spent[passes:])


@torch.inference_mode()
def _network(place: Place, backbone: Backbone, recipe: SvmRecipe, precision: Precision) -> float:
    """Return the rate of the network on batches of bytes, as `extract` runs it."""
    model = backbone.build().to(place.device).to(memory_format=torch.channels_last)
    inputs, images = Inputs(backbone.convention, place.device), _bytes(place, recipe)
    with network_precision(precision, place.device):
        return _rate(
            place, len(images), lambda: pooled(model, inputs(images), recipe.pooling).flatten(1).float().cpu().numpy()
        )


@torch.inference_mode()
def _plain(place: Place, backbone: Backbone, recipe: SvmRecipe) -> float:
    """Return the rate of a plain network on float images that are there."""
    model = backbone.build().to(place.device)
    images = _bytes(place, recipe).to(place.device).float().div(255)
    with network_precision("fp32", place.device):
        return _rate(place, len(images), lambda: pooled(model, images, recipe.pooling).flatten(1))


def _bytes(place: Place, recipe: SvmRecipe) -> Tensor:
    """Return a batch of noise as a loader gives it, uint8 (B, 3, H, W)."""
    on_card = place.device != "cpu"
    shape = BATCH if on_card else CPU_BATCH, 3, recipe.transform.crop, recipe.transform.crop
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    return images.pin_memory() if on_card else images
