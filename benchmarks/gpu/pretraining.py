"""Pretraining at 224 px: images per second of one card, the loader's share of waiting, and the memory.

Ours is the loop of `twinbench pretrain`, by its own log, in the recipe's precision (fp16) and in bf16, on views that
lie on the card already; then the same with JPEGs, loader processes and augmentation. Batches double until one does not
fit. Plain is the loop as one writes it first: channels first, the loss left to autograd, exact float32, then TF32; its
batch is the largest that fits, too.
"""

import gc
import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.gpu.figures import TIMES, Figure, Place
from benchmarks.loss import plain as plain_loss
from benchmarks.views import photographs
from twinbench.pretrain.images import Corrupt, Plan, Views, views_from_files
from twinbench.pretrain.model import BarlowTwins
from twinbench.pretrain.optimizer import build_optimizer, set_rates
from twinbench.pretrain.options import Options
from twinbench.pretrain.record import Record
from twinbench.pretrain.train import Run
from twinbench.protocols.identity import FRESH, Identity
from twinbench.protocols.pretraining import RECIPES, PretrainRecipe
from twinbench.runtime.precision import Precision, network_precision
from twinbench.runtime.process import Process, loader_workers
from twinbench.runtime.progress import read_log

FASTER = 2.0  # than plain in exact float32
MOST_WAITING = 10.0  # percent of the time
LEAST_FED = 0.9  # of the rate without files
STEPS_AHEAD = 1000  # to an epoch's end, where a checkpoint would be written
# What a card says that is full: the allocator, cuBLAS, and cuDNN where no algorithm's workspace fits.
NO_MEMORY = ("out of memory", "ALLOC_FAILED", "unable to find an engine")


FoundT = TypeVar("FoundT")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    recipe: PretrainRecipe
    first_batch: int
    last_batch: int  # no larger one is tried
    steps: int  # that are timed, after as many to warm up
    files_batch: int  # at most: a batch as large as fits takes long to begin with
    files_steps: int  # timed, after as many: long enough that what loaders read ahead does not count


FULL = Size(RECIPES["barlow-twins"], 64, 8192, 6, 256, 32)
TINY_RECIPE = replace(RECIPES["barlow-twins"], width=0.0625, projector=(32, 32), crop=64, precision="auto")
TINY = Size(TINY_RECIPE, 2, 4, 1, 4, 2)


def measure(place: Place) -> Iterator[Figure]:
    """Yield ours alone, plain ones beside it, and ours from files."""
    size = TINY if place.rehearsal else FULL
    px, name = f"{size.recipe.crop} px", size.recipe.precision

    def ours(batch: int, precision: str = size.recipe.precision) -> dict[str, Any]:
        recipe = replace(size.recipe, batch_size=batch, precision=precision)
        return trained(place, recipe, size.steps, same_views(recipe, place.device))

    batch, found = largest(lambda batch: ours(batch), size.first_batch, size.last_batch)
    rate = found["images_per_s"]
    yield Figure(f"pretraining, {px}, {name}, batch of {batch}", rate, "images/s")
    if "memory_gib" in found:
        yield Figure(f"pretraining, {name}, batch of {batch}: memory", found["memory_gib"], "GiB")

    plain_batch, plain = largest(
        lambda batch: plain_rate(place, size, batch, "fp32"), max(2, batch // 4), size.last_batch
    )
    yield Figure(f"pretraining, plain loop, fp32, batch of {plain_batch}", plain, "images/s")
    yield Figure(f"pretraining, {name}", rate / plain, TIMES, of="plain loop, fp32", least=FASTER)
    if place.device != "cpu":
        tf32 = plain_rate(place, size, plain_batch, "tf32")
        yield Figure(f"pretraining, plain loop, tf32, batch of {plain_batch}", tf32, "images/s")
        yield Figure(f"pretraining, {name}", rate / tf32, TIMES, of="plain loop, tf32")
    other = ours(batch, "bf16")["images_per_s"]
    yield Figure(f"pretraining, bf16, batch of {batch}", other, "images/s")
    # Last: what a machine lacks for loaders (shared memory, cores) must not cost the figures above.
    yield from from_files(place, size, min(batch, size.files_batch))


def largest(work: Callable[[int], FoundT], first: int, last: int) -> tuple[int, FoundT]:
    """Return the largest of the batches first, 2 first, ... that `work` has the memory for, and what it gave."""
    fitting: tuple[int, FoundT] | None = None
    batch = first
    while batch <= last:
        try:
            fitting = batch, work(batch)
        except RuntimeError as error:
            if not any(sign in str(error) for sign in NO_MEMORY):
                raise
            break
        finally:  # after `error` is gone, whose frames hold the tensors
            released()
        batch *= 2
    if fitting is None:
        raise MemoryError(f"not even a batch of {first} images fits on this card")
    return fitting


def released() -> None:
    """Give the memory of what is no longer used back to the card."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def same_views(recipe: PretrainRecipe, device: str) -> Iterator[Views]:
    """Yield the same two views for ever, as the loop gets them: float32 (n, 3, crop, crop) on the device."""
    torch.manual_seed(0)
    shape = recipe.batch_size, 3, recipe.crop, recipe.crop
    return itertools.repeat((torch.randn(shape, device=device), torch.randn(shape, device=device)))


def trained(place: Place, recipe: PretrainRecipe, steps: int, views: Iterator[Views]) -> dict[str, Any]:
    """Train `steps` steps on `views` to warm up and as many again; return the log's line for the latter."""
    released()
    device, process = torch.device(place.device), Process(device=place.device)
    plan = Plan(recipe, recipe.batch_size * STEPS_AHEAD, seed=0)
    record = Record(
        Identity(recipe.fingerprint, FRESH, "none", seed=0), recipe.precision, asdict(recipe), plan.images, ""
    )
    options = Options(log_steps=steps, save_seconds=float("inf"))
    with tempfile.TemporaryDirectory() as folder, network_precision("fp32", device):
        run = Run(plan, record, Path(folder), options, process, device)
        run.train(itertools.islice(views, 2 * steps))
        return list(read_log(Path(folder, "log.jsonl")))[-1]


def from_files(place: Place, size: Size, batch: int) -> Iterator[Figure]:
    """Yield the rate on JPEGs, the share of waiting, and the rate beside that on ready views of the same batch."""
    recipe, steps = replace(size.recipe, batch_size=batch), size.files_steps
    device, process = torch.device(place.device), Process(device=place.device)
    workers = loader_workers(process, None)
    ready = trained(place, recipe, size.steps, same_views(recipe, place.device))["images_per_s"]
    with tempfile.TemporaryDirectory() as folder:
        photos = photographs(Path(folder))
        paths = list(itertools.islice(itertools.cycle(photos), batch * STEPS_AHEAD))
        plan = Plan(recipe, len(paths), seed=0)
        # Given on without a name: it must end, and its loader processes with it, before the files go.
        line = trained(
            place,
            recipe,
            steps,
            views_from_files(paths, plan, process, device, 0, workers=workers, corrupt=Corrupt(0)),
        )
    name = f"pretraining from JPEGs, {workers} loader processes, batch of {batch}"
    yield Figure(name, line["images_per_s"], "images/s")
    fed = line["images_per_s"] / ready
    yield Figure("pretraining from JPEGs", fed, TIMES, of=f"views that are there, batch of {batch}", least=LEAST_FED)
    yield Figure(f"{name}: waiting", 100 * line["waiting"], "% of the time", most=MOST_WAITING)


def plain_rate(place: Place, size: Size, batch: int, precision: Precision) -> float:
    """Return the images per second of a plain loop in `precision`."""
    released()
    recipe = replace(size.recipe, batch_size=batch)
    plan = Plan(recipe, batch * STEPS_AHEAD, seed=0)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = place.device != "cpu"  # as ours, and as the paper's code has it
    model = BarlowTwins(recipe).to(place.device)
    optimizer = build_optimizer(model, recipe)
    views = next(same_views(recipe, place.device))

    def step(number: int) -> None:
        set_rates(optimizer, plan, number)
        z1, z2 = model(*views)
        loss = plain_loss(z1, z2, recipe.lambd)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    with network_precision(precision, place.device):
        spent = [place.seconds(lambda number=number: step(number)) for number in range(2 * size.steps)]
    return batch / statistics.median(spent[size.steps :])
