"""Classifiers trained by SGD on a backbone that stays frozen (linear probes) or is trained along (fine-tuning).

The rate changes once an epoch, or with every step where these are counted; the last epoch is the reported one, and
every random draw is a function of (seed, epoch, image): a run that was killed and started again ends with the same
numbers, bit for bit on a CPU. A kill costs at most SAVE_SECONDS of work, a signal that asks to stop
(runtime/stopping.py) none. On a GPU no step waits for the one before it: what is counted stays there until it is saved
or the epoch ends.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from twinbench.convert import files
from twinbench.convert.backbone import Backbone
from twinbench.convert.inputs import Inputs
from twinbench.data.layouts import LabelledImages
from twinbench.protocols.kinds.finetuning import TrainedRecipe
from twinbench.runtime.distributed import average_gradients, share_buffers
from twinbench.runtime.loading import Pace
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process
from twinbench.runtime.progress import JsonLog, bar
from twinbench.runtime.shared import is_there
from twinbench.runtime.stopping import StopAsked, Stopper, ignore_signals
from twinbench.transfer.batches import EpochBatches, collated
from twinbench.transfer.cache import cached_features
from twinbench.transfer.classifier import Classifier, OnTrunk, has_batch_norm, norm_momentum
from twinbench.transfer.features import digest, feature_loader
from twinbench.transfer.mixing import Mixing
from twinbench.transfer.objectives import Accuracies, Objective, Scored
from twinbench.transfer.probe_checks import DivergedError, ProbeError, require_possible, require_variance
from twinbench.transfer.schedule import rate_factor
from twinbench.transfer.transforms import TrainImages, train_transform

STATE = "checkpoint.pth"
HEAD_IMAGES = 1024  # features of test images through the head at a time
SECOND_BETA = 0.999  # of Adam, everywhere
SAVE_SECONDS = 300  # between two checkpoints within an epoch


class NotFrozenError(RuntimeError):
    """A frozen backbone changed while its probe was trained."""


@dataclass(frozen=True)
class ProbeOutcome:
    """The last epoch's accuracy, and the way there."""

    metrics: dict[str, float]  # percent; top1 and top5 of each head unless another objective is given
    curves: dict[str, list[list[float]]]  # the objective's headlines and the loss by epochs trained
    details: dict[str, Any]


class Probe:
    """One run of a TrainedRecipe, resumed from `out/checkpoint.pth` if that is there."""

    def __init__(
        self,
        backbone: Backbone,
        recipe: TrainedRecipe,
        train: LabelledImages,
        test: LabelledImages,
        *,
        identity: str,
        out: Path,
        cache: Path,
        seed: int = 0,
        process: Process | None = None,
        workers: int = 0,
        objective: Objective | None = None,
    ) -> None:
        """Prepare the run; `identity` names the trial and keeps another trial's checkpoint from being resumed.

        Without an `objective` it is the recipe's own accuracies. A frozen backbone's features of the test images come
        from the folder `cache`, or are put there.
        """
        self.recipe, self.backbone, self.test, self.identity, self.seed = recipe, backbone, test, identity, seed
        self.process, self.workers, self.path = process or Process(), workers, out / STATE
        self.cache, self.objective = cache, objective or Accuracies(recipe.metrics(), recipe.smoothing)
        self.process.share(recipe.batch_size, "batch_size")
        self.model = self._new_model(train).to(self.process.device).to(memory_format=torch.channels_last)
        self.mixing = (
            Mixing(recipe, len(train.classes), self.model.groups.own, seed, self.process) if recipe.mixes else None
        )
        self.optimizer = self._new_optimizer()
        self.log = JsonLog(out / "log.jsonl" if self.process.is_main else None)
        self.batches = self._new_batches(len(train.paths))
        all_steps = recipe.epochs * len(self.batches)
        self.steps = min(recipe.steps or all_steps, all_steps)
        self.epochs = math.ceil(self.steps / len(self.batches))
        if recipe.norm_momentum == "by-epoch":
            self.model.set_norm_momentum(norm_momentum(len(self.batches)))
        self.inputs = Inputs(backbone.convention, self.process.device)
        transform = train_transform(recipe.transform, recipe.augmentation, backbone.convention)
        images = TrainImages(train.paths, train.targets, transform, seed)
        self.loader = DataLoader(
            images,
            batch_sampler=self.batches,
            collate_fn=collated,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.process.device.startswith("cuda"),
            worker_init_fn=ignore_signals,
        )
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}  # of heads of which one is chosen, the one that would be by now
        self.step = 0  # of the present epoch, and the loss summed over the images seen in it
        self.loss = self._no_loss()
        self.pace: dict[str, Any] = {}  # of the last epoch, for the log
        self.saved = time.monotonic()

    def _new_model(self, train: LabelledImages) -> OnTrunk:
        """Return the network with a fresh head for images like `train`; ProbeError for what it can't be trained on."""
        trunk = self.backbone.build(self.recipe.drop_path)
        require_possible(self.recipe, self.process.world, has_norm=has_batch_norm(trunk))
        model = Classifier(trunk, len(train.classes), self.recipe, self.seed, self.process)
        require_variance(self.recipe, len(train.paths), model.fewest, has_norm=model.has_norm)
        return model

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Return what trains the model."""
        recipe, groups = self.recipe, self.model.parameter_groups()
        if recipe.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=0.0, betas=(recipe.momentum, SECOND_BETA))
        return torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=recipe.nesterov)

    def _new_batches(self, images: int) -> EpochBatches:
        """Return the batches of so many training images."""
        repeats, drop_last = self.recipe.repeats, self.recipe.drop_last
        return EpochBatches(
            images, self.recipe.batch_size, self.seed, self.process, repeats=repeats, drop_last=drop_last
        )

    def _no_loss(self) -> Tensor:
        """Return what losses are added to."""
        return torch.zeros((), dtype=torch.float64, device=self.process.device)

    def run(self) -> ProbeOutcome:
        """Train what is left of the schedule and return the last epoch's accuracy, the best one beside it.

        StopAsked for a run that was told to stop and has saved its state.
        """
        frozen = "" if self.recipe.train_backbone else digest(self.model.trunk)
        self._restore()
        if self.recipe.test_features and len(self.history) < self.epochs:
            _ = self._test_features  # before signals only set a flag: a kill costs a block of them at any time
        done = len(self.history)
        # A ResNet that is trained has convolutions only, and the head products, which stay exact; a transformer is made
        # of products.
        precision = network_precision(self.model.surrounding, self.process.device, exact_products=self.model.has_norm)
        progress = bar(range(self.steps), what="probe", start=done * len(self.batches) + self.step, unit="step")
        stopper = Stopper(self.process.world, self.process.device)
        with precision, progress, stopper:
            for epoch in range(done, self.epochs):
                loss = self._train_epoch(epoch, progress, stopper)
                tested = self._evaluate() if self._is_tested(epoch) else {}
                self.step = 0
                self.loss.zero_()
                self.history.append({"epoch": epoch + 1, "loss": loss} | tested)
                self.log.write(**self.history[-1], rate=self._rate_factor(epoch, 0), **self.pace)
                if tested or self._is_due():
                    self._save()
        if frozen and digest(self.model.trunk) != frozen:
            raise NotFrozenError("the frozen backbone changed during the probe; its result would mean nothing")
        return self._outcome(frozen)

    def _train_epoch(self, epoch: int, progress: Any, stopper: Stopper) -> float:
        """Train what is left of an epoch and return its mean loss."""
        self.model.train()
        end = min(len(self.batches), self.steps - epoch * len(self.batches))
        self.batches.epoch, self.batches.first, self.batches.end = epoch, self.step, end
        pace = Pace(self.loader)
        for images, targets in pace:
            for group in self.optimizer.param_groups:
                group["lr"] = group["base"] * self._rate_factor(epoch, self.step)
            self.loss += self._step(images, targets)
            self.step += 1
            progress.update()
            if stopper.agreed():
                self._stop(epoch)
            if self.step < end and self._is_due():
                self._save()
        seen = min(end * self.recipe.batch_size, self.batches.images)
        mean = self._mean_loss(epoch, seen)
        self.pace = pace.told(seen - min(self.batches.first * self.recipe.batch_size, seen)) if pace.batches else {}
        if stopper.agreed_now():
            self._stop(epoch)
        # is its evaluation: longer than who stops a job waits
        long = self.recipe.test_features is None and self._is_tested(epoch)
        if self.step > self.batches.first and (long or self._is_due()):
            self._save()
        return mean

    def _mean_loss(self, epoch: int, images: int) -> float:
        """Return the mean loss over the images seen in an epoch; DivergedError if it is no number any more."""
        mean = self.loss.item() / images
        if not math.isfinite(mean):
            rates = "lr_head or lr_backbone" if self.recipe.train_backbone else "lr_head"
            raise DivergedError(
                f"{self.path.parent}: the loss of epoch {epoch + 1} is {mean}, the probe diverges; lower --set {rates}"
            )
        return mean

    def _rate_factor(self, epoch: int, step: int) -> float:
        """Return what every learning rate is multiplied by in a step of an epoch, both counted from 0."""
        return rate_factor(self.recipe, epoch, step, len(self.batches), self.steps)

    def _is_tested(self, epoch: int) -> bool:
        """Say whether an epoch is followed by a test: where steps are counted, epochs may be a dozen of them."""
        return not self.recipe.steps or epoch + 1 == self.epochs

    def _is_due(self) -> bool:
        """Say whether it is time to save."""
        return time.monotonic() - self.saved > SAVE_SECONDS

    def _stop(self, epoch: int) -> NoReturn:
        """Save the state between two steps, or between the last one of an epoch and its evaluation, and raise."""
        self._save()
        done = epoch * len(self.batches) + self.step
        raise StopAsked(f"stopped after step {done} of {self.steps}; state in {self.path}")

    def _step(self, images: Tensor, targets: Tensor) -> Tensor:
        """Take one step on the global batch of which this process holds `images`; return the batch's summed loss."""
        self.optimizer.zero_grad()
        loss = torch.zeros((), device=self.process.device)
        # A frozen trunk takes parts by itself, and no images are one part of none.
        part = self.model.part if self.recipe.train_backbone else max(1, len(images))
        epoch = len(self.history)
        kept = self.model.drops.drawn(len(images), self.recipe.batch_size, (self.seed, epoch, self.step), self.process)
        if self.mixing:
            targets = targets.to(loss.device, non_blocking=True)
            images, targets = self.mixing(self.inputs(images), targets, epoch, self.step)
        for some, their_targets, factors in zip(
            images.split(part), targets.split(part), kept.split(part, 1), strict=True
        ):
            self.model.drops.use(factors)
            logits = self.model(some if self.mixing else self.inputs(some))
            theirs = their_targets.to(loss.device, non_blocking=True)
            summed_loss = self.objective.loss(logits, theirs)
            summed_loss.backward()
            loss += summed_loss.detach()
        loss = average_gradients(self.model, len(images), loss, self.process)
        self.optimizer.step()
        return loss

    @torch.inference_mode()
    def _evaluate(self) -> dict[str, Any]:
        """Return the objective's metrics, in percent; each process counts its own part of the images once."""
        self.model.eval()
        share_buffers(self.model, self.process)
        return self.objective.measured(self._scored(), self.test.targets, self.process)

    def _scored(self) -> Scored:
        """Yield logits (B, K) and the places (B,) of their images among all test images."""
        for logits, rows in self._test_logits():
            yield logits, rows * self.process.world + self.process.rank

    def _test_logits(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield logits (B, K) and the places (B,) of their images among this process's."""
        mine = self.test.paths[self.process.rank :: self.process.world]
        device = self.process.device
        if self.recipe.test_features is None:
            for images, rows in feature_loader(mine, self.recipe.transform, device, self.workers):
                yield self.model(self.inputs(images)), rows
            return
        for start in range(0, len(mine), HEAD_IMAGES):
            features = torch.from_numpy(np.array(self._test_features[start : start + HEAD_IMAGES])).to(device)
            yield self.model.head(features.unflatten(1, self.model.shape)), torch.arange(start, start + len(features))

    @cached_property
    def _test_features(self) -> np.ndarray:
        """Features (N, C h w) of this process's test images from the frozen trunk."""
        assert self.recipe.test_features is not None, "a trunk that changes gives no features that last"
        whole = cached_features(
            self.cache,
            self.backbone,
            self.test.paths,
            self.recipe.test_features,
            process=self.process,
            workers=self.workers,
            what="test features",
        )
        return whole[self.process.rank :: self.process.world]

    def _save(self) -> None:
        """Write the state after a step or an epoch; of a frozen trunk only its head, of a diverged epoch nothing."""
        self.saved, loss = time.monotonic(), self.loss.tolist()
        if self.process.is_main and bool(self.loss.isfinite().any()):
            state = {"model": self.model.trained.state_dict(), "optimizer": self.optimizer.state_dict()}
            place = {"history": self.history, "step": self.step, "loss": loss, "best": self.best}
            files.save({"identity": self.identity, **place, **state}, self.path)

    def _restore(self) -> None:
        """Go on from the checkpoint, if there is one of this very trial."""
        if not is_there(self.path, self.process):
            self.log.cut("epoch", 1)  # a kill may have come between the first epoch's line and its checkpoint
            return
        state = files.load(self.path)
        if state.get("identity") != self.identity:
            raise ProbeError(
                f"{self.path}: belongs to {state.get('identity')}, but this is {self.identity}; "
                "choose another OUT or remove it"
            )
        self.model.trained.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history, self.step, self.best = state["history"], state["step"], state.get("best", {})
        self.loss.copy_(torch.tensor(state["loss"], dtype=self.loss.dtype))
        self.log.cut("epoch", len(self.history) + 1)

    def _outcome(self, frozen: str) -> ProbeOutcome:
        """Gather the result from the history."""
        last = self.history[-1]
        headlines = self.objective.headlines
        best = max((epoch for epoch in self.history if headlines[-1] in epoch), key=lambda epoch: epoch[headlines[-1]])
        details: dict[str, Any] = {"best_epoch_on_test_split_not_reported": best}
        if frozen:
            details["frozen_backbone_digest"] = frozen
        curves: dict[str, list[list[float]]] = {}
        for name in (*headlines, "loss"):
            curves[name] = [[epoch["epoch"], epoch[name]] for epoch in self.history if name in epoch]
        metrics = {name: value for name, value in last.items() if name not in ("epoch", "loss")}
        return ProbeOutcome(metrics, curves, details)
