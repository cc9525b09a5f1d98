"""Low-shot one-vs-rest linear SVMs on images of one class each, by VISSL's rules for Places205.

A sample has k images of every class, and each class is trained against the rest of them. Each sample is solved on
features of its own images: all training images are millions, those of all samples a hundred thousand.

The published figure of a k takes, for all samples, the one cost that is best *on the test set*. Beside it stands the
mean at the cost that is best on the images of the next sample (behind the last comes the first) that a sample has not
drawn itself. What a sample came to is on disk as soon as it is known: a run that was killed goes on behind the last.
Letters: N rows, K classes, S samples, C costs, n rows of a sample, M test rows.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from twinbench.protocols.house import replacing
from twinbench.protocols.kinds.svm import LowShotOneVsRestSvmRecipe
from twinbench.protocols.text import read_json
from twinbench.runtime.progress import bar
from twinbench.runtime.seeds import generator
from twinbench.solver.linear_problems import Problems, Solution, Solver
from twinbench.transfer.lowshot import LowShotError, LowShotResult, over_samples
from twinbench.transfer.metrics import precision_areas
from twinbench.transfer.svm import normalized, require_costs

STATE, AGAIN = "samples.json", "remove it to begin anew"


def draw_of_each(
    targets: np.ndarray, shots: Sequence[int], samples: int, seed: int, names: Sequence[str]
) -> dict[tuple[int, int], np.ndarray]:
    """Draw, for each (sample, k), the places (k K,), rising, of k images of each class among `targets` (N,).

    LowShotError, which calls a class by its name, if it has fewer images than k.
    """
    counts = np.bincount(targets, minlength=len(names))
    least, most = int(counts.argmin()), max(shots)
    if counts[least] < most:
        raise LowShotError(
            f"class {names[least]}: {counts[least]} training images, but k = {most} needs {most}; expected the complete"
            " data set; see what is missing with `twinbench data check`, or use --set shots=K1,K2,..."
        )
    by_class = np.split(np.argsort(targets, kind="stable"), np.cumsum(counts)[:-1])
    drawn: dict[tuple[int, int], np.ndarray] = {}
    for sample in range(1, samples + 1):
        for k in shots:
            draw = generator(seed, sample, k)
            drawn[sample, k] = np.sort(np.concatenate([draw.choice(rows, k, replace=False) for rows in by_class]))
    return drawn


def rows_of(drawn: Mapping[tuple[int, int], np.ndarray]) -> np.ndarray:
    """Return the places, rising, of all images that any sample has."""
    return np.unique(np.concatenate(list(drawn.values())))


@dataclass(frozen=True)
class Fitted:
    """What a sample came to at one cost."""

    test: float  # mAP, percent
    held_out: float | None  # mAP of the images that only the next sample has; None without any
    iterations: int  # the most that a class took
    gradient: float  # the largest |gradient| at the end over |gradient| at w = 0
    converged: bool  # every class


def evaluate_low_shot_one_vs_rest(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    samples: Mapping[tuple[int, int], np.ndarray],
    *,
    names: Sequence[str],
    recipe: LowShotOneVsRestSvmRecipe,
    solver: Solver,
    out: Path | None = None,
    identity: str = "",
) -> dict[int, LowShotResult]:
    """Train on every sample at every cost of the recipe and return the figures by k.

    x: (N, F) raw features; y: (N,) class indices into `names`; `samples` maps (sample, k) to places among the training
    rows. In the folder `out` stands what the trial called `identity` has come to. LowShotError if a class has no test
    image, a feature is not finite, or what stands there is another trial's.
    """
    require_costs(recipe.costs)
    _require((train_x, test_x), test_y, names)
    state = _State(out and out / STATE, identity)
    test = normalized(test_x, recipe.normalize_epsilon)
    order = sorted(samples, key=lambda key: (key[1], key[0]))
    for sample, k in bar(order, what="low-shot SVM", unit="sample"):
        if (sample, k) in state.found:
            continue
        own, following = samples[sample, k], samples.get((sample + 1, k), samples[1, k])
        held = np.setdiff1d(following, own)
        scored = torch.cat([test, normalized(train_x[held], recipe.normalize_epsilon)])
        solve = solver(normalized(train_x[own], recipe.normalize_epsilon), scored)
        problems = _against_the_rest(train_y[own], len(names), recipe.positive_weight)
        fits = solve(problems, sorted(recipe.costs))
        state.keep((sample, k), [_fitted(fit, test_y, train_y[held], recipe) for fit in fits])
    return {k: _figures(state.found, k, sorted(recipe.costs)) for k in recipe.shots}


def _require(x: Sequence[np.ndarray], test_y: np.ndarray, names: Sequence[str]) -> None:
    """Raise LowShotError for features (N, F) that are no numbers, and for a class without a test label (M,)."""
    if not all(np.isfinite(features).all() for features in x):
        raise LowShotError("features with NaN or infinity; expected finite numbers")
    if len(names) < 2:
        raise LowShotError(f"{len(names)} class; expected two or more: there is nothing to tell apart")
    counts = np.bincount(test_y, minlength=len(names))
    if counts.min() == 0:
        raise LowShotError(
            f"class {names[int(counts.argmin())]}: 0 test images; expected at least 1: is the data whole?"
        )


def _against_the_rest(labels: np.ndarray, classes: int, positive_weight: float) -> Problems:
    """Return the problems of all classes on rows of class indices (n,)."""
    positive = torch.as_tensor(labels)[:, None] == torch.arange(classes)
    return Problems(torch.where(positive, 1.0, -1.0), torch.where(positive, positive_weight, 1.0))


def _fitted(fit: Solution, test_y: np.ndarray, held_y: np.ndarray, recipe: LowShotOneVsRestSvmRecipe) -> Fitted:
    """Score the classes' fits at one cost on the test rows (M,) and on the rows behind them that are held out."""
    test, held = fit.test_scores[: len(test_y)], fit.test_scores[len(test_y) :]
    return Fitted(
        test=_mean_ap(test, test_y, recipe),
        held_out=_mean_ap(held, held_y, recipe) if len(held_y) else None,
        iterations=int(fit.iterations.max()),
        gradient=fit.gradient(torch.arange(len(fit.iterations))).max().item(),
        converged=bool(fit.converged.all()),
    )


def _mean_ap(scores: Tensor, labels: np.ndarray, recipe: LowShotOneVsRestSvmRecipe) -> float:
    """Return the mean AP in percent of scores (M, K) for class indices (M,), over the classes that are there."""
    positive = torch.as_tensor(labels)[:, None] == torch.arange(scores.shape[1])
    areas = precision_areas(scores, positive, torch.ones_like(positive), recipe.test_ap)
    return 100 * areas.nanmean().item()


def _figures(found: Mapping[tuple[int, int], Sequence[Fitted]], k: int, costs: Sequence[float]) -> LowShotResult:
    """Return the figures of one k over its samples."""
    samples = [fits for key, fits in sorted(found.items()) if key[1] == k]

    def table(values: Callable[[Fitted], float | None]) -> Tensor:  # (C, S)
        return torch.tensor(
            [[_number(values(fits[at])) for fits in samples] for at in range(len(costs))], dtype=torch.float64
        )

    def ended(cost: int) -> tuple[int, float]:
        fits = [sample[cost] for sample in samples]
        return max(fit.iterations for fit in fits), max(fit.gradient for fit in fits)

    test, held_out = table(lambda fit: fit.test), table(lambda fit: fit.held_out)
    converged = all(fit.converged for fits in samples for fit in fits)
    return over_samples(costs, test, held_out, converged, ended)


def _number(value: float | None) -> float:
    return nan if value is None else value


class _State:
    """The samples that are finished, of one trial, in memory and on disk."""

    def __init__(self, path: Path | None, identity: str) -> None:
        """Read what a run before has left at `path`; LowShotError if it is damaged or another trial's."""
        self.path, self.identity = path, identity
        self.found: dict[tuple[int, int], list[Fitted]] = {}
        if path and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            kept = read_json(path, AGAIN)
            whose = str(kept["identity"])
            for sample, k, fits in kept["samples"]:
                self.found[sample, k] = [Fitted(**fit) for fit in fits]
        except (ValueError, KeyError, TypeError) as error:
            raise LowShotError(f"{path}: not a whole state of low-shot SVMs ({error}); {AGAIN}") from None
        if whose != self.identity:
            raise LowShotError(
                f"{path}: belongs to {whose}, but this is {self.identity}; choose another OUT or remove it"
            )

    def keep(self, key: tuple[int, int], fits: list[Fitted]) -> None:
        """Add a sample, and put the state on disk in one step."""
        self.found[key] = fits
        if self.path:
            samples = [[*which, [asdict(fit) for fit in fits]] for which, fits in self.found.items()]
            with replacing(self.path) as beside:
                beside.write_text(json.dumps({"identity": self.identity, "samples": samples}))
