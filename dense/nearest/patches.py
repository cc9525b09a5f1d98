"""A frozen backbone's patches of square images, one row of numbers each."""

import torch
from torch import Tensor

from twinbench.convert.inputs import Inputs
from twinbench.convert.named import ModelError
from twinbench.dense.nearest.images import Squares
from twinbench.dense.places import DenseError, Places
from twinbench.dense.trial import Run
from twinbench.protocols.kinds.nearest_patches import PatchesRecipe
from twinbench.runtime.precision import network_precision

BATCH = 16  # images that it sees at once, but for those that are looked up one by one
PROBE = 256  # side of an image that tells the stride of a network; a multiple of every one


class Patches:
    """Square images to their patches. What it gives for an image may round otherwise in another batch."""

    def __init__(self, run: Run) -> None:
        """Take a trial's backbone; DenseError where the recipe's side is shorter than one patch."""
        recipe: PatchesRecipe = run.recipe
        self.recipe, self.device = recipe, run.process.device
        places = Places(run.backbone.build(), recipe.blocks).to(self.device)
        self.places = places.to(memory_format=torch.channels_last)
        self.inputs = Inputs(run.backbone.convention, self.device)
        self.grain = self._grain()  # pixels a side of a patch
        self.across = recipe.side // self.grain  # patches a side
        if not self.across:
            raise DenseError(
                f"side={recipe.side}: less than a patch of {run.backbone.architecture}, {self.grain} px a side; "
                "expected one at least; use --set side="
            )
        self.squares = Squares(recipe, self.across * self.grain)
        self.count = self.across**2
        self.width = self(torch.zeros(1, 3, self.squares.side, self.squares.side, dtype=torch.uint8)).shape[2]

    def _grain(self) -> int:
        """Return a transformer's patches' side, or how many pixels a place of another network's last map is for."""
        if self.places.grain > 1:
            return self.places.grain
        try:
            return self._stride(PROBE)
        except ModelError:  # it takes images of one size alone, such as a Swin: the recipe's side has to be that
            return self._stride(self.recipe.side)

    def _stride(self, side: int) -> int:
        """Return how many pixels a side a place of the first map is for, seen from an image of this side."""
        return side // self.places(torch.zeros(1, 3, side, side, device=self.device)).shape[2]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the patches (N, P, F) of images (N, 3, side, side) uint8, row by row; DenseError for no numbers."""
        with network_precision(self.recipe.precision, self.device):
            found = self.places(self.inputs(images)).flatten(2).mT.contiguous()  # (N, P, F)
        if not torch.isfinite(found).all():
            raise DenseError("the backbone's features are not finite; expected numbers: is the checkpoint damaged?")
        return found
