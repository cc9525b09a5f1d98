"""A frozen backbone with a 1 x 1 convolution on its map: weights of bins of depth for each place, enlarged to pixels.

Letters: N images, B bins, H x W pixels, h x w places of a map.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from twinbench.dense.head import Head
from twinbench.dense.places import DenseError, Places
from twinbench.protocols.kinds.linear_depth import Bins, LinearDepthRecipe
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process


class LinearDepth(nn.Module):
    """The whole of it. In training only the head changes."""

    def __init__(self, places: Places, recipe: LinearDepthRecipe, seed: int, process: Process) -> None:
        """Draw a head from `seed`; DenseError where so many processes cannot share out what losses are of."""
        super().__init__()
        self.places, self.recipe, self.process, self.seed = places, recipe, process, seed
        self.groups, rest = divmod(recipe.batch_size // recipe.loss_images, process.world)  # of this process
        if rest:
            raise DenseError(
                f"{process.world} processes: a step has {recipe.batch_size // recipe.loss_images} losses of "
                f"{recipe.loss_images} images each; expected a number of processes that divides it; start fewer"
            )
        with torch.no_grad():
            self.features = places(torch.zeros(1, 3, *recipe.crop)).shape[1]
        norm = "none" if recipe.norm == "none" else "after-dropout"
        self.head = Head(
            self.features, recipe.bins, norm=norm, init_std=recipe.head_init_std, seed=seed, process=process
        )
        self.register_buffer("bins", bins(recipe.spacing, recipe.least_depth, recipe.most_depth, recipe.bins))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (N, 3, H, W) to metres (N, H, W); of places that cover padding nothing is told."""
        with network_precision(self.recipe.precision, str(images.device)):
            maps = self.places(images)
        depth = self._metres(self.head(maps))  # (N, 1, h, w)
        height, width = images.shape[2:]
        covered = self.places.covered(height, width)
        return functional.interpolate(depth, covered, mode="bilinear", align_corners=False)[:, 0, :height, :width]

    def _metres(self, outputs: Tensor) -> Tensor:
        """Map outputs (N, B, h, w) to the mean of the bins' depths (N, 1, h, w)."""
        if self.recipe.weights == "softmax":
            weights = outputs.softmax(1)
        else:
            weights = (
                outputs.sigmoid() if self.recipe.weights == "sigmoid" else outputs.relu() + self.recipe.weight_floor
            )
            weights = weights / weights.sum(1, keepdim=True)
        return torch.einsum("nbhw,b->nhw", weights, self.bins)[:, None]

    def losses(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the sum of this process's losses of normalised images (N, 3, H, W) and their depth, and how many.

        A loss is of the images at every so many places of the batch, so that it is of the same ones in any number of
        processes.
        """
        metres = self(images)
        found = [
            sigloss(metres[group :: self.groups], labels[group :: self.groups], self.recipe, step)
            for group in range(self.groups)
        ]
        kept = [loss for loss in found if loss is not None]
        total = torch.stack(kept).sum() if kept else metres.sum() * 0
        return total, torch.full((), float(len(kept)), device=images.device)


def bins(spacing: Bins, least: float, most: float, count: int) -> Tensor:
    """Return so many depths in metres, both ends among them."""
    if spacing == "linear":
        return torch.linspace(least, most, count)
    return torch.linspace(math.log(least), math.log(most), count).exp()


def sigloss(metres: Tensor, truth: Tensor, recipe: LinearDepthRecipe, step: int) -> Tensor | None:
    """Return the loss of predicted depth where the truth is known; None where that is fewer than two pixels.

    sqrt(Var[g] + mean_weight Mean[g]^2), g = log(predicted + floor) - log(true + floor); in the warm-up without Var.
    """
    known = truth > 0
    if known.sum() < 2:
        return None
    g = torch.log(metres[known] + recipe.log_floor) - torch.log(truth[known] + recipe.log_floor)
    found = recipe.mean_weight * g.mean() ** 2
    if step >= recipe.loss_warmup:
        found = found + g.var()
    return found.sqrt() if found > 0 else found  # the root has no slope at 0
