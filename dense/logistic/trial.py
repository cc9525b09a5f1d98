"""CAPI's logistic regression on patches: the penalty chosen on training images held out, then every test image counted.

Letters: P patches of an image, F features, S penalties, K classes.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twinbench.dense.held_out import SideBySide, require_labels, split
from twinbench.dense.logistic.fits import Fitting, memory_short
from twinbench.dense.nearest.bank import Key, Moments, pieces_of, standardized
from twinbench.dense.nearest.fill import filled
from twinbench.dense.nearest.patches import Patches
from twinbench.dense.nearest.votes import labelled
from twinbench.dense.trial import COUNTS, PICTURE, Measured, Run, segmented
from twinbench.protocols.kinds.patches_logistic import PatchesLogisticRecipe
from twinbench.runtime.confusion import scores_of, table_of
from twinbench.solver.softmax_fit import Fit

log = logging.getLogger(__name__)
CHOSEN = "the penalty"


def measure_logistic(run: Run) -> Measured | None:
    """Make the bank, choose the penalty, and count the pixels of each pair of true and predicted class."""
    recipe: PatchesLogisticRecipe = run.recipe
    data, process = run.data, run.process
    patches, classes = Patches(run), len(data.classes)
    kept, held = split(len(data.train), recipe.held_out, run.trial.seed, CHOSEN)
    require_labels(data, held, recipe.held_out, CHOSEN)
    most = -(-patches.count // recipe.every)
    if process.is_main and (short := memory_short(run, most * len(data.train), patches.width, told="at most ")):
        log.warning("%s; how many have labels shows later", short)
    first, second = (pieces_of([(0, index) for index in part], most) for part in (kept, held))
    places = {index: place for place, index in enumerate(kept + held)}
    choose = partial(taken, classes=classes, every=recipe.every, places=places)
    bank = filled(run, patches, first + second, most, choose, moments=True)
    rows = len(bank.opened(process.device))
    moments = bank.moments(len(first)) if recipe.standardize else None
    fitting = Fitting(run, bank, moments, rows, patches.width)
    tried = fitting.kept("tried", len(first), recipe.penalties)
    choosing = side_by_side(run, patches, moments, tried).tried(held)
    penalty = recipe.penalties[int(np.argmax(choosing))]
    (last,) = fitting.kept("last", bank.pieces, [penalty])
    counted = side_by_side(run, patches, moments, [last]).counted("test")
    cells = counted.cells(run.out / COUNTS, run.owner, process, run.workers)
    if not process.is_main:
        return None
    counted.draw(cells, data.classes, data.colours, run.out / PICTURE)
    curve = sorted([number, value] for number, value in zip(recipe.penalties, choosing, strict=True))
    details = {
        "penalty": penalty,
        "penalty_is": recipe.penalty,
        "chosen_on": f"{len(held)} training images",
        "patches": rows,
        "features": patches.width,
        "side": patches.squares.side,
        "iterations": last.iterations,
        "gradient": last.gradient,
        "tried": [_ended(number, fit) for number, fit in zip(recipe.penalties, tried, strict=True)],
    }
    scores = scores_of(table_of(cells, classes), data.classes)
    return segmented(run, scores, {"on images held out": curve}, details, last.converged)


def _ended(penalty: float, fit: Fit) -> dict[str, Any]:
    """Return how a regression ended."""
    return {
        "penalty": penalty,
        "iterations": fit.iterations,
        "gradient": fit.gradient,
        "converged": fit.converged,
    }


def taken(key: Key, labels: Tensor, *, classes: int, every: int, places: Mapping[int, int]) -> Tensor:
    """Return the numbers of an image's patches with labels (P, L) that train, by its place among the images."""
    numbers = labelled(labels, classes)
    return numbers[(places[key[1]] * len(labels) + numbers) % every == 0]


def side_by_side(run: Run, patches: Patches, moments: Moments | None, fits: Sequence[Fit]) -> SideBySide:
    """Return regressions as settings whose answers are counted."""
    weights = torch.from_numpy(np.stack([fit.weights for fit in fits], 1)).to(run.process.device)  # (F, S, K)
    biases = torch.from_numpy(np.stack([fit.biases for fit in fits])).to(run.process.device)  # (S, K)

    @torch.inference_mode()
    def answers(images: Sequence[Tensor]) -> Iterator[list[np.ndarray]]:
        for rows in images:  # (P, F)
            rows = rows if moments is None else standardized(rows, moments)
            scores = (rows @ weights.flatten(1)).view(len(rows), *biases.shape) + biases  # (P, S, K)
            found = scores.argmax(2).cpu().numpy()  # (P, S)
            pixels = np.broadcast_to(found.T[:, :, None], (len(fits), len(rows), patches.grain**2))
            yield [patches.squares.from_patches(labels, patches.grain) for labels in pixels]

    return SideBySide(run, patches, len(fits), biases.shape[1], answers)
