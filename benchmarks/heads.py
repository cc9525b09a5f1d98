"""What many heads side by side cost: a training step of all of a grid's heads against one of a single head.

CPU seconds of one thread, images in memory, 1,000 classes. A pass through the backbone is shared; a head costs its two
products with the features, its softmax, and its optimizer's step, which reads and writes all of its weights once a
batch, however large that is. So the ratio falls with the size of images, backbone and batch. The target is for the
images of the protocols, 224 px; the last line, of small ones, shows where it is missed.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from benchmarks.views import photographs
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.transfer.heads import ManyProbes

TARGET, REPEATS, CLASSES, IMAGES = 1.3, 3, 1000, 64  # images of a step: half of what DINOv2 gives a GPU
CASES = (  # backbone, what its heads are on (empty: the protocol's four features), side in pixels, is it a target
    ("timm:vit_small_patch16_224=random", (), 224, True),
    ("random", ("gap",), 224, True),
    ("timm:vit_small_patch16_224=random", (), 64, False),
)


def trained(backbone: str, recipe: HeadsRecipe, images: LabelledImages, out: Path) -> ManyProbes:
    """Return a run whose steps are timed."""
    return ManyProbes(open_backbone(backbone), recipe, images, images, identity="benchmark", out=out)


def seconds(run: ManyProbes, images: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the CPU seconds of a step."""
    began = time.process_time()
    run._step(images, targets)
    return time.process_time() - began


def measured(backbone: str, on: tuple[str, ...], side: int, images: LabelledImages, folder: Path) -> tuple[str, float]:
    """Return a line of the table, and how many times one head's step that of all heads takes."""
    grid = cast("HeadsRecipe", find_protocol("imagenet-linear-dinov2").recipe)
    size = ImageTransform(resize=side, crop=side, shape="center-crop", interpolation="bicubic")
    grid = replace(grid, transform=size, heads_on=on or grid.heads_on)
    one = replace(grid, heads_on=grid.heads_on[-1:], rates=grid.rates[-1:])
    runs = [trained(backbone, recipe, images, folder / str(at)) for at, recipe in enumerate((one, grid))]
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 3, side, side), dtype=torch.uint8, generator=draw)
    targets = torch.randint(0, CLASSES, (IMAGES,), generator=draw)
    for run in runs:
        seconds(run, pixels[:2], targets[:2])  # warm up: momenta are made
    rounds = [[seconds(run, pixels, targets) for run in runs] for _ in range(REPEATS)]  # by turns
    ratio = statistics.median(every / single for single, every in rounds)
    single, every = (statistics.median(column) for column in zip(*rounds, strict=True))
    name = f"{backbone.partition('=')[0].replace('random', 'resnet50')}, {len(grid.heads)} heads, {side} px"
    return f"{name:50} {single:8.2f} {every:8.2f} {ratio:7.3f}x", ratio


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    torch.set_num_threads(1)
    missed = False
    print(f"{'a step of ' + str(IMAGES) + ' images':50} {'one head':>8} {'all':>8}   ratio, target at most {TARGET}x")
    with tempfile.TemporaryDirectory() as folder:
        paths = file_list(photographs(Path(folder))[:2])
        images = LabelledImages(paths, np.array([0, 1]), tuple(map(str, range(CLASSES))))
        for at, (backbone, on, side, is_target) in enumerate(CASES):
            line, ratio = measured(backbone, on, side, images, Path(folder) / str(at))
            missed |= is_target and ratio > TARGET
            print(line, "" if is_target else "(no target)", flush=True)
    print("met" if not missed else "MISSED")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
