"""Linear depth from a frozen backbone to its errors: the head trained, every test image measured."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twinbench.convert.inputs import Inputs
from twinbench.data.pixels.relief import draw_reliefs
from twinbench.dense.counting import Predicted
from twinbench.dense.depth.images import TestImages, TrainPairs, depth_of
from twinbench.dense.depth.model import LinearDepth
from twinbench.dense.depth.scores import Errors, errors_of, is_tested, means_of
from twinbench.dense.places import DenseError, Places
from twinbench.dense.training import Steps, losses_of, trained
from twinbench.dense.trial import COUNTS, PICTURE, Measured, Run
from twinbench.protocols.kinds.linear_depth import LinearDepthRecipe
from twinbench.runtime.distributed import from_main

UNKNOWN = 0.0  # depth of pixels that are padded


def measure_depth(run: Run) -> Measured | None:
    """Train the head and measure the errors of every test image."""
    recipe: LinearDepthRecipe = run.recipe
    data, process = run.data, run.process
    from_main(process, lambda: require_tests(run))
    places = Places(run.backbone.build(), recipe.blocks, padding=recipe.padding).to(process.device)
    places = places.to(memory_format=torch.channels_last)
    model = LinearDepth(places, recipe, run.trial.seed, process).to(process.device)
    inputs = Inputs(run.backbone.convention, process.device)
    owner = trained(run, model, TrainPairs(data.train, data.decode, recipe, model.seed), steps_of(model), inputs)
    model.eval()
    predictor = Predictor(model, inputs)
    predicted = Predicted(
        TestImages(data.test), data.test, lambda index: depth_of(data.test[index], data.decode), predictor.predicted
    )
    found: list[Errors] = predicted.counts(
        lambda truth, metres: errors_of(truth, metres, recipe), run.out / COUNTS, owner, process, run.workers
    )
    if not process.is_main:
        return None
    shown = predicted.best_and_worst([math.nan if one is None else -one["rmse"] for one in found])
    draw_reliefs(shown, run.out / PICTURE)
    unknown = found.count(None)
    notes = [f"{unknown} test images have no pixel to test: left out"] if unknown else []
    return Measured(means_of(found), [PICTURE], {"loss": losses_of(run)}, {"features": model.features}, notes=notes)


def require_tests(run: Run) -> None:
    """Raise DenseError, before anything trains, where no test image has a pixel to test."""
    recipe: LinearDepthRecipe = run.recipe
    for record in run.data.test:
        if is_tested(depth_of(record, run.data.decode), recipe).any():
            return
    raise DenseError(
        f"no test pixel has a depth between {recipe.least_depth} and {recipe.most_depth} m; expected some within "
        "test_area; check the maps, which are in millimetres, or metres as .npy, or --set test_area= and most_depth="
    )


class Predictor:
    """A trained model on test images."""

    def __init__(self, model: LinearDepth, inputs: Inputs) -> None:
        self.model, self.inputs = model, inputs

    def predicted(self, images: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> Iterator[np.ndarray]:
        """Yield the metres (H, W) of test images (3, H, W)."""
        for image in images:
            yield self._one(image)

    @torch.inference_mode()
    def _one(self, image: Tensor) -> np.ndarray:
        """Return the metres (H, W) of one image, with the recipe's mirror image or without."""
        pixels = self.inputs(image[None])
        metres = self.model(pixels)
        if self.model.recipe.test_flip:
            metres = (metres + self.model(pixels.flip(3)).flip(2)) / 2
        return metres[0].cpu().numpy()


def steps_of(model: LinearDepth) -> Steps:
    """Return how the steps of a recipe are made."""
    recipe = model.recipe
    optimizer = torch.optim.AdamW(model.head.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    height, width = recipe.crop
    return Steps(optimizer, lambda step: settings(recipe, step), (height, width), UNKNOWN, recipe.clip)


def settings(recipe: LinearDepthRecipe, step: int) -> dict[str, Any]:
    """Return the rate and the betas of a step, counted from 0.

    While it warms up, to lr_start of the rate comes a part of half a cosine that ends at 0, and grows to all of it;
    there is no momentum. Then it is half a cosine that ends at lr_end, one step ahead.
    """
    if step < recipe.warmup_iterations:
        part = step / recipe.warmup_iterations
        rate = recipe.lr_start + part * _cosine(1.0, 0.0, step / recipe.iterations)
        return {"lr": recipe.lr * rate, "betas": (0.0, recipe.beta2)}
    rate = _cosine(1.0, recipe.lr_end, (step + 1) / recipe.iterations)
    first, last = recipe.momenta
    beta1 = _cosine(first, last, (step - recipe.warmup_iterations) / (recipe.iterations - recipe.warmup_iterations))
    return {"lr": recipe.lr * rate, "betas": (beta1, recipe.beta2)}


def _cosine(start: float, end: float, part: float) -> float:
    """Return what half a cosine from `start` to `end` has come to after a part of it."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))
