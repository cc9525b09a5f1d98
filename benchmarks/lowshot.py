"""VOC07's 8,800 low-shot SVMs on one processor core: the batched solver against LinearSVC at VISSL's settings.

Features as in benchmarks.svm. All of ours is timed (set-up, 8 k x 5 samples x 20 classes x 11 costs, every AP). Of
LinearSVC, fits of two classes for each k at five costs are timed, and the rest is extrapolated linearly in log C.
Seconds are CPU time of one process with one thread.
"""

import resource
import sys
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from benchmarks.svm import ROWS, TIMED, features
from twinbench.protocols.svm import VISSL_LOW_SHOT
from twinbench.transfer.lowshot import draw_samples, evaluate_low_shot
from twinbench.transfer.svm import choose_solver, normalized

CLASSES = (0, 14)
TARGET, MOST_MB = 20.0, 2000


def reference(x: np.ndarray, drawn: dict[tuple[int, int], np.ndarray]) -> float:
    """Return LinearSVC's CPU seconds for all fits on features x (N, F)."""
    rows, seconds = normalized(x, VISSL_LOW_SHOT.normalize_epsilon).numpy(), 0.0
    for k in VISSL_LOW_SHOT.shots:
        spent = np.zeros(len(TIMED))
        for i, cost in enumerate(TIMED):
            for c in CLASSES:
                target = drawn[1, k][:, c]
                machine = LinearSVC(
                    C=cost, class_weight={1: 2, -1: 1}, dual=True, tol=1e-4, max_iter=2000, random_state=0
                )
                began = time.process_time()
                machine.fit(rows[target != -1], np.where(target[target != -1] == 1, 1, -1))
                spent[i] += time.process_time() - began
        each = np.interp(np.log(VISSL_LOW_SHOT.costs), np.log(TIMED), spent).sum() / len(CLASSES)
        seconds += each * VISSL_LOW_SHOT.samples * drawn[1, k].shape[1]
    return seconds


def main() -> int:
    """Print the figures; return 1 if a target is missed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = features(2048)
    train, test = slice(ROWS[0]), slice(ROWS[0], None)
    drawn = draw_samples(y[train], VISSL_LOW_SHOT.shots, VISSL_LOW_SHOT.samples, 0)
    solver = choose_solver("batched", VISSL_LOW_SHOT)
    began = time.process_time()
    found = evaluate_low_shot(x[train], y[train], x[test], y[test], drawn, recipe=VISSL_LOW_SHOT, solver=solver)
    seconds = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    converged = all(one.converged for one in found.values())
    print(f"low-shot, batched: {seconds:.1f} CPU s, peak {memory:.0f} MB, {converged=}", flush=True)
    theirs = reference(x[train], drawn)
    ratio = theirs / seconds
    print(f"low-shot, LinearSVC: {theirs:.0f} CPU s (extrapolated): {ratio:.1f} times ours (target {TARGET:g})")
    return int(ratio < TARGET or memory > MOST_MB or not converged)


if __name__ == "__main__":
    sys.exit(main())
