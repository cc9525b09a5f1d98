"""Two 224 px views of a 500 x 375 JPEG: images per second of one processor core.

pil: everything image by image, as Barlow Twins' main.py does it. batched: a worker's core decodes and crops, the
device does the rest; on a GPU's host the first is all that the processor spends. The device's part is also timed on
this processor, and on the GPU where there is one.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

from twinbench.pretrain import augment
from twinbench.pretrain.images import Pairs, Plan
from twinbench.pretrain.views import BATCH, draw_colors
from twinbench.protocols.pretraining import RECIPES
from twinbench.runtime.seeds import generator

TARGET = 2.5  # batched over pil, on the core that decodes
IMAGES = 64
REPEATS = 5


def photographs(folder: Path) -> list[Path]:
    """Write real photographs in ImageNet's usual size and quality."""
    paths = []
    for i in range(IMAGES):
        photo = Image.fromarray(load_sample_image(("china.jpg", "flower.jpg")[i % 2]))
        paths.append(folder / f"{i}.jpg")
        photo.rotate(i % 7).resize((500, 375)).save(paths[-1], quality=90)
    return paths


def rate(work: Callable[[], object]) -> float:
    """Return the images per second of `work`, which does IMAGES of them: the median of some runs."""
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return IMAGES / statistics.median(spent)


def main() -> int:
    """Print the rates; return 1 if the target is missed."""
    torch.set_num_threads(1)
    recipe = replace(RECIPES["barlow-twins"], batch_size=IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder))
        batched = Pairs(paths, Plan(recipe, IMAGES, 0))
        pil = Pairs(paths, Plan(replace(recipe, views="pil"), IMAGES, 0))
        step = iter(range(10**6))

        def whole(pairs: Pairs) -> list[Tensor]:
            at = next(step)
            return [pairs[index, at, index][0] for index in range(IMAGES)]

        def finish(crops: Tensor) -> None:
            for view in (0, 1):
                colors = draw_colors(recipe, generator(0, BATCH, next(step), view), IMAGES, view)
                augment.normalize(augment.recolor(crops[:, view].float().div_(255), colors))
            if crops.is_cuda:
                torch.cuda.synchronize()

        crops = torch.stack(whole(batched))
        # By turns, so that both meet the same neighbours on a shared machine.
        pairs = [(rate(lambda: whole(pil)), rate(lambda: whole(batched))) for _ in range(3)]
        pil_rate, worker_rate = np.median(pairs, axis=0)
        ratio = statistics.median(fast / slow for slow, fast in pairs)
        device_rate = rate(lambda: finish(crops))
        print(f"pil, everything                  {pil_rate:7.1f} images/s per core")
        print(f"batched, decode and crop         {worker_rate:7.1f} images/s per core: {ratio:.2f}x, target {TARGET}x")
        print(f"batched, the rest on this core   {device_rate:7.1f} images/s")
        both = 1 / (1 / worker_rate + 1 / device_rate)
        print(f"batched, both on this core       {both:7.1f} images/s per core: {both / pil_rate:.2f}x")
        if torch.cuda.is_available():
            crops = crops.cuda()
            finish(crops)
            print(f"batched, the rest on the GPU     {rate(lambda: finish(crops)):7.1f} images/s, batches of {IMAGES}")
    return int(ratio < TARGET)
