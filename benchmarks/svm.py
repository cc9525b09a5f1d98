"""VOC07's 880 linear SVMs on one processor core: the batched solver against LinearSVC at VISSL's settings.

Features are synthetic, of VOC07's shape and class counts, with the spectrum and the difficulty at which LIBLINEAR takes
as long as on real ones. All of ours is timed (set-up, 880 problems, every AP). Of LinearSVC, single fits of four
classes at five costs are timed and the rest is extrapolated: linear in log C between costs, two thirds of the time for
a fold's fit. Seconds are CPU time of one process with one thread, so that a busy machine slows both alike.
`python -m benchmarks.svm 8192` does it for VISSL's 8192-d features. With --whole LinearSVC runs all of the protocol, a
quarter of an hour or more: nothing is extrapolated, and mAP, APs and chosen costs are compared as a trial reports them.
"""

import argparse
import resource
import sys
import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from twinbench.protocols.svm import VISSL_SVM
from twinbench.transfer.metrics import average_precision
from twinbench.transfer.svm import SvmResult, evaluate_svm, normalized

COUNTS = (238, 243, 330, 181, 244, 186, 713, 337, 445, 141, 200, 421, 287, 245, 2008, 245, 96, 229, 261, 256)  # VOC07
ROWS = (5011, 4952)
SAMPLED = {16: 6, 0: 8, 8: 5, 14: 1}  # class: how many classes of about its size it stands for
TIMED = (0.01, 1.0, 10.0, 100.0, 1000.0)
TARGET, MOST_AP, MOST_MAP, MOST_MB = 40.0, 0.1, 0.01, 2000
MARGIN = 0.1  # points of cross-validated AP by which a cost must be best for both solvers to choose it


def features(size: int, part: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, size) and targets (N, 20) of training and test images, one after the other.

    With `part` 4, of a fourth of the images in each.
    """
    draw, count = np.random.default_rng(0), sum(rows // part for rows in ROWS)
    y = np.zeros((count, len(COUNTS)), np.int8)
    for k, positives in enumerate(COUNTS):
        y[draw.permutation(count)[: round(positives * count / ROWS[0])], k] = 1
    spectrum = np.arange(1, size + 1, dtype=np.float32) ** -0.7
    spectrum *= np.sqrt(size / (spectrum**2).sum())
    turn = np.linalg.qr(draw.standard_normal((size, size), dtype=np.float32))[0]
    noise = (draw.standard_normal((count, size), dtype=np.float32) * spectrum) @ turn
    classes = draw.standard_normal((len(COUNTS), size), dtype=np.float32)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    strength = draw.uniform(0.2, 1.6, size=y.shape).astype(np.float32) * 0.075 * np.sqrt(size)
    return np.maximum(noise + ((y == 1) * strength) @ classes + 0.3, 0), y


def reference(x: np.ndarray, y: np.ndarray, ours: SvmResult) -> tuple[float, float]:
    """Return LinearSVC's CPU seconds for all 880 fits, and the largest |AP difference| in points where it converged."""
    rows = normalized(x, VISSL_SVM.normalize_epsilon).numpy()
    seconds, apart = 0.0, 0.0
    for k, classes in SAMPLED.items():
        spent = []
        for cost in TIMED:
            machine = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual=True, tol=1e-4, max_iter=2000, random_state=0)
            began = time.process_time()
            machine.fit(rows[: ROWS[0]], np.where(y[: ROWS[0], k] == 1, 1, -1))
            spent.append(time.process_time() - began)
            ap = 100 * average_precision(machine.decision_function(rows[ROWS[0] :]), y[ROWS[0] :, k])
            print(
                f"  class {k:2}, C = {cost:g}: {spent[-1]:5.2f} s, {machine.n_iter_} iterations, AP {ap:.3f}",
                flush=True,
            )
            if machine.n_iter_ < 2000:
                apart = max(apart, abs(ap - ours.test_ap[k, ours.costs.index(cost)]))
        each = np.interp(np.log(VISSL_SVM.costs), np.log(TIMED), spent).sum()
        seconds += classes * each * (1 + VISSL_SVM.folds * (VISSL_SVM.folds - 1) / VISSL_SVM.folds)
    return seconds, apart


def whole(arrays: Sequence[np.ndarray], ours: SvmResult) -> tuple[float, bool]:
    """Run all of LinearSVC's protocol; return its CPU seconds and whether both reported the same within the targets."""
    began = time.process_time()
    theirs = evaluate_svm(*arrays, costs=VISSL_SVM.costs, solver="liblinear")
    seconds = time.process_time() - began
    apart, mean = np.abs(theirs.ap - ours.ap).max(), abs(theirs.mean_ap - ours.mean_ap)
    best, second = np.sort(theirs.cv_ap, axis=1)[:, :-3:-1].T
    clear, other = best - second > MARGIN, theirs.cost != ours.cost
    print(f"all fits: mAP {mean:.4f} points apart (target {MOST_MAP:g}), APs at most {apart:.4f} (target {MOST_AP:g})")
    print(
        f"chosen costs: {other.sum()} of {len(other)} differ, {(other & clear).sum()} of them among the {clear.sum()} "
        f"classes whose best cost leads by more than {MARGIN:g} points (target 0)"
    )
    return seconds, bool(apart <= MOST_AP and mean <= MOST_MAP and not (other & clear).any())


def main(size: int = 2048, everything: bool = False) -> int:
    """Print the figures; return 1 if a target is missed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = features(size)
    arrays = x[: ROWS[0]], y[: ROWS[0]], x[ROWS[0] :], y[ROWS[0] :]
    began = time.process_time()
    ours = evaluate_svm(*arrays, costs=VISSL_SVM.costs)
    seconds = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{size}-d, batched: {seconds:.1f} CPU s, peak {memory:.0f} MB, mAP {ours.mean_ap:.2f}, {ours.converged=}")
    if everything:
        (theirs, close), how = whole(arrays, ours), "measured"
    else:
        (theirs, apart), how = reference(x, y, ours), "extrapolated"
        close = apart <= MOST_AP
        print(f"largest |AP difference| of the fits that LinearSVC finished: {apart:.4f} points (target {MOST_AP:g})")
    ratio = theirs / seconds
    print(f"{size}-d, LinearSVC: {theirs:.0f} CPU s ({how}): {ratio:.1f} times ours (target {TARGET:g})")
    return int(ratio < TARGET or not close or (size == 2048 and memory > MOST_MB) or not ours.converged)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", type=int, default=2048, help="number of features (default 2048)")
    parser.add_argument("--whole", action="store_true", help="run all of LinearSVC's fits")
    arguments = parser.parse_args()
    sys.exit(main(arguments.size, arguments.whole))
