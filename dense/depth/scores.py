"""What a predicted map of depth is worth: errors of one image, and their means over images."""

from collections.abc import Sequence

import numpy as np

from twinbench.dense.depth.images import area_of
from twinbench.protocols.kinds.linear_depth import LinearDepthRecipe

NEAR = 1.25  # d1: the share of pixels whose depth is within this factor (Eigen et al., arXiv:1406.2283, section 4.1)

Errors = dict[str, float] | None  # of an image by metric; None of one without a pixel to test


def errors_of(truth: np.ndarray, predicted: np.ndarray, recipe: LinearDepthRecipe) -> Errors:
    """Return the errors of a predicted map (H, W) in metres, over the area's pixels whose depth is within the range."""
    tested = is_tested(truth, recipe)
    if not tested.any():
        return None
    true = truth[tested].astype(np.float64)
    found = predicted[tested].astype(np.float64).clip(recipe.least_depth, recipe.most_depth)
    gap = found - true
    return {
        "log10": float(np.abs(np.log10(found) - np.log10(true)).mean()),
        "sq_rel": float((gap**2 / true).mean()),
        "abs_rel": float((np.abs(gap) / true).mean()),
        "d1": 100.0 * float((np.maximum(found / true, true / found) < NEAR).mean()),
        "rmse": float(np.sqrt((gap**2).mean())),
    }


def is_tested(truth: np.ndarray, recipe: LinearDepthRecipe) -> np.ndarray:
    """Say which pixels (H, W) are tested: those of the area whose depth is within the range."""
    tested = np.zeros(truth.shape, bool)
    tested[area_of(recipe.test_area, truth.shape)] = True
    return tested & (truth > recipe.least_depth) & (truth < recipe.most_depth)


def means_of(errors: Sequence[Errors]) -> dict[str, float]:
    """Return the mean over images of each error; images without a pixel to test count nowhere."""
    known = [found for found in errors if found is not None]
    return {name: float(np.mean([found[name] for found in known])) for name in known[0]}
