"""Many heads trained side by side on a frozen backbone, and the choice of one of them.

The loop is a probe's. It differs in what stands on the trunk (heads_model.py), in rates that change with every step,
and in its tests: one pass over the images that choose and one over the test images, after the last epoch or after each.
Heads whose scores are no numbers any more have diverged: they are told, never chosen, and the others go on.
"""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from twinbench.convert.backbone import Backbone
from twinbench.data.layouts import LabelledImages
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.runtime.distributed import average_gradients, share_buffers, summed
from twinbench.runtime.lars import LARS
from twinbench.runtime.process import Process
from twinbench.transfer.batches import EpochBatches, StreamBatches
from twinbench.transfer.heads_choice import HELD_OUT, TEST, Chosen, Values, choose, chooses, numbers
from twinbench.transfer.heads_model import ManyHeads
from twinbench.transfer.kept_heads import keep_head
from twinbench.transfer.probe import STATE, Probe, ProbeOutcome
from twinbench.transfer.probe_checks import DivergedError, ProbeError
from twinbench.transfer.run import Fields, Run
from twinbench.transfer.schedule import cosine, warmed_cosine
from twinbench.transfer.tested import TestedRows


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
        cache: Path | None = None,
        seed: int = 0,
        process: Process | None = None,
        workers: int = 0,
    ) -> None:
        """Prepare the run; `identity` names the trial and keeps another trial's checkpoint from being resumed.

        What images that are tested after every epoch give comes from the folder `cache`, or is put there.
        """
        self.many = recipe
        self.tests = TestedRows(backbone, recipe, cache or out, process or Process(), workers)
        held = chooses(len(train.paths), recipe, seed)
        self.splits = {TEST: test}  # that are tested
        if held.any():
            self.splits = {HELD_OUT: train.part(held), TEST: test}
        super().__init__(
            backbone,
            cast(Any, recipe),
            train.part(~held),
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
        self._hold_back()
        self.optimizer.step()
        return losses

    def _hold_back(self) -> None:
        """Clip each head's gradient by itself, and set this step's weight decays, as far as the recipe has either."""
        recipe = self.many
        if recipe.clip:
            for head in self.model.head.heads:
                torch.nn.utils.clip_grad_norm_(head.parameters(), recipe.clip)
        if recipe.decay_left < 1:
            done = self.batches.epoch * len(self.batches) + self.step
            left = recipe.decay_left + (1 - recipe.decay_left) * cosine(done, self.steps)
            for group in self.optimizer.param_groups:
                group["weight_decay"] = group["decay"] * left

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
        found: dict[str, Any] = {"losses": numbers(self.loss / self.batches.images)}
        found |= {name: self._accuracies(images) for name, images in self.splits.items()}
        self._keep_best(found)
        return found

    def _keep_best(self, tested: dict[str, Any]) -> None:
        """Keep the head that is chosen if no later epoch's is better, as it is now."""
        epoch, heads = len(self.history) + 1, self.many.heads
        best = choose([*self.history, {"epoch": epoch} | tested], self.many.chosen_on, range(len(heads)))
        if best and best.epoch == epoch:
            state = self.model.head.heads[best.head].state_dict()
            kept = {name: values.detach().cpu().clone() for name, values in state.items()}
            self.best = {"head": vars(heads[best.head]), "state": kept}

    def _accuracies(self, images: LabelledImages) -> dict[str, Values]:
        """Return the top-1 and top-5 of all heads on a split."""
        rank, world, device = self.process.rank, self.process.world, self.process.device
        targets = torch.as_tensor(images.targets)[rank::world]
        counts = torch.zeros(4, len(self.many.heads), dtype=torch.float64, device=device)  # top-1s, top-5s, see below
        for given, rows in self.tests.rows(images.paths, self._given):
            logits = self.model.head(given)  # (B, H, K)
            best = logits.topk(min(5, logits.shape[2]), dim=2).indices
            hits = best == targets[rows].to(device)[:, None, None]
            counts[0] += hits[..., 0].sum(0)
            counts[1] += hits.sum((0, 2))
            counts[2] += (~logits.isfinite()).any(2).sum(0)  # images that a head has no scores of
            counts[3] += len(given)  # images seen
        top1, top5, scoreless, seen = summed(counts, self.process).cpu()
        assert (seen == len(images.paths)).all(), f"{seen[0].item()} of {len(images.paths)} images counted"
        percent = [100 * right.masked_fill(scoreless > 0, torch.nan) / len(images.paths) for right in (top1, top5)]
        return {"top1": numbers(percent[0]), "top5": numbers(percent[1])}

    def _given(self, images: Tensor) -> Tensor:
        """Map images as loaders give them to what the heads are fed (N, F)."""
        return self.model.through_frozen(self.inputs(images))

    def _outcome(self, frozen: str) -> ProbeOutcome:
        """Choose, and gather the result from the history."""
        found = Chosen(self.many, self.history, str(self.path.parent))
        if self.many.chosen_on == TEST:
            chosen_on = "the test images"
        else:
            chosen_on = f"{len(self.splits[HELD_OUT].paths)} images held out"
        details = found.details() | {"chosen_on": chosen_on, "frozen_backbone_digest": frozen}
        return ProbeOutcome(found.metrics(), found.curves(), details)


def measure_heads(run: Run) -> Fields | None:
    """Run a recipe of many heads; log and chosen head lie beside the result, and until then its checkpoint."""
    run.passing.append(run.trial.out / STATE)
    probes = ManyProbes(
        run.backbone,
        run.recipe,
        run.train,
        run.test,
        identity=run.trial.description,
        out=run.trial.out,
        cache=run.cache,
        seed=run.trial.seed,
        process=run.process,
        workers=run.workers,
    )
    outcome = probes.run()
    if not run.process.is_main:
        return None
    if probes.best:  # a state of before November 27, 2026, has none
        keep_head(run.trial, run.train.classes, **probes.best)
    return {"metrics": outcome.metrics, "curves": outcome.curves, "details": outcome.details}
