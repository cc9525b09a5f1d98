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

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase, SimpleTrainer, hooks
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from twinbench.convert.files import load, save
from twinbench.data.objects.packed import Record, Records
from twinbench.detection.options import SECONDS
from twinbench.detection.training.checkpoint import Checkpoints, Owner, State, checkpoints
from twinbench.detection.training.stream import (
    Checked,
    SeededImages,
    batches,
    image_mapper,
    training_loader,
)
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

    @property
    def seed(self) -> int:
        """What every random choice of the run is derived from."""
        return self.identity.seed

    @property
    def owner(self) -> Owner:
        """What the run's files belong to."""
        return Owner(self.identity, self.process.world)

    def loader(self, records: Records, *, start: int, stop: int, purpose: int = ORDER) -> Checked:
        """Return the loader of this process's batches `start` to `stop`; each `purpose` has its own order."""
        process, seed = self.process, self.seed
        order = batches(
            records.shapes,
            batch_size=process.share(self.config.SOLVER.IMS_PER_BATCH, "the protocol's batch_size"),
            seed=derived_seed(seed, purpose),
            rank=process.rank,
            world=process.world,
        )
        images = SeededImages(records, image_mapper(self.config, train=True), derived_seed(seed, AUGMENT, purpose))
        return training_loader(images, order, start=start, stop=stop, workers=self.workers)


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
    optimizer = build_optimizer(run.config, model)
    scheduler = build_lr_scheduler(run.config, optimizer)
    state = State(model, optimizer, scheduler, run.owner)
    start, stop = state.resume(run.folder / "checkpoints", run.process), run.config.SOLVER.MAX_ITER
    if start == stop:
        return
    process, folder = run.process, run.folder / "checkpoints"
    trainer = SimpleTrainer(_parallel(model, process), run.loader(records, start=start, stop=stop), optimizer)
    trainer.register_hooks([Reseed(run), hooks.LRScheduler(optimizer, scheduler)])
    if process.is_main:
        log = JsonLog(run.folder / "log.jsonl")
        log.cut("iteration", start)
        trainer.register_hooks([Log(log, start, stop)])
    with Stopper(process.world, torch.device(process.device)) as stopper:
        trainer.register_hooks([Checkpoints(state, folder, process, stopper, run.checkpoint_seconds)])
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

    with EventStorage():  # the model writes its losses somewhere
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
