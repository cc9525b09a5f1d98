"""Images and labels as nearest patches take them: stretched to a square, or a random part of one; labels by patch."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import ColorJitter, Compose, InterpolationMode, RandomApply, functional

from twinbench.data.objects.packed import Records
from twinbench.data.pixels.pairs import nearest
from twinbench.data.pixels.split import Decode
from twinbench.dense.images import Pair, as_tensor, image_of, labels_of, random_part
from twinbench.protocols.kinds.nearest_patches import NearestPatchesRecipe, PatchesRecipe
from twinbench.runtime.draws import seeded
from twinbench.runtime.seeds import draw_seed


@dataclass(frozen=True)
class Squares:
    """How images and labels become squares of `side` pixels."""

    recipe: PatchesRecipe
    side: int

    def image(self, image: Image.Image) -> Tensor:
        """Return an image as (3, side, side) uint8."""
        how = InterpolationMode(self.recipe.interpolation)
        return as_tensor(np.asarray(functional.resize(image, [self.side, self.side], how)))  # type: ignore[arg-type]

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Return labels (H, W) as (side, side)."""
        return nearest(labels, self.side, self.side, 0.5 if self.recipe.label_point == "centre" else 0.0)

    def by_patch(self, labels: np.ndarray, grain: int) -> np.ndarray:
        """Return labels (side, side) as (patches, grain * grain), patches and pixels row by row."""
        count = self.side // grain
        parts = labels.reshape(count, grain, count, grain).transpose(0, 2, 1, 3)
        return parts.reshape(count * count, grain * grain)

    def from_patches(self, labels: np.ndarray, grain: int) -> np.ndarray:
        """Return labels (patches, grain * grain) as (side, side)."""
        count = self.side // grain
        return labels.reshape(count, count, grain, grain).transpose(0, 2, 1, 3).reshape(self.side, self.side)


@dataclass(frozen=True)
class SquareImages(Dataset[Tensor]):
    """Images (3, side, side) by their place among the records."""

    records: Records
    squares: Squares

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Tensor:
        return self.squares.image(image_of(self.records[index]))


@dataclass(frozen=True)
class BankPairs(Dataset[Pair]):
    """Training pairs by key (pass, index): a function of seed, pass and image, and of nothing else."""

    records: Records
    decode: Decode
    squares: Squares
    seed: int

    def __getitem__(self, key: tuple[int, int]) -> Pair:
        record = self.records[key[1]]
        image, labels = image_of(record), labels_of(record, self.decode)
        recipe = self.squares.recipe
        if isinstance(recipe, NearestPatchesRecipe):
            with seeded(draw_seed(self.seed, *key)):
                return augmented(image, labels, recipe, self.squares)
        return self.squares.image(image), torch.from_numpy(self.squares.labels(labels))


def augmented(image: Image.Image, labels: np.ndarray, recipe: NearestPatchesRecipe, squares: Squares) -> Pair:
    """Return a pair whose colours were changed at random, each of four or not, and then a random part of it."""
    if recipe.jitter:
        image = Compose([RandomApply([change], recipe.jitter_chance) for change in _changes(recipe.jitter)])(image)
    if not recipe.scale:
        return squares.image(image), torch.from_numpy(squares.labels(labels))
    pixels, labels = random_part(image, labels, recipe.scale, squares.side)
    return as_tensor(pixels), torch.from_numpy(labels)


def _changes(jitter: float) -> list[ColorJitter]:
    """Return the changes of brightness, contrast, saturation and hue, in this order."""
    return [ColorJitter(**{name: jitter}) for name in ("brightness", "contrast", "saturation", "hue")]  # type: ignore[arg-type]
