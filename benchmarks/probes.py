"""Images per second of the probes with tokens, of fine-tuning and of a head's tests, and what they wait for.

Two processor cores: one computes, one loader process reads. Each line stands beside a plain reference that has its
images in memory, ready for the network: the passes through the backbone alone, forwards, or as fine-tuning's both ways
with the optimizer's step. What a line falls short of it is the price of its heads, of reading, and of waiting: the
share of the time in which the loop stood still for its loader, the start of the loader's processes included, which is
some tenths of a second and in a real epoch nothing. The target is for that share.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks import views
from benchmarks.views import photographs
from twinbench.convert.architectures.trunk import Trunk
from twinbench.convert.inputs import Inputs
from twinbench.convert.opening import open_backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.paths import file_list
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.finetuning import FineTuningRecipe
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.protocols.kinds.tested import HeadTestRecipe
from twinbench.transfer import tested, transforms
from twinbench.transfer.heads import ManyProbes
from twinbench.transfer.probe import Probe
from twinbench.transfer.robust import HeadTest

BACKBONE, SIDE, CLASSES, BATCH, REPEATS, WORKERS = "timm:vit_tiny_patch16_224=random", 128, 100, 32, 3, 1
TIMES = 2  # that each photograph is listed
IMAGES = TIMES * views.IMAGES
MOST_WAITING = 0.1
SMALL = {"batch_size": BATCH, "epochs": 1, "precision": "fp32"}
READ = ImageTransform(resize=SIDE * 256 // 224, crop=SIDE, shape="center-crop", interpolation="bicubic")


@dataclass
class Clock:
    """Seconds in which a loop stood still for its loaders."""

    waited: float = 0.0


@contextmanager
def waiting() -> Generator[Clock]:
    """Measure what every DataLoader's user waits for it."""
    clock, original = Clock(), DataLoader.__iter__

    def timed(loader: DataLoader[Any]) -> Iterator[Any]:
        began = time.perf_counter()
        for batch in original(loader):
            clock.waited += time.perf_counter() - began
            yield batch
            began = time.perf_counter()
        clock.waited += time.perf_counter() - began

    DataLoader.__iter__ = timed  # type: ignore[method-assign]
    try:
        yield clock
    finally:
        DataLoader.__iter__ = original  # type: ignore[method-assign]


def measured(work: Callable[[], object], images: int) -> tuple[float, float]:
    """Return the images per second of `work`, which does so many, and the share of the time that it waits."""
    with waiting() as clock:
        began = time.perf_counter()
        work()
        spent = time.perf_counter() - began
    return images / spent, clock.waited / spent


class Reference:
    """The backbone alone on images in memory."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.batch = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        self.network = nn.Sequential(trunk, nn.Linear(trunk(self.batch[:1]).shape[1], CLASSES))
        self.targets = torch.arange(BATCH) % CLASSES

    @torch.inference_mode()
    def forwards(self) -> None:
        """Pass IMAGES images through the backbone."""
        self.trunk.eval()
        for _ in range(IMAGES // BATCH):
            self.trunk(self.batch)

    def trained(self) -> None:
        """Train the backbone with IMAGES images."""
        self.network.train()
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-5)
        for _ in range(IMAGES // BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(self.network(self.batch), self.targets).backward()
            optimizer.step()


def cases(images: LabelledImages, folder: Path) -> Iterator[tuple[str, bool, Callable[[], object]]]:
    """Yield a name, whether the backbone is trained, and what does all images once."""
    backbone = open_backbone(BACKBONE)
    for name in ("imagenet-linear-dinov2", "imagenet-ep"):
        recipe = cast("HeadsRecipe", find_protocol(name).recipe)
        recipe = replace(recipe, **SMALL, transform=READ, epoch_steps=0, warmup_epochs=0.0)
        run = ManyProbes(backbone, recipe, images, images, identity="", out=folder / name, workers=WORKERS)
        yield f"{name}: a training epoch, {len(recipe.heads)} heads", False, lambda run=run: epoch(run)
    for name, room in (("streamed", 0.0), ("cached", tested.ROOM)):
        place = folder / name
        run = ManyProbes(backbone, recipe, images, images, identity="", out=place, workers=WORKERS)
        tested_with(run, room)  # it asks once whether there is room, and fills the cache in the first epoch
        yield f"imagenet-ep: a test, tokens {name}", False, lambda run=run, room=room: tested_with(run, room)
    tuned = cast("FineTuningRecipe", find_protocol("imagenet-finetune-deit").recipe)
    tuned = replace(tuned, **SMALL, transform=READ, norm_groups=1, repeats=1, warmup_epochs=0)
    place = folder / "tuned"
    probe = Probe(backbone, tuned, images, images, identity="", out=place, cache=place, workers=WORKERS)
    yield "imagenet-finetune-deit: a training epoch", True, lambda: epoch(probe)
    test = replace(cast("HeadTestRecipe", find_protocol("robust-released@imagenet").recipe), transform=READ)
    head = nn.Sequential(backbone.build(), nn.Linear(192, CLASSES))
    inputs = Inputs(backbone.convention, "cpu")

    def tests() -> None:
        columns = np.arange(CLASSES)
        HeadTest(head, images, columns, test, identity="", out=folder / "test", inputs=inputs, workers=WORKERS).run()

    yield "robust-released: a test", False, tests


def epoch(probe: Probe) -> None:
    """Train one epoch."""
    probe.step = 0
    probe._train_epoch(0, Silent(), Silent())  # type: ignore[arg-type]


def tested_with(run: ManyProbes, room: float) -> None:
    """Test all heads, where the disk has this much room for tokens."""
    before, tested.ROOM = tested.ROOM, room
    try:
        run._evaluate()
    finally:
        tested.ROOM = before


class Silent:
    """Neither a bar nor a signal."""

    def update(self) -> None:
        """Show nothing."""

    def agreed(self) -> bool:
        """Nobody asks to stop."""
        return False

    agreed_now = agreed


def main() -> int:
    """Print the table; return 1 if a loop waits too long."""
    torch.set_num_threads(1)
    transforms.PRELOAD_BYTES = 0  # read from the disk in every epoch, as a large set is
    missed = False
    print(f"{BACKBONE}, {SIDE} px, {IMAGES} photographs in batches of {BATCH}: images/s, median of {REPEATS}")
    print(f"{'':52} {'ours':>7} {'plain':>7}  ratio  waiting")
    with tempfile.TemporaryDirectory() as folder:
        photos = photographs(Path(folder))
        images = LabelledImages(file_list(photos * TIMES), np.arange(IMAGES) % CLASSES, tuple(map(str, range(CLASSES))))
        reference = Reference(open_backbone(BACKBONE).build())
        reference.forwards()  # warm up
        for name, trained, work in cases(images, Path(folder)):
            plain = reference.trained if trained else reference.forwards
            rounds = [(*measured(work, IMAGES), measured(plain, IMAGES)[0]) for _ in range(REPEATS)]  # by turns
            ours, share, alone = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(mine / theirs for mine, _, theirs in rounds)
            missed |= share > MOST_WAITING
            print(f"{name:52} {ours:7.1f} {alone:7.1f} {ratio:5.2f}x {share:8.3f}", flush=True)
    print(f"target: at most {MOST_WAITING} of the time waiting: {'MISSED' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
