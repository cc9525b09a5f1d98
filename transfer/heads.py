"""Many heads trained side by side on a frozen backbone, and the choice of one of them.

The loop is a probe's. It differs in what stands on the trunk (heads_model.py), in rates that change with every step,
and in its tests: one pass over the images that choose and one over the test images, after the last epoch or after each.
Heads whose scores are no numbers any more have diverged: they are told, never chosen, and the others go on.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from twinbench.convert.backbone import Backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.validation import drawn
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.runtime.distributed import average_gradients, share_buffers, summed
from twinbench.runtime.lars import LARS
from twinbench.runtime.process import Process
from twinbench.transfer.batches import EpochBatches, StreamBatches
from twinbench.transfer.features import feature_loader
from twinbench.transfer.heads_model import ManyHeads
from twinbench.transfer.metrics import correct_at
from twinbench.transfer.probe import STATE, Probe, ProbeOutcome
from twinbench.transfer.probe_checks import DivergedError, ProbeError
from twinbench.transfer.run import Fields, Run
from twinbench.transfer.schedule import warmed_cosine

HELD_OUT, TEST = "held-out", "test"  # splits, as `chosen_on` has them
Values = list[float | None]  # one a head; None: it has diverged


def chooses(images: int, recipe: HeadsRecipe, seed: int) -> np.ndarray:
    """Return which training images train nothing and choose a head, (images,) bool; DataError for all or none."""
    if recipe.chosen_on == TEST:
        return np.zeros(images, bool)
    order = np.random.default_rng(42 if recipe.draw == "numpy-42" else seed).permutation(images)
    return drawn(images, images - round((1 - recipe.held_out) * images), order[::-1])


@dataclass(frozen=True)
class Choice:
    """The head and the epoch that did best on the split that chooses."""

    head: int  # its place among the recipe's
    epoch: int  # counted from 1
    top1: float  # there, percent


def choose(history: list[dict[str, Any]], split: str, heads: list[int]) -> Choice | None:
    """Return the best of some `heads` on a split by the epochs' history, the first of equals; None: all diverged."""
    best: Choice | None = None
    for epoch in history:
        for head in heads:
            top1 = epoch[split]["top1"][head] if split in epoch else None
            if top1 is not None and (best is None or top1 > best.top1):
                best = Choice(head, epoch["epoch"], top1)
    return best


class ManyProbes(Probe):
    """One run of a HeadsRecipe, resumed from `out/checkpoint.pth` if that is there."""

    def __init__(
        self,
        backbone: Backbone,
        recipe: HeadsRecipe,
        train: LabelledImages,
        test: LabelledImages,
        *,
        identity: str,
        out: Path,
        seed: int = 0,
        process: Process | None = None,
        workers: int = 0,
    ) -> None:
        """Prepare the run; `identity` names the trial and keeps another trial's checkpoint from being resumed."""
        self.many = recipe
        held = chooses(len(train.paths), recipe, seed)
        self.splits = {TEST: test}  # that are tested
        if held.any():
            self.splits = {HELD_OUT: _part(train, held), TEST: test}
        super().__init__(
            backbone,
            cast(Any, recipe),
            _part(train, ~held),
            test,
            identity=identity,
            out=out,
            cache=out,
            seed=seed,
            process=process,
            workers=workers,
        )

    def _new_model(self, train: LabelledImages) -> ManyHeads:
        """Return the trunk with fresh heads."""
        recipe, images = self.many, len(train.paths)
        last = recipe.batch_size if recipe.epoch_steps else (images - 1) % recipe.batch_size + 1
        if recipe.head != "linear" and last == 1:
            raise ProbeError(
                f"{images} training images in batches of {recipe.batch_size}: the last batch is one image, whose "
                "features have no variance for the heads' batch norms; use another --set batch_size=N"
            )
        return ManyHeads(self.backbone.build(), len(train.classes), recipe, self.seed, self.process)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Return what trains all heads."""
        recipe, groups = self.many, self.model.parameter_groups()
        if recipe.optimizer == "adamw":
            first, second = recipe.betas
            return torch.optim.AdamW(groups, lr=0.0, betas=(first, second), eps=recipe.epsilon)
        if recipe.optimizer == "lars":
            return LARS(groups, lr=0.0, momentum=recipe.momentum)
        return torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum)

    def _new_batches(self, images: int) -> EpochBatches:
        """Return the batches of so many training images."""
        recipe = self.many
        if not recipe.epoch_steps:
            return super()._new_batches(images)
        return StreamBatches(images, recipe.batch_size, recipe.epoch_steps, self.seed, self.process)

    def _no_loss(self) -> Tensor:
        """Return what the heads' losses (H,) are added to."""
        return torch.zeros(len(self.many.heads), dtype=torch.float64, device=self.process.device)

    def _rate_factor(self, epoch: int, step: int) -> float:
        """Return what every head's rate is multiplied by in a step of an epoch."""
        steps, recipe = len(self.batches), self.many
        meets_ends = recipe.schedule == "cosine-met"
        warmup = recipe.warmup_epochs * steps
        return warmed_cosine(epoch * steps + step, recipe.epochs * steps, warmup, meets_ends=meets_ends)

    def _step(self, images: Tensor, targets: Tensor) -> Tensor:
        """Take one step on the global batch of which this process holds `images`; return its summed losses (H,)."""
        self.optimizer.zero_grad()
        targets = targets.to(self.process.device, non_blocking=True)
        logits = self.model(self.inputs(images))  # (N, H, K)
        heads = logits.shape[1]
        each = functional.cross_entropy(logits.flatten(0, 1), targets.repeat_interleave(heads), reduction="none")
        losses = each.view(-1, heads).sum(0)
        losses.sum().backward()
        losses = average_gradients(self.model, len(images), losses.detach(), self.process)
        self.optimizer.step()
        return losses

    def _mean_loss(self, epoch: int, images: int) -> float:
        """Return the mean loss of an epoch over images and over the heads that have not diverged."""
        losses = self.loss[self.loss.isfinite()] / images
        if not len(losses):
            raise DivergedError(
                f"{self.path.parent}: in epoch {epoch + 1} all {len(self.loss)} heads diverge; use lower --set rates"
            )
        return losses.mean().item()

    def _is_tested(self, epoch: int) -> bool:
        """Say whether the epoch is followed by a test."""
        return self.many.chosen_epoch == "best" or epoch + 1 == self.many.epochs

    @torch.inference_mode()
    def _evaluate(self) -> dict[str, Any]:
        """Return each head's accuracies by split, in percent, and its mean loss over the epoch's training images.

        Each process counts its own part of the images once.
        """
        self.model.eval()
        share_buffers(self.model, self.process)
        found: dict[str, Any] = {"losses": _numbers(self.loss / self.batches.images)}
        return found | {name: self._accuracies(images) for name, images in self.splits.items()}

    def _accuracies(self, images: LabelledImages) -> dict[str, Values]:
        """Return the top-1 and top-5 of all heads on a split."""
        rank, world, device = self.process.rank, self.process.world, self.process.device
        targets = torch.as_tensor(images.targets)[rank::world]
        counts = torch.zeros(3, len(self.many.heads), dtype=torch.float64)  # top-1s, top-5s, images without scores
        seen = torch.zeros(1, dtype=torch.float64)
        for batch, rows in feature_loader(images.paths[rank::world], self.many.transform, device, self.workers):
            logits = self.model(self.inputs(batch)).cpu()
            for head, scores in enumerate(logits.unbind(1)):
                counts[0, head], counts[1, head] = counts[:2, head] + torch.tensor(correct_at(scores, targets[rows]))
            counts[2] += (~logits.isfinite()).any(2).sum(0)
            seen += len(batch)
        counts, seen = summed(counts, self.process), summed(seen, self.process)
        assert seen.item() == len(images.paths), f"{seen.item()} of {len(images.paths)} images counted"
        percent = torch.where(counts[2] > 0, torch.nan, 100 * counts[:2] / seen)
        return {"top1": _numbers(percent[0]), "top5": _numbers(percent[1])}

    def _outcome(self, frozen: str) -> ProbeOutcome:
        """Choose, and gather the result from the history."""
        recipe, heads = self.many, self.many.heads
        whole = self._chosen(list(range(len(heads))), "all features")
        chosen = {"": whole}
        if len(recipe.heads_on) > 1:
            for name in recipe.heads_on:
                chosen[f"-{name}"] = self._chosen([i for i, head in enumerate(heads) if head.feature == name], name)
        metrics: dict[str, float] = {}
        for name in recipe.metrics():
            accuracy, dash, feature = name.partition("-")
            best = chosen[dash + feature]
            metrics[name] = self.history[best.epoch - 1][TEST][accuracy][best.head]
        details = {
            "chosen": self._told(whole),
            "chosen_by_feature": [self._told(best) for key, best in chosen.items() if key],
            "chosen_on": "the test images"
            if recipe.chosen_on == TEST
            else f"{len(self.splits[HELD_OUT].paths)} images held out",
            "heads": self._heads_told(whole.epoch),
            "frozen_backbone_digest": frozen,
        }
        return ProbeOutcome(metrics, self._curves(whole.epoch), details)

    def _chosen(self, heads: list[int], what: str) -> Choice:
        """Return the best of some heads; ProbeError if none of them has a score."""
        found = choose(self.history, self.many.chosen_on, heads)
        if found is None:
            raise DivergedError(
                f"{self.path.parent}: all {len(heads)} heads on {what} have diverged; use lower --set rates"
            )
        return found

    def _told(self, choice: Choice) -> dict[str, Any]:
        """Return a choice in words."""
        head = self.many.heads[choice.head]
        return {
            "feature": head.feature,
            "rate": head.rate,
            "decay": head.decay,
            "epoch": choice.epoch,
            "top1": choice.top1,
        }

    def _heads_told(self, epoch: int) -> list[dict[str, Any]]:
        """Return what each head reached in an epoch, by split."""
        found: list[dict[str, Any]] = []
        history = self.history[epoch - 1]
        for at, head in enumerate(self.many.heads):
            told = {"feature": head.feature, "rate": head.rate, "decay": head.decay, "loss": history["losses"][at]}
            for split in self.splits:
                told[split] = [history[split][accuracy][at] for accuracy in ("top1", "top5")]
            found.append(told)
        return found

    def _curves(self, epoch: int) -> dict[str, list[list[float]]]:
        """Return the loss by epochs, and of each feature the best top-1 of each rate, where the choice was made."""
        recipe = self.many
        curves = {"loss": [[each["epoch"], each["loss"]] for each in self.history]}
        values: Values = self.history[epoch - 1][recipe.chosen_on]["top1"]
        for name in recipe.heads_on:
            curve: list[list[float]] = []
            for rate in recipe.rates:
                tried = [
                    top1
                    for head, top1 in zip(recipe.heads, values, strict=True)
                    if (head.feature, head.rate) == (name, rate)
                ]
                curve += (
                    [[rate, max(top1 for top1 in tried if top1 is not None)]]
                    if any(top1 is not None for top1 in tried)
                    else []
                )
            curves[f"{name} by rate on {recipe.chosen_on} images"] = curve
        return curves


def _part(images: LabelledImages, kept: np.ndarray) -> LabelledImages:
    """Return the images of a split that are `kept`, (N,) bool."""
    if kept.all():
        return images
    places = np.flatnonzero(kept)
    return replace(images, paths=images.paths.select(places.tolist()), targets=images.targets[places])


def _numbers(values: Tensor) -> Values:
    """Return values (H,) as plain numbers; None where one is not finite."""
    return [value if np.isfinite(value) else None for value in values.tolist()]


def measure_heads(run: Run) -> Fields | None:
    """Run a recipe of many heads; its log lies beside the result, and until then its checkpoint."""
    run.passing.append(run.trial.out / STATE)
    outcome = ManyProbes(
        run.backbone,
        run.recipe,
        run.train,
        run.test,
        identity=run.trial.description,
        out=run.trial.out,
        seed=run.trial.seed,
        process=run.process,
        workers=run.workers,
    ).run()
    if not run.process.is_main:
        return None
    return {"metrics": outcome.metrics, "curves": outcome.curves, "details": outcome.details}
