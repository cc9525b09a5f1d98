"""Training images that are held out to choose a setting, drawn as each variant of a recipe draws them."""

from typing import Protocol

import numpy as np
import torch

from twinbench.data.validation import drawn, drawn_by_class

FIFTH = 0.2  # of data that no table of held-out images knows
ROUNDING = 1e-9  # a share of a table's count is that count again


class HoldsOut(Protocol):
    """A recipe that says which training images choose a setting; LogisticRecipe tells what the fields mean."""

    @property
    def validation(self) -> str:
        """Whether an official split is asked for."""
        ...

    @property
    def held_out(self) -> float:
        """A share, or 0."""
        ...

    @property
    def draw(self) -> str:
        """Who draws."""
        ...


def held_out(
    targets: np.ndarray, recipe: HoldsOut, official: np.ndarray | None, of_table: float, seed: int
) -> np.ndarray:
    """Return which training images choose the penalty, or another setting, (N,) bool.

    They are the `official` ones where the recipe asks for these and there are any; else the recipe's share, or where it
    has none the data set's share `of_table`, or where that is 0 a fifth.
    """
    if official is not None and recipe.validation == "official":
        return official
    share = recipe.held_out or of_table or FIFTH
    if recipe.draw == "by-class" and targets.ndim == 1:
        return drawn_by_class(targets, share, torchs_order(len(targets)))
    count = int(len(targets) * share + ROUNDING)
    return drawn(len(targets), count, _order(recipe, len(targets), seed))


def _order(recipe: HoldsOut, images: int, seed: int) -> np.ndarray:
    """Return the permutation whose first images are held out, drawn as the variant's code draws it."""
    if recipe.draw == "numpy":
        order = list(range(images))
        np.random.RandomState(0).shuffle(order)
        return np.array(order)
    if recipe.draw in ("torch", "by-class"):
        return torchs_order(images)
    return np.random.default_rng(seed).permutation(images)


def torchs_order(images: int, seed: int = 0) -> np.ndarray:
    """Return the permutation that torch draws of a seed."""
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed)).numpy()
