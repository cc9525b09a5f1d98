"""What the recipes of protocols/linear12.py do in a trial: logistic regression, and few images a class."""

from typing import Any

import numpy as np

from twinbench.protocols.kinds.logistic import FewShotLogisticRecipe, LogisticRecipe, SizedLogisticRecipe
from twinbench.transfer.episodes import evaluate_episodes, usable_classes
from twinbench.transfer.few_shot import evaluate_few_shot
from twinbench.transfer.held_out import held_out
from twinbench.transfer.logistic import evaluate_logistic, logistic_solver
from twinbench.transfer.run import Fields, Run, spread
from twinbench.transfer.sized import draw_sizes, evaluate_sized, rows_of


def measure_logistic(run: Run) -> Fields | None:
    """Run a logistic regression; the details hold each penalty that was tried, with what it reached."""
    recipe: LogisticRecipe = run.recipe
    data_set = run.trial.protocol.data_set
    # before the features: it may fail
    held = held_out(run.train.targets, recipe, run.validation, data_set.validation_share, run.trial.seed)
    arrays = run.arrays()
    if arrays is None:
        return None
    found = evaluate_logistic(
        *arrays,
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
            "iterations": spread(np.array([fit.iterations for fit in found.fits])),
            "gradient": spread(np.array([fit.gradient for fit in found.fits])),
        },
    }


def measure_few_shot(run: Run) -> Fields | None:
    """Run logistic regressions on k images a class, for each k and draw."""
    arrays = run.arrays()
    if arrays is None:
        return None
    recipe: FewShotLogisticRecipe = run.recipe
    found = evaluate_few_shot(
        *arrays,
        classes=len(run.train.classes),
        recipe=recipe,
        metric=run.trial.protocol.metric.rpartition("-k")[0],
        solver=logistic_solver(recipe, run.process.device),
    )
    metrics: dict[str, float] = {}
    curves: dict[str, list[list[float]]] = {}
    by_k: dict[str, Any] = {}
    for k, draws in found.draws.items():
        for name in draws[0].metrics:
            values = [draw.metrics[name] for draw in draws]
            metrics[f"{name}-k{k}"] = float(np.mean(values))
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            curves.setdefault(f"{name} by images per class", []).append([k, metrics[f"{name}-k{k}"], deviation])
        by_k[str(k)] = {
            "metrics": [draw.metrics for draw in draws],
            "penalties": [draw.penalty for draw in draws],
            "images": [draw.images for draw in draws],
        }
    converged = all(draw.converged for draws in found.draws.values() for draw in draws)
    details = {"by_k": by_k, "held_out": found.held_out, "penalty_is": recipe.penalty}
    return {"metrics": metrics, "curves": curves, "converged": converged, "details": details}


def measure_sized(run: Run) -> Fields | None:
    """Run logistic regressions on draws of so many images, on features of what was drawn."""
    recipe: SizedLogisticRecipe = run.recipe
    targets = run.train.targets
    # before the features: it may fail
    drawn = draw_sizes(len(targets), run.validation, recipe, run.trial.seed)
    rows = rows_of(drawn)
    features = run.features(rows)
    if features is None:
        return None
    found = evaluate_sized(
        features[0],
        targets[rows],
        features[1],
        run.test.targets,
        [draw.among(rows) for draw in drawn],
        classes=len(run.train.classes),
        recipe=recipe,
        metric=run.trial.protocol.metric,
        solver=logistic_solver(recipe, run.process.device),
    )
    values = {name: np.array([draw.metrics[name] for draw in found]) for name in recipe.metrics()}
    return {
        "metrics": {name: float(each.mean()) for name, each in values.items()},
        "converged": all(draw.converged for draw in found),
        "details": {
            "draws": [draw.metrics for draw in found],
            "deviation_over_draws": {name: float(each.std(ddof=len(each) > 1)) for name, each in values.items()},
            "penalties": [draw.penalty for draw in found],
            "penalty_is": recipe.penalty,
            "classes_drawn": [draw.classes for draw in found],
            "images_drawn": len(rows),
            "validation_by": "a draw" if run.validation is None else "a draw of an official split",
        },
    }


def measure_episodes(run: Run) -> Fields | None:
    """Run few-shot episodes on the images of both splits."""
    classes, targets = run.train.classes, np.concatenate([run.train.targets, run.test.targets])
    usable_classes(targets, len(classes), run.recipe)  # before the features: it may fail
    features = run.features()
    if features is None:
        return None
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
