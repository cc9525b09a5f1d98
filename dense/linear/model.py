"""A frozen backbone with a 1 x 1 convolution on its map: scores of each class for each pixel.

Letters: N images, C classes, F channels of a map, H x W pixels, h x w places of a map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.head import Head
from twinbench.dense.places import Places
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process
from twinbench.runtime.seeds import draw_seed


class LinearSegmenter(nn.Module):
    """The whole of it. In training only the head changes."""

    def __init__(
        self, places: Places, classes: int, recipe: LinearSegmenterRecipe, seed: int, process: Process
    ) -> None:
        super().__init__()
        self.places, self.recipe, self.process, self.seed = places, recipe, process, seed
        with torch.no_grad():
            features = places(torch.zeros(1, 3, recipe.crop, recipe.crop)).shape[1]
        self.features = features
        self.head = Head(features, classes, norm=recipe.norm, init_std=recipe.head_init_std, seed=seed, process=process)

    def maps(self, images: Tensor) -> Tensor:
        """Return the map (N, F, h, w) of normalised images, at the recipe's `grid` if it has one."""
        with network_precision(self.recipe.precision, str(images.device)):
            found = self.places(images)
        if self.recipe.grid:
            side = (self.recipe.grid, self.recipe.grid)
            found = functional.interpolate(found, side, mode="bilinear", align_corners=False)
        return found

    def losses(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of normalised images (N, 3, H, W) over labelled pixels, and what to divide it by.

        `labels` (N, H, W) are UNLABELLED where there is none. The draw of dropout depends on the step and on an image's
        place in the whole batch, of which this process has every `world`-th.
        """
        scores = self.head(self.maps(images), self._kept(len(images), step, images.device))
        if self.recipe.grid:
            labels = reduced(labels, (self.recipe.grid, self.recipe.grid))
        else:
            scores = self._enlarged(scores, labels.shape[1:])
        loss = functional.cross_entropy(scores, labels, ignore_index=UNLABELLED, reduction="sum")
        if self.recipe.loss_mean == "all":
            return loss, torch.full((), float(labels.numel()), device=loss.device)
        return loss, (labels != UNLABELLED).sum().float()

    def scores(self, images: Tensor) -> Tensor:
        """Return scores (N, C, H, W) of normalised images (N, 3, H, W), or (N, C, grid, grid)."""
        scores = self.head(self.maps(images))
        return scores if self.recipe.grid else self._enlarged(scores, images.shape[2:])

    def _enlarged(self, scores: Tensor, size: torch.Size) -> Tensor:
        """Return scores (N, C, h, w) of each pixel of images of a size, without what they were padded by."""
        covered = self.places.covered(*size)
        found = functional.interpolate(scores.float(), covered, mode="bilinear", align_corners=False)
        return found[:, :, : size[0], : size[1]]

    def _kept(self, images: int, step: int, device: torch.device) -> Tensor | None:
        """Return dropout's factors of this process's images (N, F); nothing without dropout."""
        chance, process = self.recipe.dropout, self.process
        if not chance:
            return None
        generator = torch.Generator().manual_seed(draw_seed(self.seed, step))
        kept = torch.rand(self.recipe.batch_size, self.features, generator=generator) >= chance
        mine = kept[process.rank :: process.world][:images]
        return (mine / (1 - chance)).to(device)


def reduced(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return labels (N, H, W) at another size, each the label at its place's upper left corner."""
    return functional.interpolate(labels[:, None].double(), size, mode="nearest")[:, 0].long()
