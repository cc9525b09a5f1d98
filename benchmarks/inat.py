"""One-vs-rest SVMs of `inat18-svm` on one processor core: what a class and a row cost, and what the whole would take.

Features are synthetic: class directions in noise with the decaying spectrum of pooled features, 2048-d, as many images
of each class. Seconds are CPU time of the whole evaluation, one thread. The projection multiplies the dearest cost per
class and row by iNaturalist 2018's 8,142 classes and 437,513 rows: it is arithmetic, not a measurement.
"""

import sys
import time

import numpy as np
import torch

from protocols.catalogue import find_protocol
from protocols.schema import SvmRecipe
from transfer.one_vs_rest import evaluate_one_vs_rest
from transfer.svm import choose_solver

SIZES = ((5_000, 50), (5_000, 200), (20_000, 50), (20_000, 200), (40_000, 200))  # rows, classes
WHOLE = (437_513, 8_142)
TEST_ROWS, FEATURES = 2_000, 2048


def features(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features (rows, FEATURES) float32 and class indices (rows,)."""
    draw = np.random.default_rng(0)
    spectrum = np.arange(1, FEATURES + 1, dtype=np.float32) ** -0.7
    spectrum *= np.sqrt(FEATURES / (spectrum**2).sum())
    directions = draw.standard_normal((classes, FEATURES), dtype=np.float32)
    y = np.arange(rows) % classes
    x = draw.standard_normal((rows, FEATURES), dtype=np.float32) * spectrum + 0.15 * directions[y]
    return np.maximum(x + 0.3, 0), y


def main() -> int:
    """Print the table; return 1 if a fit did not converge. There is no target on a processor."""
    torch.set_num_threads(1)
    recipe = find_protocol("inat18-svm").recipe
    assert isinstance(recipe, SvmRecipe)
    print(f"{'rows':>8} {'classes':>8} {'CPU s':>8} {'ns per class and row':>22} {'top-1':>6}")
    costs, finished = [], True
    for rows, classes in SIZES:
        x, y = features(rows + TEST_ROWS, classes)
        began = time.process_time()
        metrics, converged = evaluate_one_vs_rest(
            x[:rows],
            y[:rows],
            x[rows:],
            y[rows:],
            classes=classes,
            cost=recipe.costs[0],
            solver=choose_solver("batched", recipe.positive_weight, recipe.tolerance, recipe.max_iterations, 0, "cpu"),
        )
        seconds = time.process_time() - began
        costs.append(seconds / rows / classes)
        finished &= converged
        print(f"{rows:8} {classes:8} {seconds:8.1f} {1e9 * costs[-1]:22.0f} {metrics['top1']:6.1f}", flush=True)
    hours = max(costs[-2:]) * WHOLE[0] * WHOLE[1] / 3600
    print(f"projected, {WHOLE[0]:,} rows and {WHOLE[1]:,} classes on this core: {hours:.0f} h")
    return int(not finished)


if __name__ == "__main__":
    sys.exit(main())
