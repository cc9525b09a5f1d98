"""What each kind of recipe does in a trial, from images to the fields of its result.

A kind in `protocols/kinds` names its function here or in twelve.py (`measured_by`); each returns the fields of the
result in the main process and None in the others.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from twinbench.data.samples import DRAWN, Samples, samples_sha256
from twinbench.protocols.kinds.finetuning import TrainedRecipe
from twinbench.protocols.kinds.knn import KnnRecipe
from twinbench.protocols.kinds.svm import LowShotOneVsRestSvmRecipe, LowShotSvmRecipe, OneVsRestSvmRecipe, SvmRecipe
from twinbench.transfer.kept_heads import keep_head
from twinbench.transfer.knn import knn_accuracy
from twinbench.transfer.lowshot import LowShotResult, draw_pooled, draw_samples, evaluate_low_shot
from twinbench.transfer.lowshot_one_vs_rest import STATE as SAMPLES_STATE
from twinbench.transfer.lowshot_one_vs_rest import draw_of_each, evaluate_low_shot_one_vs_rest, rows_of
from twinbench.transfer.one_vs_rest import evaluate_one_vs_rest
from twinbench.transfer.probe import STATE, Probe
from twinbench.transfer.run import Fields, Run, spread
from twinbench.transfer.svm import SvmError, choose_solver, evaluate_svm


def measure_svm(run: Run) -> Fields | None:
    """Run a linear-SVM recipe; the details hold every class's cost and AP.

    On a partial data set, classes too small for the folds or absent from the test split are left out and named.
    """
    arrays = run.arrays()
    if arrays is None:
        return None
    train_x, train_y, test_x, test_y = arrays
    recipe: SvmRecipe = run.recipe
    enough = _classes_with_enough_images(run, recipe)
    found = evaluate_svm(
        train_x,
        train_y[:, enough],
        test_x,
        test_y[:, enough],
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
    arrays = run.arrays()
    if arrays is None:
        return None
    found = evaluate_low_shot(
        *arrays,
        samples,
        recipe=recipe,
        solver=choose_solver(run.solver, recipe, run.trial.seed, run.process.device),
    )
    return _low_shot_fields(
        found, {"solver": run.solver, "samples": run.samples_are, "samples_sha256": samples_sha256(samples)}
    )


def _low_shot_fields(found: Mapping[int, LowShotResult], details: dict[str, Any]) -> Fields:
    """Return the figures of each k as fields of a result, with more `details`."""
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
        "details": {"by_k": by_k, **details},
    }


def _drawn(run: Run, recipe: LowShotSvmRecipe) -> Samples:
    """Draw the samples from the trial's seed."""
    draw = draw_pooled if recipe.sampling == "pooled" else draw_samples
    return draw(run.train.targets, recipe.shots, recipe.samples, run.trial.seed, run.train.classes)


def measure_low_shot_one_vs_rest(run: Run) -> Fields | None:
    """Run a low-shot recipe on images of one class each: as `measure_low_shot`, on features of what was drawn."""
    recipe: LowShotOneVsRestSvmRecipe = run.recipe
    targets, classes = run.train.targets, run.train.classes
    # before the features: it may fail
    samples = draw_of_each(targets, recipe.shots, recipe.samples, run.trial.seed, classes)
    rows = rows_of(samples)
    features = run.features(rows)
    if features is None:
        return None
    run.passing.append(run.trial.out / SAMPLES_STATE)
    found = evaluate_low_shot_one_vs_rest(
        features[0],
        targets[rows],
        features[1],
        run.test.targets,
        {key: np.searchsorted(rows, places) for key, places in samples.items()},
        names=classes,
        recipe=recipe,
        solver=choose_solver(run.solver, recipe, run.trial.seed, run.process.device),
        out=run.trial.out,
        identity=f"{run.trial.description}, {run.solver} solver",
    )
    return _low_shot_fields(found, {"solver": run.solver, "samples": DRAWN, "images_drawn": len(rows)})


def measure_one_vs_rest(run: Run) -> Fields | None:
    """Run an SVM recipe on images of one class each."""
    arrays = run.arrays()
    if arrays is None:
        return None
    recipe: OneVsRestSvmRecipe = run.recipe
    found = evaluate_one_vs_rest(
        *arrays,
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
            "iterations": spread(found.iterations),
            "gradient": spread(found.gradient),
            "not_converged": found.not_converged,
        },
    }


def measure_knn(run: Run) -> Fields | None:
    """Run a nearest-neighbours recipe."""
    arrays = run.arrays()
    if arrays is None:
        return None
    recipe: KnnRecipe = run.recipe
    metrics: Mapping[str, float] = knn_accuracy(
        *arrays,
        neighbors=recipe.neighbors,
        temperature=recipe.temperature,
        classes=len(run.train.classes),
        votes=recipe.votes,
        topk=recipe.topk,
        device=run.process.device,
    )
    top = f"top{recipe.topk[0]}"
    return {"metrics": metrics, "curves": {top: [[k, metrics[f"{top}-k{k}"]] for k in recipe.neighbors]}}


def measure_probe(run: Run) -> Fields | None:
    """Run a linear probe or a fine-tuning recipe; log and head lie beside the result, until then its checkpoint."""
    recipe: TrainedRecipe = run.recipe
    run.passing.append(run.trial.out / STATE)
    probe = Probe(
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
    )
    outcome = probe.run()
    if not run.process.is_main:
        return None
    if recipe.leaves_head:
        keep_head(run.trial, run.train.classes, probe.model.trained.state_dict())
    return {"metrics": outcome.metrics, "curves": outcome.curves, "details": outcome.details}
