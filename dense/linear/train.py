"""The training of a linear head: a killed run goes on at the step of its last checkpoint, to the same numbers.

    OUT/head.pth   the head, what its optimizer keeps, and the step; at the end the head alone
    OUT/log.jsonl  the loss, every LOG_STEPS iterations

Which images make which batch, their augmentation and the draw of dropout are functions of the seed and the step.
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from twinbench.convert import files
from twinbench.convert.inputs import Inputs
from twinbench.data.objects.packed import Records
from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.data.pixels.split import Decode
from twinbench.dense.images import Pair
from twinbench.dense.linear.images import TrainPairs
from twinbench.dense.linear.model import LinearSegmenter
from twinbench.dense.places import DenseError
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe
from twinbench.runtime.distributed import average_gradients, share_buffers, summed
from twinbench.runtime.loading import batches_of
from twinbench.runtime.process import Process
from twinbench.runtime.progress import JsonLog, bar
from twinbench.runtime.seeds import draw_seed
from twinbench.runtime.shared import is_there
from twinbench.runtime.stopping import StopAsked, Stopper, ignore_signals

STATE = "head.pth"
LOG = "log.jsonl"
LOG_STEPS = 50
SAVE_SECONDS = 300.0  # between two checkpoints: at most this much work is lost to a kill


def rate(recipe: LinearSegmenterRecipe, step: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    if recipe.schedule == "one-cycle":
        return _one_cycle(recipe, step)
    if recipe.schedule == "poly":
        left = 1 - step / recipe.iterations
        found = recipe.lr_end + (recipe.lr - recipe.lr_end) * left**recipe.poly_power
    else:
        found = recipe.lr * 0.1 ** sum(step >= at for at in recipe.steps)
    return found * _warmed(recipe, step)


def _one_cycle(recipe: LinearSegmenterRecipe, step: int) -> float:
    """Return DINOv3's rate: half a cosine to 0, and while it warms up a line to 0 instead.

    Its schedule is first moved after the second step, so that the first two have one rate, and the cosine is one ahead.
    """
    moved = max(0, step - 1)
    if moved < recipe.warmup_iterations:
        return recipe.lr * _warmed(recipe, moved) * (1 - moved / recipe.iterations)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (moved + 1) / recipe.iterations))


def _warmed(recipe: LinearSegmenterRecipe, step: int) -> float:
    """Return what the rate is multiplied by while it warms up."""
    if step >= recipe.warmup_iterations:
        return 1.0
    return 1 - (1 - step / recipe.warmup_iterations) * (1 - recipe.warmup_ratio)


class Batches:
    """This process's part of each batch of an endless stream: one shuffled pass over the images after the other."""

    def __init__(self, images: int, recipe: LinearSegmenterRecipe, seed: int, process: Process) -> None:
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
        model: LinearSegmenter,
        records: Records,
        decode: Decode,
        inputs: Inputs,
        *,
        identity: str,
        out: Path,
        workers: int,
    ) -> None:
        """Prepare the run; `identity` names the trial and keeps another trial's checkpoint from being resumed."""
        self.model, self.recipe, self.process, self.inputs = model, model.recipe, model.process, inputs
        self.identity, self.path = identity, out / STATE
        self.process.share(self.recipe.batch_size, "batch_size")
        self.optimizer = _optimizer(self.recipe, model)
        self.log = JsonLog(out / LOG if self.process.is_main else None)
        self.batches = Batches(len(records), self.recipe, model.seed, self.process)
        self.loader = DataLoader(
            TrainPairs(records, decode, self.recipe, model.seed),
            batch_sampler=self.batches,  # type: ignore[arg-type]
            collate_fn=list,
            num_workers=workers,
            worker_init_fn=ignore_signals,
        )
        self.step, self.saved = 0, time.monotonic()

    def run(self) -> None:
        """Train what is left of the schedule; StopAsked for a run that was told to stop and has saved its state."""
        self._restore()
        recipe, process = self.recipe, self.process
        self.batches.first = self.step
        self.model.train()
        progress = bar(range(recipe.iterations), what="linear head", start=self.step, unit="step")
        stopper = Stopper(process.world, process.device)
        with progress, stopper:
            for pairs in batches_of(self.loader):
                loss = self._step(pairs)
                self.step += 1
                progress.update()
                if self.step % LOG_STEPS == 0 or self.step == recipe.iterations:
                    self._write(loss)
                if stopper.agreed():
                    self._save()
                    raise StopAsked(f"stopped after step {self.step} of {recipe.iterations}; state in {self.path}")
                if time.monotonic() - self.saved > SAVE_SECONDS:
                    self._save()
        share_buffers(self.model.head, process)
        self._save()

    def _step(self, pairs: list[Pair]) -> Tensor:
        """Take one step; return the loss of the whole batch, summed, and how many pixels of this process it counts."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.recipe, self.step)
        self.optimizer.zero_grad()
        images, labels = _stacked(pairs, self.recipe.crop, self.inputs)
        loss, pixels = self.model.losses(images, labels, self.step)
        loss.backward()
        total = average_gradients(self.model, pixels, loss.detach(), self.process)
        self.optimizer.step()
        return torch.stack([total, pixels])

    def _write(self, loss: Tensor) -> None:
        """Write a line of the log; DenseError for a loss that is no number."""
        total, pixels = loss[0], summed(loss[1], self.process)
        value = total.item() / max(1.0, pixels.item())
        if not math.isfinite(value):
            raise DenseError(
                f"{self.path.parent}: the loss after step {self.step} is {value}, the head diverges; lower --set lr"
            )
        self.log.write(iteration=self.step, loss=value, rate=rate(self.recipe, self.step - 1))

    def _save(self) -> None:
        """Write the state."""
        self.saved = time.monotonic()
        if self.process.is_main:
            state: dict[str, Any] = {"identity": self.identity, "step": self.step}
            state |= {"head": self.model.head.state_dict(), "optimizer": self.optimizer.state_dict()}
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
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        self.log.cut("iteration", self.step + 1)


def _stacked(pairs: list[Pair], side: int, inputs: Inputs) -> Pair:
    """Return pairs as normalised images (N, 3, side, side) and labels, padded below and to the right.

    With the mean colour and UNLABELLED.
    """
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for image, truth in pairs:
        missing = (0, side - truth.shape[1], 0, side - truth.shape[0])
        images.append(functional.pad(inputs(image[None]), missing))
        labels.append(functional.pad(truth[None], missing, value=UNLABELLED))
    return torch.cat(images), torch.cat(labels).to(inputs.device, non_blocking=True)


def _optimizer(recipe: LinearSegmenterRecipe, model: LinearSegmenter) -> torch.optim.Optimizer:
    """Return the optimizer of the head, all of whose tensors are decayed."""
    parameters = model.head.parameters()
    if recipe.optimizer == "adamw":
        first, second = recipe.betas
        return torch.optim.AdamW(parameters, recipe.lr, (first, second), weight_decay=recipe.weight_decay)
    return torch.optim.SGD(parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
