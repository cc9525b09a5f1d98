"""Training by Detectron2's own trainer, exactly resumable: a run that was killed ends with the same weights.

    for iteration in range(start, iterations):      start: from the newest checkpoint
        seed torch by (seed, iteration, rank)       so that sampled proposals do not depend on the past
        batch = stream[iteration]                   a pure function, see stream.py
        step                                        Detectron2's SimpleTrainer
    precise batch norm, once, on a stream of its own
    model_final.pth

What a killed run loses is the time since its last checkpoint, never a bit of the result (on a GPU the order of the
data is exact, and the arithmetic as exact as the GPU's kernels are). One that is told to stop, by SIGTERM or as
runtime/stopping.py says, saves after the iteration it is in and loses nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.engine import HookBase, hooks
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from twinbench.convert.files import load, save
from twinbench.data.objects.packed import Record, Records
from twinbench.detection.options import SECONDS
from twinbench.detection.training.checkpoint import Checkpoints, Owner, State, checkpoints
from twinbench.detection.training.mapping import image_mapper
from twinbench.detection.training.normalizer import Normalizer, repeatable_focal_loss
from twinbench.detection.training.optimizer import build_optimizer
from twinbench.detection.training.schedule import build_schedule
from twinbench.detection.training.step import Steps, Trainer, diverged_in_the_end, told_diverged
from twinbench.detection.training.stream import Checked, SeededImages, batches, shared_batches, training_loader
from twinbench.protocols.identity import Identity
from twinbench.runtime.process import Process
from twinbench.runtime.progress import JsonLog, bar
from twinbench.runtime.seeds import derived_seed
from twinbench.runtime.shared import is_there
from twinbench.runtime.stopping import Stopper

FINAL = "model_final.pth"
POINTS = 500  # lines of the log, and points of the learning curve
MODEL, AUGMENT, ORDER, STEP, PRECISE = range(5)  # what a seed is derived for


@dataclass(frozen=True)
class Run:
    """One training run: what it is of, on which of its processes this is, and where its files go."""

    config: CfgNode
    identity: Identity
    process: Process
    folder: Path
    workers: int = 2
    checkpoint_seconds: float = SECONDS
    reader: Callable[[Record], Any] | None = None  # of training examples; None: Detectron2's mapper of the config
    steps: Steps = Steps()

    @property
    def seed(self) -> int:
        """What every random choice of the run is derived from."""
        return self.identity.seed

    @property
    def owner(self) -> Owner:
        """What the run's files belong to."""
        return Owner(self.identity, self.process.world)

    def loader(self, records: Records, *, start: int, stop: int, purpose: int = ORDER, streams: int = 0) -> Checked:
        """Return the loader of this process's batches `start` to `stop`; each `purpose` has its own order.

        The order is one of `streams` processes, 0: as many as there are.
        """
        process, seed, size = self.process, self.seed, self.config.SOLVER.IMS_PER_BATCH
        process.share(size, "the protocol's batch_size")
        streams = streams or process.world
        is_grouped = self.config.DATALOADER.ASPECT_RATIO_GROUPING
        shapes = records.shapes if is_grouped else np.ones_like(records.shapes)
        repeats = _repeats(records, self.config) if purpose == ORDER else None

        def order(stream: int) -> Iterator[list[tuple[int, int]]]:
            words = {"seed": derived_seed(seed, purpose), "rank": stream, "world": streams, "repeats": repeats}
            return batches(shapes, batch_size=size // streams, **words)

        mine = shared_batches(order, streams=streams, rank=process.rank, world=process.world)
        reader = self.reader or image_mapper(self.config, train=True)
        images = SeededImages(records, reader, derived_seed(seed, AUGMENT, purpose))
        return training_loader(images, mine, start=start, stop=stop, workers=self.workers)


def _repeats(records: Records, config: CfgNode) -> torch.Tensor | None:
    """Return how often each image comes in a pass, by its rarest class as Detectron2 has it; None: once."""
    threshold = config.DATALOADER.REPEAT_THRESHOLD
    if not threshold:
        return None
    return RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(records, threshold)


def train(run: Run, model: nn.Module, records: Records) -> None:
    """Train `model` in place on `records` to the end of the schedule, from wherever `run.folder` stands.

    Raises StopAsked where it was told to stop and has saved its state.
    """
    final = run.folder / FINAL
    if is_there(final, run.process):
        found = load(final)
        run.owner.require_own(final, found["identity"])
        model.load_state_dict(found["model"])
        return
    _iterate(run, model, records)
    _precise_batch_norm(run, model, records)
    if run.process.is_main:
        save({"model": model.state_dict(), "identity": run.owner.as_dict()}, final)
        for path in checkpoints(run.folder / "checkpoints"):
            path.unlink()
    _load_everywhere(run, model, final)


def _iterate(run: Run, model: nn.Module, records: Records) -> None:
    """Run the iterations that are still to do."""
    process, folder = run.process, run.folder / "checkpoints"
    optimizer = build_optimizer(run.config, model, run.steps.optimizer, run.steps.layer_decay)
    scheduler = build_schedule(run.config, optimizer)
    scaler = torch.amp.GradScaler(torch.device(process.device).type, enabled=run.steps.precision == "fp16")
    normalizer = Normalizer(model, process)
    state = State(model, optimizer, scheduler, scaler, run.owner, normalizer)
    (start, streams), stop = state.resume(folder, process), run.config.SOLVER.MAX_ITER
    if start == stop:
        return
    loader = run.loader(records, start=start, stop=stop, streams=streams)
    trainer = Trainer(_parallel(model, process), loader, optimizer, scaler, run.steps, process, folder, normalizer)
    trainer.register_hooks([Reseed(run), hooks.LRScheduler(optimizer, scheduler)])
    if process.is_main:
        log = JsonLog(run.folder / "log.jsonl")
        log.cut("iteration", start)
        if streams != process.world:
            log.write(iteration=start, began_with=streams, goes_on_with=process.world)
        trainer.register_hooks([Log(log, start, stop)])
    with repeatable_focal_loss(process.device), Stopper(process.world, torch.device(process.device)) as stopper:
        trainer.register_hooks([Checkpoints(state, folder, process, stopper, run.checkpoint_seconds, streams)])
        trainer.train(start, stop)


def _parallel(model: nn.Module, process: Process) -> nn.Module:
    """Return `model`, wrapped where there are several processes; on CPUs DDP takes no device ids."""
    if process.world == 1:
        return model
    device = torch.device(process.device)
    return DistributedDataParallel(
        model, device_ids=[device.index] if device.type == "cuda" else None, broadcast_buffers=False
    )


def _precise_batch_norm(run: Run, model: nn.Module, records: Records) -> None:
    """Replace the running averages of batch norm by true ones over NUM_ITER fresh batches, as MoCo's recipe does."""
    settings = run.config.TEST.PRECISE_BN
    model.train()
    if not settings.ENABLED or not get_bn_modules(model):
        return
    loader = run.loader(records, start=0, stop=settings.NUM_ITER, purpose=PRECISE)

    def seeded() -> Iterator[list[Record]]:
        shown = bar(loader, what="precise batch norm", total=settings.NUM_ITER) if run.process.is_main else loader
        for iteration, batch in enumerate(shown):
            torch.manual_seed(derived_seed(run.seed, PRECISE, iteration, run.process.rank))
            yield batch

    with EventStorage(), told_diverged(diverged_in_the_end):  # the model writes its losses somewhere
        update_bn_stats(model, seeded(), settings.NUM_ITER)


def _load_everywhere(run: Run, model: nn.Module, final: Path) -> None:
    """Give every process the main one's model: without synchronised norms their running averages differ."""
    if run.process.world > 1 and is_there(final, run.process):
        model.load_state_dict(load(final)["model"])


class Reseed(HookBase):
    """Seeds torch before each iteration; Detectron2 samples anchors and proposals at random."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def before_step(self) -> None:
        """Seed by the iteration to come."""
        torch.manual_seed(derived_seed(self.run.seed, STEP, self.trainer.iter, self.run.process.rank))


class Log(HookBase):
    """Shows the progress and writes the losses to a file, at most POINTS lines of them."""

    def __init__(self, log: JsonLog, start: int, stop: int) -> None:
        self.log, self.every = log, max(1, stop // POINTS)
        self.bar = bar([], what="train", total=stop, start=start)

    def after_step(self) -> None:
        """Write a line if it is time."""
        done, storage = self.trainer.iter + 1, self.trainer.storage
        self.bar.update()
        if done % self.every:
            return
        losses: dict[str, float] = {}
        for name, (value, _) in storage.latest().items():
            if "loss" in name or name == "lr":
                losses[name] = value
        self.log.write(iteration=self.trainer.iter, **losses)

    def after_train(self) -> None:
        """Leave the bar as it stands."""
        self.bar.close()
