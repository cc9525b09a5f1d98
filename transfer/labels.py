"""Label efficiency: a logistic regression on ever more labels, drawn again and again, on features extracted once.

Every finished draw is a line of `OUT/log.jsonl`: a run that was killed goes on behind it, with the same numbers.

The area under a curve is the mean of the accuracy over the logarithm of the number of images,

    1 / ln(n_last / n_first) * integral of accuracy d ln(n),

by trapezes between the sizes: an accuracy again, in which 1 to 2 images a class weigh as much as 10 to 20.
Letters: N rows, M test rows, F features, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.data.validation import drawn_by_class
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.labels import LabelsRecipe, Size
from twinbench.runtime.progress import JsonLog, bar, read_log
from twinbench.runtime.seeds import generator
from twinbench.solver.softmax_fit import Fit
from twinbench.transfer.label_draws import CHOOSE, drawn, equally_many, images_of
from twinbench.transfer.logistic import One, Solver, logistic_solver, require_finite, search
from twinbench.transfer.run import Fields, Run

LOG = "log.jsonl"
Scores = dict[Size, "list[Draw]"]


class LabelsError(UserError):
    """Training images that no draw can be made of, or draws of another trial."""


@dataclass(frozen=True)
class Draw:
    """What one draw reached on the test images."""

    metrics: dict[str, float]  # percent
    penalty: float  # in the recipe's own numbers
    chosen_by: int  # images; 0: none could be held out
    images: int  # drawn
    converged: bool


def measure_labels(run: Run) -> Fields | None:
    """Run every draw of every size."""
    recipe: LabelsRecipe = run.recipe
    classes = len(run.train.classes)
    require_classes(run.train.targets, classes, recipe)  # before the features
    arrays = run.arrays()
    if arrays is None:
        return None
    found = evaluate_labels(
        *arrays,
        classes=classes,
        recipe=recipe,
        metric="per-class" if run.trial.protocol.metric.startswith("per-class") else "top1",
        solver=logistic_solver(recipe, run.process.device),
        seed=run.trial.seed,
        finished=Finished(run.trial.out / LOG, run.trial.description),
    )
    by_size: dict[str, Any] = {}
    for size, draws in found.items():
        by_size[size.name] = {
            "metrics": [draw.metrics for draw in draws],
            "penalties": [draw.penalty for draw in draws],
            "images": [draw.images for draw in draws],
            "chosen_by": [draw.chosen_by for draw in draws],
        }
    return {
        "metrics": metrics_of(found, recipe),
        "curves": curves_of(found, recipe),
        "converged": all(draw.converged for draws in found.values() for draw in draws),
        "details": {"by_size": by_size, "penalty_is": recipe.penalty},
    }


def require_classes(targets: np.ndarray, classes: int, recipe: LabelsRecipe) -> None:
    """Raise LabelsError for class indices (N,) of which a class has no image, or gets none in the smallest share."""
    counts = np.bincount(targets, minlength=classes)
    if counts.min() == 0:
        raise LabelsError(f"class {int(counts.argmin())} has 0 training images; expected at least 1: all there?")
    for size in recipe.sizes:
        if size.of == "all" and recipe.share_of == "all" and images_of(size, len(targets)) < classes:
            raise LabelsError(
                f"{size.value:g} % of {len(targets)} training images are fewer than {classes} classes; expected an "
                "image of each; use --set shares=PERCENT"
            )


class Finished:
    """The draws that are done, in a log; without a path in memory alone."""

    def __init__(self, path: Path | None = None, identity: str = "") -> None:
        """Read what a run of the trial called `identity` has left; LabelsError for another trial's."""
        self.identity, self.log = identity, JsonLog(path, durable=True)
        self._found: dict[tuple[str, int], Draw] = {}
        for line in read_log(path) if path and path.exists() else ():
            if line.get("trial") != identity:
                raise LabelsError(
                    f"{path}: belongs to {line.get('trial')}, but this is {identity}; choose another OUT or remove it"
                )
            self._found[line["size"], line["draw"]] = Draw(**line["result"])

    def get(self, size: Size, number: int) -> Draw | None:
        """Return a draw that is done."""
        return self._found.get((size.name, number))

    def add(self, size: Size, number: int, draw: Draw) -> None:
        """Keep a draw."""
        self._found[size.name, number] = draw
        self.log.write(draws=len(self._found), size=size.name, draw=number, result=asdict(draw), trial=self.identity)


def evaluate_labels(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    classes: int,
    recipe: LabelsRecipe,
    metric: str,
    solver: Solver,
    seed: int,
    finished: Finished | None = None,
) -> Scores:
    """Fit each draw of each size for features (N, F) with class indices (N,); `metric` chooses the penalties."""
    require_finite(train_x, test_x)
    finished = finished or Finished()
    choosing = None
    if recipe.chosen_on == "training":
        choosing = equally_many(train_y, len(test_y), generator(seed, CHOOSE))
    task = One(classes, recipe, solver)
    heads = _Heads(train_x, train_y, test_x, test_y, task, recipe, metric, choosing)
    found: Scores = {size: [] for size in recipe.sizes}
    # Number by number, each with all sizes: so many draws done tell how long the others take.
    planned = [(size, number) for number in range(recipe.draws) for size in found if number < recipe.draws_of(size)]
    for size, number in bar(planned, what="labels", unit="draw"):
        draw = finished.get(size, number)
        if draw is None:
            draw = heads.of(drawn(train_y, size, recipe, seed, number))
            finished.add(size, number, draw)
        found[size].append(draw)
    return found


@dataclass(frozen=True)
class _Heads:
    """What fits one draw."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    task: One
    recipe: LabelsRecipe
    metric: str
    choosing: np.ndarray | None  # rows that choose every draw's penalty; None: a part of the draw itself

    def of(self, rows: np.ndarray) -> Draw:
        """Choose a penalty for the training `rows`, and measure what is fitted to them."""
        held = np.zeros(len(rows), bool)
        if self.choosing is None:
            held = drawn_by_class(self.train_y[rows], self.recipe.held_out, np.arange(len(rows)))
        choosing = rows[held] if self.choosing is None else self.choosing
        head = _Head(self, rows[~held])
        penalty = self._chosen_by(choosing, head) if len(choosing) else self.recipe.alone
        if held.any():
            del head  # with its copy of the features, which may be most of ImageNet's
            head = _Head(self, rows)
        fit = head.fit(penalty)
        metrics = self.task.metrics([fit], head.scaled(self.test_x), self.test_y)
        return Draw(metrics, penalty, len(choosing), len(rows), fit.converged)

    def _chosen_by(self, rows: np.ndarray, head: "_Head") -> float:
        """Return the penalty at which the head does best on training `rows`."""
        return search(self.recipe, partial(head.scores, self.train_x[rows], self.train_y[rows]))


class _Head:
    """Fits to some rows, one a penalty, each made once."""

    def __init__(self, heads: _Heads, rows: np.ndarray) -> None:
        x = heads.train_x[rows]
        self.heads = heads
        self.scaled = min_max(x) if heads.recipe.scaling == "min-max" else _as_they_are
        self._fits_of = heads.task.fitting(self.scaled(x), heads.train_y[rows])
        self._fits: dict[float, Fit] = {}

    def fit(self, penalty: float) -> Fit:
        """Return the fit at a penalty."""
        if penalty not in self._fits:
            ((self._fits[penalty],),) = self._fits_of([penalty])
        return self._fits[penalty]

    def scores(self, x: np.ndarray, y: np.ndarray, penalties: Sequence[float]) -> list[float]:
        """Return what fits at `penalties` reach for features (N, F) of class indices (N,)."""
        tried = self._fits_of(penalties)
        self._fits.update((penalty, fit) for penalty, (fit,) in zip(penalties, tried, strict=True))
        scaled = self.scaled(x)
        return [self.heads.task.metrics(fits, scaled, y)[self.heads.metric] for fits in tried]


def min_max(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what takes each feature of x (N, F) from 0 at its least to 1 at its largest; a constant one to 0.

    Other images' features may lie beyond.
    """
    least = x.min(0)
    width = x.max(0) - least
    return lambda features: (features - least) / np.where(width > 0, width, 1)


def _as_they_are(features: np.ndarray) -> np.ndarray:
    return features


def metrics_of(found: Scores, recipe: LabelsRecipe) -> dict[str, float]:
    """Return each size's mean over its draws, and the areas under these."""
    means: dict[str, float] = {}
    for size, draws in found.items():
        for metric in draws[0].metrics:
            means[f"{metric}-{size.name}"] = float(np.mean([draw.metrics[metric] for draw in draws]))
    for sort, sizes in recipe.sorts():
        if len(sizes) > 1:
            for metric in found[sizes[0]][0].metrics:
                points = [(labels_of(size, found[size]), means[f"{metric}-{size.name}"]) for size in sizes]
                means[f"{metric}-area-{sort}"] = area(points)
    return means


def curves_of(found: Scores, recipe: LabelsRecipe) -> dict[str, list[list[float]]]:
    """Return accuracy and deviation over draws: by images per class, and by images."""
    curves: dict[str, list[list[float]]] = {}
    for sort, sizes in recipe.sorts():
        for size in sizes:
            draws = found[size]
            for metric in draws[0].metrics:
                values = [draw.metrics[metric] for draw in draws]
                deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
                point = [labels_of(size, draws), float(np.mean(values)), deviation]
                curves.setdefault(f"{metric} by images{' per class' * (sort == 'shots')}", []).append(point)
    return curves


def labels_of(size: Size, draws: Sequence[Draw]) -> float:
    """Return where a size stands on its axis: images a class, or as many images as were drawn."""
    return size.value if size.of == "class" else float(draws[0].images)


def area(points: Sequence[tuple[float, float]]) -> float:
    """Return the mean height of a curve of (images, accuracy), rising, over the logarithm of the images."""
    places = np.log([images for images, _ in points])
    heights = np.array([height for _, height in points])
    width = places[-1] - places[0]
    return float(np.trapezoid(heights, places) / width) if width > 0 else float(heights.mean())
