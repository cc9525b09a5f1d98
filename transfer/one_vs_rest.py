"""One-vs-rest linear SVMs for thousands of classes: top-1 and top-5 of the class with the highest score.

Classes are solved in blocks, so that the memory beside the features is bounded by BUDGET numbers an array, whatever
the number of classes. Of every test image only its TOP classes are kept, best first and the lower class index first
where scores are equal: so ties fall alike in blocks of any size. After each block that, and how every fit ended, stands
on disk: a run that was killed goes on behind its last whole block.
Letters: N rows, M test rows, F features, K classes, B classes in a block.
"""

import math
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from twinbench.protocols.house import replacing
from twinbench.protocols.kinds.svm import OneVsRestSvmRecipe
from twinbench.runtime.progress import JsonLog, bar
from twinbench.solver.linear_problems import Problems, Solution, Solve, Solver
from twinbench.transfer.metrics import correct_among
from twinbench.transfer.svm import SvmError, normalized

BUDGET = 1 << 25  # numbers in an array of rows x classes: 128 MB in float32
ROWS = 1 << 10  # normalised at once, in float64
FULL, ARRAYS, SQUARES, FIXED = 3, 28, 5, 1 << 27  # the batched solver's memory, measured: see memory_bound
TOP = 5
STATE = "blocks.npz"


@dataclass(frozen=True)
class OneVsRestResult:
    """What the classes' SVMs reached together, and how each fit ended; see `transfer.linear_problems.Solution`."""

    top1: float  # percent
    top5: float
    iterations: np.ndarray  # (K,)
    gradient: np.ndarray  # (K,), |gradient| at the end over |gradient| at w = 0
    not_converged: int  # fits that stopped at their iteration limit

    @property
    def converged(self) -> bool:
        """True if every fit stopped by its tolerance."""
        return self.not_converged == 0


def evaluate_one_vs_rest(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    classes: int,
    recipe: OneVsRestSvmRecipe,
    solver: Solver,
    out: Path | None = None,
    identity: str = "",
) -> OneVsRestResult:
    """Train an SVM a class on raw features (N, F) and class indices (N,), and count the test images they get right.

    In the folder `out` stand the state to go on from, if there is one of the trial that `identity` names, and a log of
    the blocks. One normalised float32 copy of the features is made and left to the solver. SvmError if a class has no
    training image, a feature is not finite, or the state is another trial's or damaged.
    """
    found = np.bincount(train_y, minlength=classes)
    if found.min() == 0:
        raise SvmError(f"class {int(found.argmin())} has 0 training images; expected at least 1: is the data whole?")
    size = _block_size(len(train_y), classes)
    identity = f"{identity}, {len(train_y)} + {len(test_y)} images, {classes} classes in blocks of {size}"
    state, log = out and out / STATE, JsonLog(out and out / "log.jsonl")
    solved = _Solved.load(state, identity) if state and state.exists() else _Solved.nothing(len(test_y))
    log.cut("classes", len(solved) + 1)
    left = range(len(solved), classes, size)
    if left:
        train = _normalized("train", train_x, recipe.normalize_epsilon)
        test = _normalized("test", test_x, recipe.normalize_epsilon)
        solve, labels = solver(train, test), torch.as_tensor(train_y)
        del train, test  # left to the solver
        with bar(range(classes), what="SVM", start=left.start, unit="class") as progress:
            for start in left:
                progress.set_description(f"SVM, block {start // size + 1} of {math.ceil(classes / size)}")
                block = torch.arange(start, min(start + size, classes))
                solved = solved.with_block(_fit(solve, labels, block, recipe))
                # Before the state: a run that goes on from the state before it cuts this line.
                log.write(classes=len(solved), not_converged=solved.not_converged)
                if state:
                    solved.save(state, identity)
                progress.update(len(block))
    return solved.result(test_y)


def memory_bound(rows: int, test_rows: int, features: int, classes: int) -> int:
    """Return the most bytes that an evaluation with the batched solver allocates on a CPU, beside the features given.

    4 (N + M) [FULL (F + 1) + ARRAYS B] + 4 SQUARES (F + 1)^2 + FIXED: copies of the features, arrays of a block, what
    finds the principal axes, and what no size changes; the number of classes plays no part. Up to
    transfer.batched.MOST_GRAM_ROWS rows, matrices of rows x rows may come on top.
    """
    block, width = _block_size(rows, classes), features + 1
    return 4 * (rows + test_rows) * (FULL * width + ARRAYS * block) + 4 * SQUARES * width**2 + FIXED


def _block_size(rows: int, classes: int) -> int:
    """Return the number of classes that are solved at once."""
    return max(1, min(classes, BUDGET // rows))


def _normalized(name: str, x: np.ndarray, epsilon: float) -> Tensor:
    """Return the rows of x (N, F) over their length plus epsilon, float32, without a float64 copy of all of them.

    SvmError, which calls the split by its `name`, if a feature is not finite.
    """
    rows = torch.empty(x.shape)
    for start in range(0, len(x), ROWS):
        some = normalized(x[start : start + ROWS], epsilon)
        if not some.isfinite().all():
            raise SvmError(f"{name}: features with NaN or infinity; expected finite numbers")
        rows[start : start + ROWS] = some
    return rows


def _fit(solve: Solve, labels: Tensor, block: Tensor, recipe: OneVsRestSvmRecipe) -> Solution:
    """Solve the classes of `block` (B,) against the rest, for rows of classes `labels` (N,)."""
    positive = labels[:, None] == block
    weights = torch.where(positive, recipe.positive_weight, 1.0)
    (solution,) = solve(Problems(torch.where(positive, 1.0, -1.0), weights), [recipe.cost])
    return solution


@dataclass(frozen=True)
class _Solved:
    """The first k classes' answers."""

    scores: np.ndarray  # (M, min(k, TOP)), the largest of each test image, falling
    classes: np.ndarray  # (M, min(k, TOP)), whose they are
    iterations: np.ndarray  # (k,)
    gradient: np.ndarray  # (k,)
    converged: np.ndarray  # (k,)

    @classmethod
    def nothing(cls, test_rows: int) -> "_Solved":
        """Return where a run begins."""
        best = np.empty((test_rows, 0), np.float32), np.empty((test_rows, 0), np.int64)
        return cls(*best, np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.bool_))

    @classmethod
    def load(cls, path: Path, identity: str) -> "_Solved":
        """Read what `save` wrote for this trial."""
        try:
            with np.load(path, allow_pickle=False) as file:
                found = str(file["identity"])
                solved = cls(**{field.name: file[field.name] for field in fields(cls)})
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise SvmError(
                f"{path}: not a whole state of one-vs-rest SVMs ({error}); remove it to begin anew"
            ) from None
        if found != identity:
            raise SvmError(f"{path}: belongs to {found}, but this is {identity}; choose another OUT or remove it")
        return solved

    def save(self, path: Path, identity: str) -> None:
        """Put the state on disk in one step."""
        with replacing(path) as beside, open(beside, "wb") as file:
            np.savez(file, identity=identity, **vars(self))

    def __len__(self) -> int:
        return len(self.iterations)

    @property
    def not_converged(self) -> int:
        return int((~self.converged).sum())

    def with_block(self, found: Solution) -> "_Solved":
        """Return the answers with those of the next classes."""
        new = found.test_scores.cpu().numpy()  # (M, B)
        count = new.shape[1]
        numbers = np.broadcast_to(np.arange(len(self), len(self) + count), new.shape)
        scores, classes = np.hstack([self.scores, new]), np.hstack([self.classes, numbers])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]  # stable: of equal scores the lower class is first
        gradient = found.gradient(torch.arange(count))
        return _Solved(
            scores=np.take_along_axis(scores, best, axis=1),
            classes=np.take_along_axis(classes, best, axis=1),
            iterations=np.concatenate([self.iterations, found.iterations.cpu().numpy()]),
            gradient=np.concatenate([self.gradient, gradient.cpu().numpy()]),
            converged=np.concatenate([self.converged, found.converged.cpu().numpy()]),
        )

    def result(self, test_y: np.ndarray) -> OneVsRestResult:
        """Count the test images whose class (M,) is the best one or among the TOP."""
        correct = correct_among(torch.as_tensor(self.classes), torch.as_tensor(test_y), (1, TOP))
        top1, top5 = (100 * count / len(test_y) for count in correct)
        return OneVsRestResult(top1, top5, self.iterations, self.gradient, self.not_converged)
