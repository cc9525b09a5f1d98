"""A pretraining run from its first step, or from where it was stopped, to the backbone's file.

Order on a start: 1. OUT is of another run, by pretrain.json or its checkpoint: refused. 2. OUT/resnet50.pth exists:
finished. 3. OUT/checkpoint.pth exists: go on from it. 4. Initialise from the seed. All randomness after that is a pure
function of (seed, step), see views.py, so a run that was killed ends with the same bits as one that was not.
"""

import dataclasses
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from twinbench.data.content import require_content
from twinbench.data.folders.pool import read_pool
from twinbench.data.items import ImageList
from twinbench.data.labelled import told_left_out
from twinbench.data.source import Source
from twinbench.pretrain import state
from twinbench.pretrain.images import Corrupt, Plan, Views, decode_all, views_from_files, views_from_memory
from twinbench.pretrain.loss import Form, choose_form, correlation_statistics, loss_floor
from twinbench.pretrain.meter import Meter
from twinbench.pretrain.model import BarlowTwins
from twinbench.pretrain.monitor import Monitor
from twinbench.pretrain.objectives import objective
from twinbench.pretrain.optimizer import build_optimizer, set_rates
from twinbench.pretrain.options import Options
from twinbench.pretrain.record import NAME, Record
from twinbench.pretrain.start import BACKBONE, CHECKPOINT, record_of, settle_start
from twinbench.protocols.pretraining import PretrainRecipe
from twinbench.report import provenance
from twinbench.report.trial import leaving_nothing
from twinbench.runtime.batchnorm import synchronize
from twinbench.runtime.determinism import deterministic, fastest_kernels
from twinbench.runtime.distributed import from_main, meet, require_equal
from twinbench.runtime.precision import TrainingPrecision, network_precision, resolve_precision
from twinbench.runtime.process import Process, loader_workers, process_group
from twinbench.runtime.progress import JsonLog, bar
from twinbench.runtime.shared import is_there
from twinbench.runtime.stopping import Late, StopAsked, Stopper

_log = logging.getLogger(__name__)


def pretrain(data: Source, out: Path, recipe: PretrainRecipe, seed: int, options: Options, process: Process) -> Path:
    """Run `recipe` on the training images of `data`, or go on with it, and return the backbone's file in `out`.

    Raises UserError for what cannot be started as asked, RunError for a run that failed, StopAsked for one that was
    told to stop and has saved its state.
    """
    backbone = out / BACKBONE
    process.share(recipe.batch_size, "batch_size")
    kernels = deterministic() if options.deterministic else fastest_kernels()
    # All that is not the network computes in exact float32.
    with leaving_nothing(out, NAME), kernels, process_group(process) as device, network_precision("fp32", device):
        split = read_pool(data)
        _log.info("%d images found in %s", len(split.paths), data)
        if left_out := told_left_out(split):
            _log.warning("%s: left out: %s", data, left_out)
        require_content(data, "training", split.paths)
        require_equal(process, images=len(split.paths))
        precision = resolve_precision(recipe.precision, device)

        def settle() -> tuple[Record, bool]:
            return settle_start(out, record_of(data, split, recipe, seed, precision), recipe)

        record, finished = from_main(process, settle)
        _log.info(
            "%s, in %s, %s", record.identity, record.precision, "finished before" if finished else "to be trained"
        )
        if not finished:
            try:
                _train(split.paths, out, recipe, record, options, process, device)
            except torch.OutOfMemoryError as error:
                raise _does_not_fit(error, recipe, process) from error
    return backbone


def _does_not_fit(error: torch.OutOfMemoryError, recipe: PretrainRecipe, process: Process) -> state.RunError:
    """Say that the memory of a GPU was too small, and what makes the work smaller."""
    share = recipe.batch_size // process.world
    reason = ". ".join(str(error).split(". ")[:2])  # PyTorch goes on for a paragraph
    return state.RunError(
        f"{process.device}: {reason}; its share is {share} images of {recipe.crop} px; start more processes,"
        " or choose --precision bf16 or a smaller batch_size"
    )


def _train(
    paths: ImageList,
    out: Path,
    recipe: PretrainRecipe,
    record: Record,
    options: Options,
    process: Process,
    device: torch.device,
) -> None:
    """Make the steps that are left, and write the backbone."""
    corrupt = Corrupt(options.skip_corrupt)
    images = decode_all(paths, corrupt) if recipe.views == "batched" else None
    plan = Plan(recipe, len(paths) if images is None else len(images), record.identity.seed)
    plan.require_shares(process)
    run = Run(plan, record, out, options, process, device)
    if images is None:
        workers = loader_workers(process, options.workers)
        views = views_from_files(paths, plan, process, device, run.step, workers=workers, corrupt=corrupt)
    else:
        views = views_from_memory(images.to(device), plan, process, device, run.step)
    run.train(views)
    if process.is_main:
        state.write(run.model.backbone.state_dict(), out / BACKBONE)
        run.log.write(event="finished", skipped=list(corrupt.found))


class Run:
    """The model, the optimiser and the step they have reached."""

    def __init__(
        self, plan: Plan, record: Record, out: Path, options: Options, process: Process, device: torch.device
    ) -> None:
        """Initialise from the seed, or from OUT/checkpoint.pth where there is one."""
        self.plan, self.record, self.options = plan, record, options
        self.process, self.device = process, device
        recipe, features = plan.recipe, plan.recipe.projector[-1]
        torch.manual_seed(plan.seed)
        self.model = BarlowTwins(recipe).to(device)
        self.model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if process.world > 1:
            synchronize(self.model, device)
        self.optimizer = build_optimizer(self.model, recipe)
        self.precision = TrainingPrecision(record.precision, device)
        # One form for all: cards of two sizes chose two, and waited for each other's sums for ever.
        self.form: Form = from_main(process, lambda: choose_form(recipe.batch_size, features, device))
        self.monitor = None
        if options.monitor:
            self.monitor = Monitor(options.monitor, recipe.crop, process, loader_workers(process, options.workers))
        self.path = out / CHECKPOINT
        self.step = self._restore()
        self.saved_step = self.step
        self.network = self._network()
        self.log = JsonLog(out / "log.jsonl" if process.is_main else None)
        self.log.cut("step", self.step + 1)
        self.log.write(
            event="start",
            from_step=self.step,
            recipe=dataclasses.asdict(recipe),
            fingerprint=recipe.fingerprint,
            identity=record.identity.as_dict(),
            seed=plan.seed,
            images=plan.images,
            steps=plan.steps,
            processes=process.world,
            device=process.device,
            precision=self.precision.name,
            loss_form=self.form,
            deterministic=self.options.deterministic,
            command=provenance.command(),
            code=provenance.code(),
            versions=provenance.versions(),
        )
        floor = loss_floor(recipe.batch_size, features, recipe.lambd) if recipe.objective == "barlow-twins" else 0.0
        self.meter = Meter(plan, self.log, floor, device)

    def _restore(self) -> int:
        """Put a checkpoint's state back, if there is one; return the steps it had made."""
        found = state.load(self.path, self.plan, self.record) if is_there(self.path, self.process) else None
        if found is None:
            return 0
        state.restore(found, self.model, self.optimizer)
        self.precision.restore(found["twinbench"])
        _log.info("going on after step %d of %d", found["twinbench"]["step"], self.plan.steps)
        return found["twinbench"]["step"]

    def _network(self) -> nn.Module:
        """Wrap the model for speed and for many processes."""
        if self.options.compile:
            self.model.compile()
        if self.process.world == 1:
            return self.model
        return DistributedDataParallel(self.model)

    def train(self, views: Iterator[Views]) -> None:
        """Make the steps that are left."""
        self.network.train()
        self._keep(missing=True)
        saved_at = time.monotonic()
        before: tuple[Late, int] | None = None  # loss of the last step, and its number
        progress = bar(views, what=self.plan.recipe.name, total=self.plan.steps, start=self.step, unit="step")
        with Stopper(self.process.world, self.device) as stopper:
            for view1, view2 in progress:
                self.meter.images_are_here()
                z1, z2, loss = self._step(view1, view2)
                # Both are read one step late, so that a GPU never waits for this process to launch more work.
                stop = stopper.agreed()
                if before:
                    self._judge(*before)
                before = (Late(loss), self.step)
                self.step += 1
                if self.step % self.options.log_steps == 0 or self.step == self.plan.steps:
                    self._judge(*before)
                    progress.set_postfix_str(self._log(z1, z2, loss))
                seconds = time.monotonic() - saved_at
                if stop or seconds > self.options.save_seconds or self.step % self.plan.steps_per_epoch == 0:
                    self._judge(*before)
                    self.save()
                    self._keep()
                    saved_at = time.monotonic()
                if stop:
                    meet(self.process)
                    raise StopAsked(f"stopped after step {self.step} of {self.plan.steps}; state in {self.path}")
                self.meter.step_is_done()
                self._monitor()

    def _step(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make one step of the optimiser; return embeddings and loss, detached."""
        recipe = self.plan.recipe
        set_rates(self.optimizer, self.plan, self.step)
        with self.precision.forward():
            z1, z2 = self.network(view1, view2)
        loss = objective(z1, z2, recipe, self.form)
        self.optimizer.zero_grad(set_to_none=True)
        # DistributedDataParallel averages gradients over processes, but the global loss's gradient is their sum.
        self.precision.step(loss * (self.process.world / recipe.reference_world), self.optimizer)
        return z1.detach(), z2.detach(), loss.detach()

    def _keep(self, *, missing: bool = False) -> None:
        """Write the backbone into a file of its own at the end of every so many epochs, and of the last one.

        The checkpoint is there before it, so that a file which another program has seen is never made again otherwise;
        a kill between the two leaves it `missing`, for the next start.
        """
        epoch, place = divmod(self.step, self.plan.steps_per_epoch)
        every = self.options.keep_every
        if not every or place or not epoch or (epoch % every and self.step < self.plan.steps):
            return
        path = self.path.with_name(f"epoch{epoch:04}.pth")
        if self.process.is_main and not (missing and path.exists()):
            state.write(self.model.backbone.state_dict(), path)

    def _rates(self) -> tuple[float, float]:
        """Return the learning rates of weights and of biases."""
        weights, biases = (group["lr"] for group in self.optimizer.param_groups)
        return weights, biases

    def _log(self, z1: Tensor, z2: Tensor, loss: Tensor) -> str:
        """Write a line of the log; all processes take part in its statistics."""
        return self.meter.write(self.step, float(loss), correlation_statistics(z1, z2), *self._rates())

    def _monitor(self) -> None:
        """Measure the features after every so many epochs, and after the last one."""
        epoch, place = divmod(self.step, self.plan.steps_per_epoch)
        due = place == 0 and epoch % self.options.monitor_epochs == 0
        if self.monitor and (due or self.step == self.plan.steps):
            accuracy = self.monitor.accuracy(self.model.backbone, self.device)
            self.meter.write_accuracy(self.step, accuracy)
            self.meter.restart()

    def _judge(self, loss: Late, step: int) -> None:
        """Raise RunError where the loss of `step` (counted from 0) is not finite."""
        if not math.isfinite(value := loss.value()):
            raise self._diverged(f"the loss of step {step + 1} is {value}")

    def _diverged(self, what: str) -> state.RunError:
        weights, biases = self._rates()
        kept = f"the checkpoint of step {self.saved_step} is kept" if self.saved_step else "no checkpoint was made yet"
        return state.RunError(
            f"{what}, with lr_weights {weights:.4g} and lr_biases {biases:.4g}{self.meter.describe_last()}; {kept}; try"
            " lower rates, more warmup_epochs, or --precision fp32"
        )

    def save(self) -> None:
        """Write checkpoint.pth from the main process; RunError where a weight is not finite."""
        norms = torch._foreach_norm([p.detach() for p in self.model.parameters()])
        if not bool(torch.stack(norms).isfinite().all()):
            raise self._diverged(f"the weights after step {self.step} are not finite")
        if self.process.is_main:
            more = {"processes": self.process.world, **self.precision.state()}
            state.save(self.path, self.plan, self.record, self.step, self.model, self.optimizer, more)
        self.saved_step = self.step
