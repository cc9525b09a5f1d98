"""Training images that are each two images, and targets that are each two classes: mixup and CutMix by timm.

A draw says for a whole group of images (`norm_groups`, the reference's GPUs) how they are mixed, each with the one that
lies as far from the other end. It is a function of (seed, epoch, step, group), whichever process holds the group.
"""

import torch
from torch import Tensor
from torch.nn import functional

from twinbench.protocols.kinds.finetuning import TrainedRecipe
from twinbench.runtime.draws import seeded
from twinbench.runtime.process import Process
from twinbench.runtime.seeds import derived_seed
from twinbench.transfer.noise import timm_module

MIXING = 1  # what these draws are for, among a trial's


class Mixing:
    """Mixes the images of a batch within its groups, of which each process holds some as a whole."""

    def __init__(self, recipe: TrainedRecipe, classes: int, groups: int, seed: int, process: Process) -> None:
        """Take the number of `groups` of this process."""
        self.classes, self.groups, self.seed, self.process = classes, groups, seed, process
        self.smoothing = recipe.smoothing
        timm = timm_module("timm.data.mixup", f"settings mixup={recipe.mixup:g} and cutmix={recipe.cutmix:g}")
        self.mixup = timm.Mixup(
            recipe.mixup, recipe.cutmix, label_smoothing=recipe.smoothing, num_classes=classes, mode="batch"
        )

    def __call__(self, images: Tensor, targets: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Mix network inputs (N, 3, H, W) in place; return them with targets (N, K) of the classes (N,), smoothed."""
        soft = self._smoothed(targets)
        for own in range(self.groups):
            group = own * self.process.world + self.process.rank  # see NormGroups
            group_places = torch.arange(own, max(own, len(images)), self.groups, device=images.device)
            places = _with_partners(group_places)
            if len(places):
                with seeded(derived_seed(self.seed, MIXING, epoch, step, group)):
                    images[places], soft[places] = self.mixup(images[places], targets[places])
        return images, soft

    def _smoothed(self, targets: Tensor) -> Tensor:
        """Return targets (N, K) of classes (N,): what is smoothed is shared by all classes."""
        hot = functional.one_hot(targets, self.classes).float()
        return hot * (1 - self.smoothing) + self.smoothing / self.classes


def _with_partners(places: Tensor) -> Tensor:
    """Return the places of a group's images without the middle one of an odd number, which is its own partner."""
    half = len(places) // 2
    return torch.cat([places[:half], places[len(places) - half :]])
