"""What each kind of recipe does in a trial, from images to the fields of its result.

A kind in `protocols/kinds` names its function here (`measured_by`); each returns the fields of the result in the main
process and None in the others.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.convert.backbone import Backbone
from twinbench.data.layouts import LabelledImages
from twinbench.data.samples import DRAWN, Samples, samples_sha256
from twinbench.protocols.kinds.knn import KnnRecipe
from twinbench.protocols.kinds.logistic import FewShotLogisticRecipe, LogisticRecipe
from twinbench.protocols.kinds.sgd import TrainedRecipe
from twinbench.protocols.kinds.svm import LowShotSvmRecipe, OneVsRestSvmRecipe, SvmRecipe
from twinbench.report.trial import Trial
from twinbench.runtime.distributed import meet
from twinbench.runtime.process import Process
from twinbench.transfer.cache import cached_features
from twinbench.transfer.episodes import evaluate_episodes
from twinbench.transfer.features import require_spread
from twinbench.transfer.few_shot import evaluate_few_shot
from twinbench.transfer.knn import knn_accuracy
from twinbench.transfer.logistic import evaluate_logistic, held_out, logistic_solver
from twinbench.transfer.lowshot import draw_pooled, draw_samples, evaluate_low_shot
from twinbench.transfer.one_vs_rest import evaluate_one_vs_rest
from twinbench.transfer.options import SolverName
from twinbench.transfer.probe import STATE, Probe
from twinbench.transfer.svm import SvmError, choose_solver, evaluate_svm

Fields = dict[str, Any]  # of a Result


@dataclass(frozen=True)
class Run:
    """One trial with everything it works on."""

    trial: Trial
    backbone: Backbone
    train: LabelledImages
    test: LabelledImages
    process: Process
    workers: int
    cache: Path  # the folder of features
    partial: bool = False
    solver: SolverName = "batched"  # of the SVM kinds
    samples: Samples | None = None  # low-shot: drawn by others; None: drawn from the seed
    samples_are: str = DRAWN  # where they come from, for the result
    validation: np.ndarray | None = None  # which training images an official split chooses a setting on, (N,) bool
    passing: list[Path] = field(
        default_factory=list[Path]
    )  # what only a run that goes on needs, of no use beside a result

    @property
    def recipe(self) -> Any:
        """The recipe; each function below knows its own kind."""
        return self.trial.protocol.recipe

    def features(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the features (N, F) of both splits in the main process, None in the others."""
        train = self._features_of(self.train, "train features")
        test = self._features_of(self.test, "test features")
        require_spread(train, "train features")
        require_spread(test, "test features")
        meet(self.process)  # all have found the features before any may finish and remove them
        return (train, test) if self.process.is_main else None

    def _features_of(self, images: LabelledImages, what: str) -> np.ndarray:
        return cached_features(
            self.cache,
            self.backbone,
            images.paths,
            self.recipe.features,
            process=self.process,
            workers=self.workers,
            what=what,
        )


def measure_svm(run: Run) -> Fields | None:
    """Run a linear-SVM recipe; the details hold every class's cost and AP.

    On a partial data set, classes too small for the folds or absent from the test split are left out and named.
    """
    features = run.features()
    if features is None:
        return None
    recipe: SvmRecipe = run.recipe
    enough = _classes_with_enough_images(run, recipe)
    found = evaluate_svm(
        features[0],
        run.train.targets[:, enough],
        features[1],
        run.test.targets[:, enough],
        recipe=recipe,
        solver=run.solver,
        seed=run.trial.seed,
        device=run.process.device,
    )
    names = [name for name, kept in zip(run.train.classes, enough, strict=True) if kept]
    per_class = {"ap": found.ap, "cost": found.cost, "iterations": found.iterations, "gradient": found.gradient}
    details: dict[str, Any] = {}
    for name, values in per_class.items():
        details[name] = dict(zip(names, values.tolist(), strict=True))
    details |= {"solver": run.solver, "costs": list(found.costs), "test_ap": found.test_ap.round(4).tolist()}
    if not enough.all():
        details["classes_left_out"] = sorted(set(run.train.classes) - set(names))
    if recipe.folds:
        details["cv_ap"] = found.cv_ap.round(4).tolist()
    return {"metrics": {"mAP": found.mean_ap}, "converged": found.converged, "details": details}


def _classes_with_enough_images(run: Run, recipe: SvmRecipe) -> np.ndarray:
    """Return which classes (K,) take part: all, but on partial data those that folds and test split can judge."""
    enough = np.ones(len(run.train.classes), dtype=bool)
    if run.partial:
        enough = (run.train.targets == 1).sum(0) >= max(1, recipe.folds)
        enough &= (run.test.targets == 1).any(0)
    if not enough.any():
        raise SvmError(
            f"0 of {len(enough)} classes have enough images in both splits; expected at least one with "
            f"{max(1, recipe.folds)} positive training images and one of test; add images"
        )
    return enough


def measure_low_shot(run: Run) -> Fields | None:
    """Run a low-shot recipe: mAP by k as published, and at a cost that the test set had no say in."""
    recipe: LowShotSvmRecipe = run.recipe
    samples = run.samples
    if samples is None:
        samples = _drawn(run, recipe)  # before the features: it may fail
    features = run.features()
    if features is None:
        return None
    found = evaluate_low_shot(
        features[0],
        run.train.targets,
        features[1],
        run.test.targets,
        samples,
        recipe=recipe,
        solver=choose_solver(run.solver, recipe, run.trial.seed, run.process.device),
    )
    published: dict[str, float] = {}
    heldout: dict[str, float] = {}
    curve: list[list[float]] = []
    by_k: dict[str, Any] = {}
    for k, shot in found.items():
        published[f"mAP-k{k}"] = shot.mean
        heldout[f"mAP-heldout-k{k}"] = shot.heldout_mean
        curve.append([k, shot.mean, shot.deviation])
        by_k[str(k)] = asdict(shot)
    return {
        "metrics": published | heldout,
        "curves": {"mAP by images per class": curve},
        "converged": all(shot.converged for shot in found.values()),
        "details": {
            "solver": run.solver,
            "by_k": by_k,
            "samples": run.samples_are,
            "samples_sha256": samples_sha256(samples),
        },
    }


def _drawn(run: Run, recipe: LowShotSvmRecipe) -> Samples:
    """Draw the samples from the trial's seed."""
    draw = draw_pooled if recipe.sampling == "pooled" else draw_samples
    return draw(run.train.targets, recipe.shots, recipe.samples, run.trial.seed, run.train.classes)


def measure_one_vs_rest(run: Run) -> Fields | None:
    """Run an SVM recipe on images of one class each."""
    features = run.features()
    if features is None:
        return None
    recipe: OneVsRestSvmRecipe = run.recipe
    found = evaluate_one_vs_rest(
        features[0],
        run.train.targets,
        features[1],
        run.test.targets,
        classes=len(run.train.classes),
        recipe=recipe,
        solver=choose_solver(run.solver, recipe, run.trial.seed, run.process.device),
        out=run.trial.out,
        identity=f"{run.trial.description}, {run.solver} solver",
    )
    return {
        "metrics": {"top1": found.top1, "top5": found.top5},
        "converged": found.converged,
        "details": {
            "solver": run.solver,
            "cost": recipe.cost,
            "iterations": _spread(found.iterations),
            "gradient": _spread(found.gradient),
            "not_converged": found.not_converged,
        },
    }


def measure_logistic(run: Run) -> Fields | None:
    """Run a logistic regression; the details hold each penalty that was tried, with what it reached."""
    features = run.features()
    if features is None:
        return None
    recipe: LogisticRecipe = run.recipe
    data_set = run.trial.protocol.data_set
    held = held_out(run.train.targets, recipe, run.validation, data_set.validation_share, run.trial.seed)
    found = evaluate_logistic(
        features[0],
        run.train.targets,
        features[1],
        run.test.targets,
        held,
        classes=len(run.train.classes),
        recipe=recipe,
        metric=run.trial.protocol.metric,
        solver=logistic_solver(recipe, run.process.device),
    )
    return {
        "metrics": found.metrics,
        "converged": found.converged,
        "curves": {"on images held out": sorted([penalty, value] for penalty, value in found.tried)},
        "details": {
            "penalty": found.penalty,
            "penalty_is": recipe.penalty,
            "held_out": found.held_out,
            "held_out_by": "an official split" if held is run.validation else "a draw",
            "iterations": _spread(np.array([fit.iterations for fit in found.fits])),
            "gradient": _spread(np.array([fit.gradient for fit in found.fits])),
        },
    }


def measure_few_shot(run: Run) -> Fields | None:
    """Run logistic regressions on k images a class, for each k and draw."""
    features = run.features()
    if features is None:
        return None
    recipe: FewShotLogisticRecipe = run.recipe
    found = evaluate_few_shot(
        features[0],
        run.train.targets,
        features[1],
        run.test.targets,
        classes=len(run.train.classes),
        recipe=recipe,
        metric=run.trial.protocol.metric.rpartition("-k")[0],
        solver=logistic_solver(recipe, run.process.device),
    )
    metrics: dict[str, float] = {}
    curves: dict[str, list[list[float]]] = {}
    for k, draws in found.draws.items():
        for name in draws[0].metrics:
            values = [draw.metrics[name] for draw in draws]
            metrics[f"{name}-k{k}"] = float(np.mean(values))
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            curves.setdefault(f"{name} by images per class", []).append([k, metrics[f"{name}-k{k}"], spread])
    by_k: dict[str, Any] = {}
    for k, draws in found.draws.items():
        by_k[str(k)] = {
            "metrics": [draw.metrics for draw in draws],
            "penalties": [draw.penalty for draw in draws],
            "images": [draw.images for draw in draws],
        }
    converged = all(draw.converged for draws in found.draws.values() for draw in draws)
    details = {"by_k": by_k, "held_out": found.held_out, "penalty_is": recipe.penalty}
    return {"metrics": metrics, "curves": curves, "converged": converged, "details": details}


def measure_episodes(run: Run) -> Fields | None:
    """Run few-shot episodes on the images of both splits."""
    features = run.features()
    if features is None:
        return None
    targets = np.concatenate([run.train.targets, run.test.targets])
    classes = run.train.classes
    found = evaluate_episodes(
        np.concatenate(features), targets, classes=len(classes), recipe=run.recipe, seed=run.trial.seed
    )
    return {
        "metrics": {"top1": found.top1},
        "details": {
            "deviation_over_episodes": found.deviation,
            "interval_95": found.interval,
            "classes_left_out": [classes[label] for label in found.left_out],
        },
    }


def measure_knn(run: Run) -> Fields | None:
    """Run a nearest-neighbours recipe."""
    features = run.features()
    if features is None:
        return None
    recipe: KnnRecipe = run.recipe
    metrics: Mapping[str, float] = knn_accuracy(
        features[0],
        run.train.targets,
        features[1],
        run.test.targets,
        neighbors=recipe.neighbors,
        temperature=recipe.temperature,
        classes=len(run.train.classes),
        device=run.process.device,
    )
    return {"metrics": metrics, "curves": {"top1": [[k, metrics[f"top1-k{k}"]] for k in recipe.neighbors]}}


def measure_probe(run: Run) -> Fields | None:
    """Run a linear probe or a fine-tuning recipe; its log lies beside the result, and until then its checkpoint."""
    recipe: TrainedRecipe = run.recipe
    run.passing.append(run.trial.out / STATE)
    outcome = Probe(
        run.backbone,
        recipe,
        run.train,
        run.test,
        identity=run.trial.description,
        out=run.trial.out,
        cache=run.cache,
        seed=run.trial.seed,
        process=run.process,
        workers=run.workers,
    ).run()
    if not run.process.is_main:
        return None
    return {"metrics": outcome.metrics, "curves": outcome.curves, "details": outcome.details}


def _spread(fits: np.ndarray) -> dict[str, float]:
    """Tell one number of thousands of fits (P,) by three of them."""
    least, median, most = np.quantile(fits, (0, 0.5, 1), method="lower").tolist()
    return {"least": least, "median": median, "most": most}
