"""A classifier trained by SGD on a backbone that stays frozen (linear probe) or is trained along (fine-tuning).

The rate changes once an epoch, the last epoch is the reported one, and every random draw is a function of (seed,
epoch, image): a run that was killed and started again ends with the same numbers, bit for bit on a CPU.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from convert import files
from convert.load import Backbone
from convert.resnet import ResNet50
from data.layouts import LabelledImages
from protocols.house import UserError
from protocols.schema import ProbeRecipe
from slurm.process import Process
from slurm.progress import JsonLog, bar
from transfer.cache import cached_features
from transfer.distributed import average_gradients, share_buffers, summed
from transfer.features import digest, extract, feature_loader, pooled
from transfer.metrics import correct_at
from transfer.models import build_trunk
from transfer.transforms import Inputs, TrainImages, draw_seed, train_transform

FROZEN_IMAGES = 128  # through a frozen trunk at a time: the batch of a protocol need not fit
HEAD_IMAGES = 1024  # features of test images through the head at a time


class ProbeError(UserError):
    """A probe that cannot be started or resumed as asked."""


class NotFrozenError(RuntimeError):
    """A frozen backbone changed while its probe was trained."""


@dataclass(frozen=True)
class ProbeOutcome:
    """The last epoch's accuracy, and the way there."""

    metrics: dict[str, float]  # top1 and top5, percent
    curves: dict[str, list[list[float]]]  # top1 and loss by epochs trained
    details: dict[str, Any]


class Classifier(nn.Module):
    """A backbone with a linear head; a frozen trunk stays in eval mode, running statistics included."""

    def __init__(self, trunk: ResNet50, classes: int, recipe: ProbeRecipe, seed: int) -> None:
        """Put a fresh head, drawn from `seed`, on `trunk`."""
        super().__init__()
        self.trunk, self.recipe = trunk, recipe
        with torch.no_grad():
            side = recipe.transform.crop
            shape = pooled(trunk.eval(), torch.zeros(1, 3, side, side), recipe.feature).shape  # (1, C, h, w)
        linear = nn.Linear(shape[1:].numel(), classes)
        generator = torch.Generator().manual_seed(draw_seed(seed))
        nn.init.normal_(linear.weight, std=recipe.head_init_std, generator=generator)
        nn.init.zeros_(linear.bias)
        norm = [nn.BatchNorm2d(shape[1])] if recipe.head == "batchnorm-linear" else []
        self.head = nn.Sequential(*norm, nn.Flatten(), linear)
        self.shape = shape[1:]
        trunk.requires_grad_(recipe.train_backbone)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, K); a frozen trunk sees some at a time, which changes nothing."""
        if self.recipe.train_backbone:
            return self.head(pooled(self.trunk, images, self.recipe.feature))
        with torch.no_grad():
            parts = [pooled(self.trunk, part, self.recipe.feature) for part in images.split(FROZEN_IMAGES)]
        return self.head(torch.cat(parts))

    def train(self, mode: bool = True) -> "Classifier":
        """Set training mode; on a frozen trunk it is the head's alone."""
        super().train(mode)
        self.trunk.train(mode and self.recipe.train_backbone)
        return self


def rate_factor(recipe: ProbeRecipe, epoch: int) -> float:
    """Return what every learning rate is multiplied by during `epoch`, counted from 0."""
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
    return recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)


class EpochBatches:
    """The batches of one epoch after the other: shuffled by (seed, epoch), every image once, this process's part."""

    def __init__(self, images: int, batch_size: int, seed: int, process: Process) -> None:
        """Cut `images` into global batches of `batch_size`; the last one may be smaller."""
        self.images, self.batch_size, self.seed, self.process = images, batch_size, seed, process
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(self.images / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng(draw_seed(self.seed, self.epoch)).permutation(self.images).tolist()
        for start in range(0, self.images, self.batch_size):
            batch = order[start : start + self.batch_size]
            yield [(self.epoch, index) for index in batch[self.process.rank :: self.process.world]]


class Probe:
    """One run of a ProbeRecipe, resumed from `out/checkpoint.pth` if that is there."""

    def __init__(
        self,
        backbone: Backbone,
        recipe: ProbeRecipe,
        train: LabelledImages,
        test: LabelledImages,
        *,
        identity: str,
        out: Path,
        seed: int = 0,
        process: Process | None = None,
        workers: int = 0,
        cache: Path | None = None,
    ) -> None:
        """Prepare the run; `identity` names the trial and keeps another trial's checkpoint from being resumed.

        A frozen backbone's features of the test images come from `cache` if it is given, else they are computed anew.
        """
        self.recipe, self.backbone, self.test, self.identity, self.seed = recipe, backbone, test, identity, seed
        self.process, self.workers, self.path = process or Process(), workers, out / "checkpoint.pth"
        self.cache = cache
        self.process.share(recipe.batch_size, "batch_size")
        if recipe.accumulate < 1:
            raise ProbeError(f"setting accumulate={recipe.accumulate}: expected 1 or more parts of a batch")
        model = Classifier(build_trunk(backbone), len(train.classes), recipe, seed)
        self.model = model.to(self.process.device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(_groups(model), lr=0.0, momentum=recipe.momentum, nesterov=recipe.nesterov)
        self.log = JsonLog(out / "log.jsonl" if self.process.is_main else None)
        self.batches = EpochBatches(len(train.paths), recipe.batch_size, seed, self.process)
        self.inputs = Inputs(backbone.convention, self.process.device)
        images = TrainImages(train.paths, train.targets.tolist(), train_transform(recipe.transform), seed)
        self.loader = DataLoader(
            images,
            batch_sampler=self.batches,
            collate_fn=_collated,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self.process.device.startswith("cuda"),
        )
        self.history: list[dict[str, float]] = []

    def run(self) -> ProbeOutcome:
        """Train what is left of the schedule and return the last epoch's accuracy, the best one beside it."""
        frozen = "" if self.recipe.train_backbone else digest(self.model.trunk)
        self._restore()
        steps = len(self.batches)
        done = len(self.history)
        with bar(range(self.recipe.epochs * steps), what="probe", start=done * steps, unit="step") as progress:
            for epoch in range(done, self.recipe.epochs):
                loss = self._train_epoch(epoch, progress)
                top1, top5 = self._evaluate()
                self.history.append({"epoch": epoch + 1, "loss": loss, "top1": top1, "top5": top5})
                self.log.write(**self.history[-1], rate=rate_factor(self.recipe, epoch))
                self._save()
        if frozen and digest(self.model.trunk) != frozen:
            raise NotFrozenError("the frozen backbone changed during the probe; its result would mean nothing")
        return self._outcome(frozen)

    def _train_epoch(self, epoch: int, progress: Any) -> float:
        """Train one epoch and return its mean loss."""
        self.model.train()
        self.batches.epoch = epoch
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * rate_factor(self.recipe, epoch)
        total = torch.zeros(1, dtype=torch.float64)
        for images, targets in self.loader:
            total += self._step(images, targets)
            progress.update()
        return summed(total, self.process).item() / self.batches.images

    def _step(self, images: Tensor, targets: Tensor) -> float:
        """Take one step on the global batch of which this process holds `images`; return its part's summed loss."""
        for p in self.model.parameters():
            p.grad = torch.zeros_like(p) if p.requires_grad else None
        loss = torch.zeros(())
        if len(images):  # a small last batch may leave a process without any
            parts = self.recipe.accumulate if self.recipe.train_backbone else 1  # a frozen trunk does so by itself
            for some, their_targets in zip(images.chunk(parts), targets.chunk(parts), strict=True):
                logits = self.model(self.inputs(some))
                part = functional.cross_entropy(logits, their_targets.to(self.process.device), reduction="sum")
                part.backward()
                loss = loss + part.detach().cpu()
        average_gradients(self.model, len(images), self.process)
        self.optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def _evaluate(self) -> tuple[float, float]:
        """Return top-1 and top-5 in percent; each process counts its own part of the images once."""
        self.model.eval()
        share_buffers(self.model, self.process)
        targets = torch.as_tensor(self.test.targets)[self.process.rank :: self.process.world]
        counts = torch.zeros(3, dtype=torch.float64)  # correct at 1, correct at 5, seen
        for logits, rows in self._test_logits():
            counts += torch.tensor([*correct_at(logits.cpu(), targets[rows]), len(logits)], dtype=torch.float64)
        top1, top5, seen = summed(counts, self.process).tolist()
        assert seen == len(self.test.paths), f"{seen} of {len(self.test.paths)} test images counted"
        return 100 * top1 / seen, 100 * top5 / seen

    def _test_logits(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield logits (B, K) and the places (B,) of their images among this process's."""
        mine = self.test.paths[self.process.rank :: self.process.world]
        device = self.process.device
        if self.recipe.train_backbone:
            for images, rows in feature_loader(mine, self.recipe.transform, device, self.workers):
                yield self.model(self.inputs(images)), rows
            return
        for start in range(0, len(mine), HEAD_IMAGES):
            features = torch.from_numpy(np.array(self._test_features[start : start + HEAD_IMAGES])).to(device)
            yield self.model.head(features.unflatten(1, self.model.shape)), torch.arange(start, start + len(features))

    @cached_property
    def _test_features(self) -> np.ndarray:
        """Features (N, C h w) of this process's test images from the frozen trunk."""
        what = self.recipe.transform, self.recipe.feature
        if self.cache:
            shared = {"process": self.process, "workers": self.workers, "what": "test features"}
            whole = cached_features(self.cache, self.backbone, self.test.paths, *what, **shared)
            return whole[self.process.rank :: self.process.world]
        mine = self.test.paths[self.process.rank :: self.process.world]
        device, workers = self.process.device, self.workers
        return extract(self.backbone, mine, *what, device=device, workers=workers, what="test features")

    def _save(self) -> None:
        """Write the state after an epoch; of a frozen trunk only its head."""
        if self.process.is_main:
            part = self.model if self.recipe.train_backbone else self.model.head
            state = {"model": part.state_dict(), "optimizer": self.optimizer.state_dict()}
            files.save({"identity": self.identity, "history": self.history, **state}, self.path)

    def _restore(self) -> None:
        """Go on from the checkpoint, if there is one of this very trial."""
        if not self.path.exists():
            return
        state = files.load(self.path)
        if state.get("identity") != self.identity:
            raise ProbeError(
                f"{self.path}: belongs to {state.get('identity')}, but this is {self.identity}; "
                "choose another OUT or remove it"
            )
        part = self.model if self.recipe.train_backbone else self.model.head
        part.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]
        self.log.cut("epoch", len(self.history) + 1)

    def _outcome(self, frozen: str) -> ProbeOutcome:
        """Gather the result from the history."""
        last, best = self.history[-1], max(self.history, key=lambda epoch: epoch["top1"])
        details: dict[str, Any] = {"best_epoch_on_test_split_not_reported": best}
        if frozen:
            details["frozen_backbone_digest"] = frozen
        curves = {name: [[epoch["epoch"], epoch[name]] for epoch in self.history] for name in ("top1", "loss")}
        return ProbeOutcome({"top1": last["top1"], "top5": last["top5"]}, curves, details)


def _collated(items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Stack a batch, which may be empty: (B, 3, H, W) and (B,)."""
    images = torch.stack([image for image, _ in items]) if items else torch.empty(0)
    return images, torch.tensor([target for _, target in items])


def _groups(model: Classifier) -> list[dict[str, Any]]:
    """Return the optimizer's groups; the head's batch norm has no weight decay (VISSL), its bias has (BT code)."""
    recipe = model.recipe
    norm = [p for module in model.head if isinstance(module, nn.BatchNorm2d) for p in module.parameters()]
    linear = list(model.head[-1].parameters())
    groups: list[dict[str, Any]] = [{"params": linear, "base": recipe.lr_head, "weight_decay": recipe.weight_decay}]
    if norm:
        groups.append({"params": norm, "base": recipe.lr_head, "weight_decay": 0.0})
    if recipe.train_backbone:
        trunk = list(model.trunk.parameters())
        groups.append({"params": trunk, "base": recipe.lr_backbone, "weight_decay": recipe.weight_decay})
    return groups
