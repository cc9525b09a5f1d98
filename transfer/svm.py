"""One-vs-rest linear SVMs on frozen features by VISSL's rules: cost per class by cross-validation, envelope AP at test.

The rules (VISSL at 09270ed, svm_trainer.py, evaluate.py): rows become x / (|x| + 1e-5); per class, stratified
unshuffled folds scored by the mean of scikit-learn's step AP; the first of equal costs wins; refit on all rows; test
AP is the area under the monotone envelope. A target -1 (`difficult only`) is a negative while training and is dropped
at test. What VirTex and PCL do otherwise stands in their recipes (protocols/svm.py has the sources).
Letters: N rows, F features, K classes, C costs, P = K (folds + 1) problems.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.svm import LinearSvmRecipe, LowShotSvmRecipe, SvmRecipe
from twinbench.protocols.svm import VISSL_SVM
from twinbench.solver.batched import Batched
from twinbench.solver.liblinear import Liblinear
from twinbench.solver.linear_problems import Problems, Solution, Solver
from twinbench.transfer.metrics import Ignored, counted, precision_areas
from twinbench.transfer.options import SolverName


class SvmError(UserError):
    """Features and targets that no SVM protocol can be run on."""


@dataclass(frozen=True)
class SvmResult:
    """What the SVMs reached; classes in the order of the targets' columns."""

    mean_ap: float  # percent
    ap: np.ndarray  # (K,), percent, at the chosen costs
    cost: np.ndarray  # (K,), chosen per class
    converged: bool  # false if a final fit at a chosen cost stopped at its iteration limit
    costs: tuple[float, ...]  # those tried
    cv_ap: np.ndarray  # (K, C), percent, mean over the folds; NaN without folds
    test_ap: np.ndarray  # (K, C), percent, of the final fit at every cost
    iterations: np.ndarray  # (K,), of the final fits at the chosen costs
    gradient: np.ndarray  # (K,), their |gradient| at the end over |gradient| at w = 0


def evaluate_svm(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    costs: Sequence[float] | None = None,
    folds: int | None = None,
    recipe: SvmRecipe = VISSL_SVM,
    solver: SolverName = "batched",
    seed: int = 0,
    device: str = "cpu",
) -> SvmResult:
    """Train and test one SVM a class on raw features x (N, F) and targets y (N, K) in {1, 0, -1}, -1 = ignore.

    The rules are the `recipe`'s, with other `costs` or `folds` where they are given; what it says of images does not
    matter here. `liblinear` is the reference, one fit at a time; `batched` minimises the same objective for all
    classes, folds and costs at once, on `device`. The recipe's tolerance and iterations, and `seed`, are LIBLINEAR's.
    With 0 folds there is one cost and nothing to choose. Fold membership follows the order of the rows. SvmError if
    shapes disagree, a value is not finite, or a class has fewer training positives than folds, none at test, or no
    negatives in either.
    """
    recipe = replace(
        recipe,
        costs=recipe.costs if costs is None else tuple(costs),
        folds=recipe.folds if folds is None else folds,
    )
    require_costs(recipe.costs)
    if recipe.folds < 2 and len(recipe.costs) != 1:
        found = f"{len(recipe.costs)} costs and {recipe.folds} folds"
        raise SvmError(f"{found}: nothing to choose a cost on; give one cost, or 3 folds")
    _check(train_x, train_y, test_x, test_y, recipe)
    problems, held_out = cross_validation(train_y, recipe)
    machine = choose_solver(solver, recipe, seed, device)
    train, test = (normalized(x, recipe.normalize_epsilon) for x in (train_x, test_x))
    rising = sorted(recipe.costs)
    solutions = machine(train, test)(problems, rising)
    target = torch.as_tensor(test_y)
    counts = counted(target, recipe.ignored_at_test)
    at_test = partial(precision_areas, positive=target == 1, counted=counts, curve=recipe.test_ap)
    return _choose(solutions, rising, recipe.costs, problems, held_out, at_test)


def require_costs(costs: Sequence[float]) -> None:
    """Raise SvmError unless `costs` are different finite numbers above 0."""
    if not costs or len(set(costs)) < len(costs) or not all(0 < cost < np.inf for cost in costs):
        found = ", ".join(f"{cost:g}" for cost in costs) or "none"
        raise SvmError(f"costs {found}: expected different numbers above 0; for example --set costs=0.1,1,10")


def choose_solver(name: SolverName, recipe: LinearSvmRecipe, seed: int = 0, device: str = "cpu") -> Solver:
    """Return the solver called `name`; the batched one has its own stopping rule and draws nothing."""
    if name == "liblinear":
        return Liblinear(recipe.positive_weight, recipe.tolerance, recipe.max_iterations, seed)
    return Batched(device)


def normalized(x: np.ndarray, epsilon: float) -> Tensor:
    """Return the rows of x (N, F) over their length plus epsilon, float64."""
    rows = torch.as_tensor(np.asarray(x, dtype=np.float64))
    return rows / (rows.norm(dim=1, keepdim=True) + epsilon)


def cross_validation(targets: np.ndarray, recipe: SvmRecipe) -> tuple[Problems, Tensor]:
    """Lay out K (folds + 1) problems for targets (N, K): each class's folds, then its fit on all rows.

    Also returns which rows score which problem: boolean (N, K, folds + 1), all false in the last.
    """
    (rows, classes), folds = targets.shape, recipe.folds
    used = counted(torch.as_tensor(targets), recipe.ignored_in_training).numpy()
    held_out = np.zeros((rows, classes, folds + 1), dtype=bool)
    for k in range(classes if folds else 0):
        where = np.flatnonzero(used[:, k])
        split = StratifiedKFold(folds).split(where, targets[where, k] == 1)
        for f, (_, held) in enumerate(split):
            held_out[where[held], k, f] = True
    labels = np.where(targets == 1, 1.0, -1.0)[:, :, None].repeat(folds + 1, axis=2)  # (N, K, folds + 1)
    weights = np.where(labels > 0, recipe.positive_weight, 1.0) * (used[:, :, None] & ~held_out)
    flat = (torch.as_tensor(array.reshape(rows, -1)) for array in (labels, weights))
    return Problems(*flat), torch.as_tensor(held_out)


def _choose(
    solutions: Iterable[Solution],
    rising: Sequence[float],
    costs: tuple[float, ...],
    problems: Problems,
    held_out: Tensor,
    at_test: Callable[[Tensor], Tensor],
) -> SvmResult:
    """Score every cost, choose one a class, and gather the numbers of the chosen fits.

    `at_test` maps the test rows' scores (M, K) to APs (K,).
    """
    rows, classes, columns = held_out.shape
    positive, held = problems.labels > 0, held_out.reshape(rows, -1)
    fits = dict(zip(rising, solutions, strict=True))
    final = torch.arange(columns - 1, classes * columns, columns)  # (K,), the last column of each class: all rows

    def table(values: Callable[[Solution], Tensor]) -> np.ndarray:  # (K, C), in the order the costs were given
        return torch.stack([values(fits[cost]) for cost in costs], dim=1).cpu().numpy()

    def on_folds(found: Solution) -> Tensor:  # (K,); the last column holds nothing out
        return precision_areas(found.train_scores, positive, held, "step").view(classes, columns)[:, :-1].mean(1)

    cv = table(on_folds)
    test = table(lambda found: at_test(found.test_scores[:, final]))
    chosen = np.nan_to_num(cv).argmax(1)  # (K,), the first of equal ones
    ap = 100 * test[range(classes), chosen]
    gradient = np.empty(classes, dtype=np.float32)
    for c in set(chosen.tolist()):
        here = chosen == c
        gradient[here] = fits[costs[c]].gradient(final[torch.as_tensor(here)]).cpu().numpy()
    return SvmResult(
        mean_ap=float(ap.mean()),
        ap=ap,
        cost=np.asarray(costs)[chosen],
        converged=bool(table(lambda found: found.converged[final])[range(classes), chosen].all()),
        costs=costs,
        cv_ap=100 * cv,
        test_ap=100 * test,
        iterations=table(lambda found: found.iterations[final])[range(classes), chosen],
        gradient=gradient,
    )


def _check(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, recipe: SvmRecipe) -> None:
    """Raise SvmError where the arrays cannot belong together, or a class has nothing to tell apart."""
    for name, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise SvmError(f"{name}: features {x.shape} and targets {y.shape}; expected (N, F) and (N, K)")
        if not np.isfinite(x).all():
            raise SvmError(f"{name}: features with NaN or infinity; expected finite numbers")
        if not np.isin(y, (-1, 0, 1)).all():
            raise SvmError(f"{name}: targets other than 1, 0 and -1 (ignore); re-code them, VOC's -1 is 0 here")
    if train_x.shape[1] != test_x.shape[1] or train_y.shape[1] != test_y.shape[1]:
        raise SvmError(f"train {train_x.shape}, {train_y.shape} and test {test_x.shape}, {test_y.shape} do not match")
    least = max(1, recipe.folds)
    _require(train_y == 1, least, "training positives")
    _require(_negative(train_y, recipe.ignored_in_training), least, "training negatives")
    require_tested(test_y, recipe)


def require_tested(test_y: np.ndarray, recipe: SvmRecipe | LowShotSvmRecipe) -> None:
    """Raise SvmError unless every class has positives and negatives among the test targets (N, K)."""
    _require(test_y == 1, 1, "test positives")
    _require(_negative(test_y, recipe.ignored_at_test), 1, "test negatives")


def _negative(targets: np.ndarray, ignored: Ignored) -> np.ndarray:
    """Say which targets are negatives."""
    return targets != 1 if ignored == "negative" else targets == 0


def _require(rows: np.ndarray, least: int, what: str) -> None:
    """Raise SvmError unless every class has at least so many of `rows` (N, K)."""
    counts = rows.sum(0)
    if counts.min() < least:
        k = int(counts.argmin())
        raise SvmError(f"class {k} has {counts[k]} {what}; expected at least {least}: is the data whole?")
