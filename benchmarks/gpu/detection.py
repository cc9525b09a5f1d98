"""C4 and FPN detectors at full size: seconds per iteration of one GPU of eight (2 images), and the projected hours.

Images are noise of the sizes that the recipe trains on, with as many objects as COCO has. The hours multiply the
iterations: with eight such cards the recipe as it is, with one by the linear rule (`--scale-to 1`), eight times as
many. Loading of images, evaluation, and communication between the cards are not in them. These are Detectron2's own
kernels: no target.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.solver import build_optimizer
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage

from benchmarks.detection import detector
from benchmarks.gpu.figures import TIMES, Figure, Place
from twinbench.data.objects.packed import Record
from twinbench.detection.chatter import chatter_to
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.scaling import GPUS
from twinbench.protocols.schema import Protocol
from twinbench.runtime.precision import Precision, network_precision

NAMES = ("voc0712-frcnn-c4", "coco-mrcnn-c4-1x", "coco-mrcnn-fpn-1x")
IMAGES = 2  # of the 16 of eight GPUs
OBJECTS = 7  # an image: train2017 has 860,001 in 118,287
WARMUP, TIMED = 5, 15
TINY_WARMUP, TINY_TIMED = 1, 1


def measure(place: Place) -> Iterator[Figure]:
    """Yield each protocol's seconds in its precision, its hours, and what TF32 would change."""
    for name in NAMES:
        protocol = find_protocol(f"demo-{name}" if place.rehearsal else name)
        recipe = protocol.recipe
        assert isinstance(recipe, DetectionRecipe)
        place.forget_peak()
        seconds = _seconds_per_iteration(place, protocol, recipe.precision)
        hours = seconds * recipe.iterations / 3600
        told = f"{protocol.name}, {recipe.precision}, {IMAGES} images"
        yield Figure(f"{told}: an iteration", seconds, "s")
        yield from place.memory(told)
        yield Figure(f"{protocol.name}, projected: {recipe.iterations:,} iterations on {GPUS} cards", hours, "h")
        yield Figure(f"{protocol.name}, projected: {GPUS} times as many on 1 card", GPUS * hours, "h")
        if place.device != "cpu":
            other = _seconds_per_iteration(place, protocol, "tf32")
            yield Figure(f"{protocol.name}, tf32", seconds / other, TIMES, of=f"its {recipe.precision}")


def _seconds_per_iteration(place: Place, protocol: Protocol, precision: Precision) -> float:
    """Return the median seconds of an iteration on two images, in `precision` as a trial computes in it."""
    recipe = protocol.recipe
    assert isinstance(recipe, DetectionRecipe)
    warmup, timed = (TINY_WARMUP, TINY_TIMED) if place.rehearsal else (WARMUP, TIMED)
    rng, spent = np.random.default_rng(0), list[float]()
    with (
        tempfile.TemporaryDirectory() as folder,
        chatter_to(Path(folder, "log.txt")),
        network_precision(precision, place.device, exact_products=True),
        EventStorage(),
    ):
        config, model = detector(protocol, place.device, Path(folder))
        model.train()
        optimizer: Any = build_optimizer(config, model)

        def step(batch: list[Record]) -> None:
            losses = model(batch)
            optimizer.zero_grad()
            torch.stack(list(losses.values())).sum().backward()
            optimizer.step()

        for _ in range(warmup + timed):
            batch = [_noise(recipe, protocol.data_set.classes, rng) for _ in range(IMAGES)]
            spent.append(place.seconds(lambda batch=batch: step(batch)))
    return statistics.median(spent[warmup:])


def boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count, 4) boxes in a picture of 640 x 480 as x, y, width, height, from small to large."""
    sides = np.exp(rng.uniform(np.log(8), np.log(240), (count, 2)))
    return np.concatenate([rng.uniform(0, 1, (count, 2)) * ((640, 480) - sides), sides], axis=1).round(1)


def _noise(recipe: DetectionRecipe, classes: int, rng: np.random.Generator) -> Record:
    """Return one training example of a 4:3 image at a random training size, with as many objects as COCO has."""
    height = int(rng.choice(recipe.min_size_train))
    width = min(round(height * 4 / 3), recipe.max_size)
    x, y, w, h = (boxes(OBJECTS, rng) * (width / 640, height / 480, width / 640, height / 480)).T
    objects = Instances((height, width))
    objects.gt_boxes = Boxes(torch.tensor(np.stack([x, y, x + w, y + h], axis=1), dtype=torch.float32))
    objects.gt_classes = torch.tensor(rng.integers(0, classes, OBJECTS))
    if recipe.architecture != "frcnn-c4":
        outlines = np.stack([x, y, x + w, y, x + w, y + h, x, y + h], axis=1)
        objects.gt_masks = PolygonMasks([[outline] for outline in outlines])
    image = torch.tensor(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    return {"image": image, "instances": objects, "height": height, "width": width}
