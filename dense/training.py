"""The training of a head on frozen places: a killed run goes on at its last checkpoint, to the same numbers.

    OUT/head.pth   the head, what its optimizer keeps, and the step; at the end the head alone
    OUT/log.jsonl  the loss, every LOG_STEPS iterations

Which images make which batch, their augmentation and any draw of a step are functions of the seed and the step.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from twinbench.convert import files
from twinbench.convert.inputs import Inputs
from twinbench.dense.images import Pair
from twinbench.dense.places import DenseError
from twinbench.dense.trial import Run
from twinbench.runtime.distributed import average_gradients, from_main, share_buffers, summed
from twinbench.runtime.download import digest
from twinbench.runtime.loading import batches_of
from twinbench.runtime.process import Process
from twinbench.runtime.progress import JsonLog, bar, read_log
from twinbench.runtime.seeds import draw_seed
from twinbench.runtime.shared import is_there
from twinbench.runtime.stopping import StopAsked, Stopper, ignore_signals

STATE = "head.pth"
LOG = "log.jsonl"
LOG_STEPS = 50
SAVE_SECONDS = 300.0  # between two checkpoints: at most this much work is lost to a kill


class Lengths(Protocol):
    """What a recipe says of its steps."""

    @property
    def batch_size(self) -> int:
        """Images of a step, in all processes."""
        ...

    @property
    def iterations(self) -> int:
        """Steps."""
        ...


class Model(Protocol):
    """A frozen backbone with a head that is trained."""

    process: Process
    seed: int

    @property
    def head(self) -> nn.Module:
        """What is trained."""
        ...

    def losses(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return a summed loss of this process's normalised images, and what the sum of all is to be divided by."""
        ...


@dataclass(frozen=True)
class Steps:
    """How the steps of a recipe are made: what trains, and by which settings of the optimizer."""

    optimizer: torch.optim.Optimizer
    settings: Callable[[int], dict[str, Any]]  # of its groups at a step, counted from 0: `lr`, and what else moves
    size: tuple[int, int]  # (height, width) of the images
    nothing: float  # in labels: of a pixel that is padded
    clip: float = 0.0  # norm that the gradient is cut to; 0: none


class Batches:
    """This process's part of each batch of an endless stream: one shuffled pass over the images after the other."""

    def __init__(self, images: int, recipe: Lengths, seed: int, process: Process) -> None:
        self.images, self.recipe, self.seed, self.process = images, recipe, seed, process
        self.first = 0  # step to begin with

    def __len__(self) -> int:
        """Return the number of steps that are left."""
        return self.recipe.iterations - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        size, order, of = self.recipe.batch_size, np.empty(0, int), -1
        for step in range(self.first, self.recipe.iterations):
            batch: list[tuple[int, int]] = []
            for place in range(step * size + self.process.rank, (step + 1) * size, self.process.world):
                epoch, index = divmod(place, self.images)
                if epoch != of:
                    order, of = np.random.default_rng(draw_seed(self.seed, epoch)).permutation(self.images), epoch
                batch.append((epoch, int(order[index])))
            yield batch


class Training:
    """One run of a recipe, resumed from `out/head.pth` if that is there."""

    def __init__(
        self,
        model: Model,
        pairs: Dataset[Pair],
        images: int,
        recipe: Lengths,
        steps: Steps,
        inputs: Inputs,
        *,
        identity: str,
        out: Path,
        workers: int,
    ) -> None:
        """Prepare the run on pairs by key (epoch, index) of so many images.

        `identity` names the trial and keeps another trial's checkpoint from being resumed.
        """
        self.model, self.recipe, self.steps, self.inputs = model, recipe, steps, inputs
        self.process, self.identity, self.path = model.process, identity, out / STATE
        self.process.share(recipe.batch_size, "batch_size")
        self.log = JsonLog(out / LOG if self.process.is_main else None)
        self.batches = Batches(images, recipe, model.seed, self.process)
        self.loader = DataLoader(
            pairs,
            batch_sampler=self.batches,  # type: ignore[arg-type]
            collate_fn=list,
            num_workers=workers,
            worker_init_fn=ignore_signals,
        )
        self.step, self.saved = 0, time.monotonic()

    def run(self) -> None:
        """Train what is left of the schedule; StopAsked for a run that was told to stop and has saved its state."""
        self._restore()
        iterations, process = self.recipe.iterations, self.process
        self.batches.first = self.step
        self.model.head.train()
        progress = bar(range(iterations), what="linear head", start=self.step, unit="step")
        stopper = Stopper(process.world, process.device)
        with progress, stopper:
            for pairs in batches_of(self.loader):
                loss = self._step(pairs)
                self.step += 1
                progress.update()
                if self.step % LOG_STEPS == 0 or self.step == iterations:
                    self._write(loss)
                if stopper.agreed():
                    self._save()
                    raise StopAsked(f"stopped after step {self.step} of {iterations}; state in {self.path}")
                if time.monotonic() - self.saved > SAVE_SECONDS:
                    self._save()
        share_buffers(self.model.head, process)
        self._save()

    def _step(self, pairs: Sequence[Pair]) -> Tensor:
        """Take one step; return the loss of the whole batch, summed, and what this process adds to its divisor."""
        steps = self.steps
        for group in steps.optimizer.param_groups:
            group |= steps.settings(self.step)
        steps.optimizer.zero_grad()
        images, labels = stacked(pairs, steps.size, steps.nothing, self.inputs)
        loss, parts = self.model.losses(images, labels, self.step)
        loss.backward()
        total = average_gradients(self.model.head, parts, loss.detach(), self.process)
        if steps.clip:
            nn.utils.clip_grad_norm_(self.model.head.parameters(), steps.clip)
        steps.optimizer.step()
        return torch.stack([total, parts])

    def _write(self, loss: Tensor) -> None:
        """Write a line of the log; DenseError for a loss that is no number."""
        total, parts = loss[0], summed(loss[1], self.process)
        value = total.item() / max(1.0, parts.item())
        if not math.isfinite(value):
            raise DenseError(
                f"{self.path.parent}: the loss after step {self.step} is {value}, the head diverges; lower --set lr"
            )
        self.log.write(iteration=self.step, loss=value, rate=self.steps.settings(self.step - 1)["lr"])

    def _save(self) -> None:
        """Write the state."""
        self.saved = time.monotonic()
        if self.process.is_main:
            state: dict[str, Any] = {"identity": self.identity, "step": self.step}
            state |= {"head": self.model.head.state_dict(), "optimizer": self.steps.optimizer.state_dict()}
            files.save(state, self.path)

    def _restore(self) -> None:
        """Go on from the checkpoint, if there is one of this very trial."""
        if is_there(self.path, self.process):
            state = files.load(self.path)
            if state.get("identity") != self.identity:
                raise DenseError(
                    f"{self.path}: belongs to {state.get('identity')}, but this is {self.identity}; "
                    "choose another OUT or remove it"
                )
            self.model.head.load_state_dict(state["head"])
            self.steps.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        self.log.cut("iteration", self.step + 1)


def stacked(pairs: Sequence[Pair], size: tuple[int, int], nothing: float, inputs: Inputs) -> Pair:
    """Return pairs as normalised images (N, 3, height, width) and labels, padded below and to the right.

    With the mean colour and `nothing`.
    """
    height, width = size
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for image, truth in pairs:
        missing = (0, width - truth.shape[1], 0, height - truth.shape[0])
        images.append(functional.pad(inputs(image[None]), missing))
        labels.append(functional.pad(truth[None], missing, value=nothing))
    return torch.cat(images), torch.cat(labels).to(inputs.device, non_blocking=True)


def trained(run: Run, model: Model, pairs: Dataset[Pair], steps: Steps, inputs: Inputs) -> dict[str, Any]:
    """Train the head of a trial's model; return whose are the counts of what it predicts, see runtime/kept.py."""
    identity = run.trial.description
    Training(
        model,
        pairs,
        len(run.data.train),
        run.recipe,
        steps,
        inputs,
        identity=identity,
        out=run.out,
        workers=run.workers,
    ).run()
    return {"trial": identity, "head": from_main(run.process, lambda: digest(run.out / STATE, "sha256"))}


def losses_of(run: Run) -> list[list[float]]:
    """Return the curve of the losses that were logged."""
    return [[line["iteration"], round(line["loss"], 4)] for line in read_log(run.out / LOG)]
