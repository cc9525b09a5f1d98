"""Features of photographs for `voc07-svm` on one processor core: images per second, and what bounds them.

plain: a loop over images as one writes it first, fp32, one image at a time, channels first. Ours is `extract` as a
trial calls it without loader processes. Reading (decode, resize, crop) is also timed alone, and the network's rate
follows from the two: the slower is what a machine with loader processes and a device runs into.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision import transforms

from benchmarks.views import IMAGES, photographs
from twinbench.convert.convention import IMAGENET_MEAN, IMAGENET_STD
from twinbench.convert.opening import open_backbone
from twinbench.data.images import read_rgb
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.kinds.base import Features
from twinbench.protocols.kinds.svm import SvmRecipe
from twinbench.transfer.features import extract, pooled
from twinbench.transfer.transforms import evaluation_transform

TARGET, REPEATS = 2.5, 3


def rate(work: Callable[[], object]) -> float:
    """Return the images per second of `work`, which does IMAGES of them."""
    began = time.perf_counter()
    work()
    return IMAGES / (time.perf_counter() - began)


def main() -> int:
    """Print the rates; return 1 if the target is missed."""
    torch.set_num_threads(1)
    backbone, recipe = open_backbone("random"), find_protocol("voc07-svm").recipe
    assert isinstance(recipe, SvmRecipe)
    size, model = recipe.transform, backbone.build()
    steps = transforms.Compose(
        [
            transforms.Resize(size.resize),
            transforms.Resize((size.crop, size.crop)),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )

    @torch.inference_mode()
    def plain(paths: Sequence[Path]) -> np.ndarray:
        images = (steps(read_rgb(path)) for path in paths)
        return np.stack([pooled(model, image[None], recipe.pooling).flatten().numpy() for image in images])

    reading = evaluation_transform(size)
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder))
        ours = {
            name: lambda name=name: extract(backbone, paths, Features(size, recipe.pooling, name))
            for name in ("fp32", "bf16")
        }
        expected, scale = plain(paths[:4]), np.abs(plain(paths[:4])).max()
        apart = {name: np.abs(work()[:4] - expected).max() / scale for name, work in ours.items()}  # and warm up
        rounds = [[rate(lambda: plain(paths)), *map(rate, ours.values())] for _ in range(REPEATS)]  # by turns
        alone = rate(lambda: [reading(read_rgb(path)) for path in paths])
    plain_rate, *rates = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = [statistics.median(row[i] / row[0] for row in rounds) for i in (1, 2)]
    print(f"plain fp32, one by one    {plain_rate:6.1f} images/s on one core")
    for name, images, ratio in zip(ours, rates, ratios, strict=True):
        print(f"extract, {name}             {images:6.1f} images/s: {ratio:.2f}x, at most {apart[name]:.1e} apart")
    network = 1 / (1 / rates[1] - 1 / alone)
    bound = "reading" if alone < network else "the network"
    print(f"of bf16: reading alone {alone:.1f} images/s, so the network {network:.1f}: bound by {bound}")
    print(f"target: {TARGET}x for the best precision of this processor: {'met' if max(ratios) >= TARGET else 'MISSED'}")
    return int(max(ratios) < TARGET)


if __name__ == "__main__":
    sys.exit(main())
