"""How a linear head is trained: its optimizer, and its rate at each step."""

import math

import torch

from twinbench.data.pixels.pairs import UNLABELLED
from twinbench.dense.linear.model import LinearSegmenter
from twinbench.dense.training import Steps
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe


def steps_of(model: LinearSegmenter) -> Steps:
    """Return how the steps of a segmenter's recipe are made."""
    recipe = model.recipe
    return Steps(
        _optimizer(recipe, model), lambda step: {"lr": rate(recipe, step)}, (recipe.crop, recipe.crop), UNLABELLED
    )


def _optimizer(recipe: LinearSegmenterRecipe, model: LinearSegmenter) -> torch.optim.Optimizer:
    """Return the optimizer of the head, all of whose tensors are decayed."""
    parameters = model.head.parameters()
    if recipe.optimizer == "adamw":
        first, second = recipe.betas
        return torch.optim.AdamW(parameters, recipe.lr, (first, second), weight_decay=recipe.weight_decay)
    return torch.optim.SGD(parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)


def rate(recipe: LinearSegmenterRecipe, step: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    if recipe.schedule == "one-cycle":
        return _one_cycle(recipe, step)
    if recipe.schedule == "poly":
        left = 1 - step / recipe.iterations
        found = recipe.lr_end + (recipe.lr - recipe.lr_end) * left**recipe.poly_power
    else:
        found = recipe.lr * 0.1 ** sum(step >= at for at in recipe.steps)
    return found * _warmed(recipe, step)


def _one_cycle(recipe: LinearSegmenterRecipe, step: int) -> float:
    """Return DINOv3's rate: half a cosine to 0, and while it warms up a line to 0 instead.

    Its schedule is first moved after the second step, so that the first two have one rate, and the cosine is one ahead.
    """
    moved = max(0, step - 1)
    if moved < recipe.warmup_iterations:
        return recipe.lr * _warmed(recipe, moved) * (1 - moved / recipe.iterations)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (moved + 1) / recipe.iterations))


def _warmed(recipe: LinearSegmenterRecipe, step: int) -> float:
    """Return what the rate is multiplied by while it warms up."""
    if step >= recipe.warmup_iterations:
        return 1.0
    return 1 - (1 - step / recipe.warmup_iterations) * (1 - recipe.warmup_ratio)
