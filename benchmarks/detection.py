"""Seconds per iteration of the detection recipes at full size, and the hours that a whole protocol would take.

Images are noise of the sizes that each recipe really trains on, with as many objects as COCO has on average; the model,
the losses and the optimizer are those of a trial. On a GPU the full share of one GPU of eight (2 images) is timed, on
a CPU one image: the projection is for one process of eight, without loading of images, evaluation and waiting.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.solver import build_optimizer
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from convert.load import open_backbone
from detection.chatter import chatter_to
from detection.config import detectron2_config
from detection.stream import Record
from detection.weights import build_detector
from protocols.catalogue import find_protocol
from protocols.schema import DetectionRecipe

NAMES = ("voc0712-frcnn-c4", "coco-mrcnn-c4-1x", "coco-mrcnn-fpn-1x")
OBJECTS = 7  # COCO train2017: 860,001 objects in 118,287 images
WARMUP, TIMED = 2, {"cuda": 20, "cpu": 2}


def noise_image(recipe: DetectionRecipe, rng: np.random.Generator, masks: bool) -> Record:
    """Return one training example of a 4:3 image at a random training size."""
    short = int(rng.choice(recipe.min_size_train))
    height, width = short, min(round(short * 4 / 3), recipe.max_size)
    corners = rng.uniform(0, 1, (OBJECTS, 2)) * (width / 2, height / 2)
    boxes = np.concatenate([corners, corners + rng.uniform(20, height / 2, (OBJECTS, 2))], axis=1)
    objects = Instances((height, width))
    objects.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
    objects.gt_classes = torch.tensor(rng.integers(0, 20, OBJECTS))
    if masks:
        objects.gt_masks = BitMasks(torch.ones(OBJECTS, height, width, dtype=torch.bool))
    image = torch.tensor(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    return {"image": image, "instances": objects, "height": height, "width": width}


def seconds_per_iteration(name: str, device: str, folder: Path) -> tuple[float, float]:
    """Return the median seconds of an iteration and the peak of the GPU's memory in GB (0 on a CPU)."""
    protocol = find_protocol(name)
    recipe = protocol.recipe
    assert isinstance(recipe, DetectionRecipe)
    backbone = open_backbone("random")
    config = detectron2_config(
        recipe,
        classes=protocol.classes,
        width=1.0,
        convention=backbone.convention,
        device=device,
        mask_format="bitmask",
    )
    model = build_detector(config, backbone, folder / "backbone.pth", seed=0).train()
    optimizer: Any = build_optimizer(config, model)
    rng, spent = np.random.default_rng(0), []
    images = 2 if device == "cuda" else 1
    with EventStorage():
        for _ in range(WARMUP + TIMED[device]):
            batch = [noise_image(recipe, rng, protocol.data == "coco") for _ in range(images)]
            began = time.perf_counter()
            losses = model(batch)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            if device == "cuda":
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - began)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
    return statistics.median(spent[WARMUP:]), memory


def main() -> int:
    """Print a line for each recipe; there is no target, since these are Detectron2's own kernels."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = 2 if device == "cuda" else 1
    place = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    print(f"{place}, {images} images an iteration")
    for name in NAMES:
        recipe = find_protocol(name).recipe
        assert isinstance(recipe, DetectionRecipe)
        with tempfile.TemporaryDirectory() as folder, chatter_to(Path(folder) / "log.txt"):
            seconds, memory = seconds_per_iteration(name, device, Path(folder))
        hours = seconds * 2 / images * recipe.iterations / 3600
        peak = f"{memory:5.1f} GB" if device == "cuda" else "memory not measured"
        print(f"{name:20} {seconds:7.3f} s/iteration  {peak}  {hours:7.1f} h for {recipe.iterations} iterations")
        sys.stdout.flush()
    return 0
