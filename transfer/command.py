"""Measure one classification protocol on one backbone; writes OUT/result.json, resumes by itself.

example: twinbench transfer voc07-svm checkpoint.pth /datasets/VOCdevkit results/voc07-svm --method mine
"""

import argparse
from typing import TYPE_CHECKING, Any

from protocols.catalogue import find_protocol
from protocols.house import UserError
from protocols.schema import KnnRecipe, ProbeRecipe, Protocol, SvmRecipe
from report.trial import Trial, add_trial_arguments, describe, trial_protocol

if TYPE_CHECKING:
    from convert.load import Backbone
    from data.layouts import LabelledImages
    from report.result import Result
    from slurm.process import Process


class TransferError(UserError):
    """Data that does not belong to the protocol."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `twinbench transfer`."""
    add_trial_arguments(parser)
    parser.add_argument("--solver", choices=("batched", "liblinear"), default="batched", help="of the SVM protocols")


def run(arguments: argparse.Namespace) -> int:
    """Run the trial, or tell its result if it is already there."""
    protocol = trial_protocol(find_protocol(arguments.protocol, "transfer"), arguments.set)
    from convert.load import open_backbone
    from slurm.process import current_process, process_group

    process = current_process(arguments.device)
    backbone = open_backbone(arguments.backbone, protocol.width)
    method = arguments.method or backbone.source
    trial = Trial(protocol, method, arguments.seed, backbone.sha256, process.device, arguments.out)
    result = trial.finished()
    if result is None:
        with process_group(process):
            result = measure(trial, backbone, process, arguments)
    if result and process.is_main:
        values = "  ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
        print(f"{protocol.name}  {method}  seed {trial.seed}  {values}")
    return 0


def measure(trial: Trial, backbone: "Backbone", process: "Process", arguments: argparse.Namespace) -> "Result | None":
    """Read the data, run the recipe and write the result (in the main process)."""
    protocol = trial.protocol
    fraction = protocol.recipe.train_fraction if isinstance(protocol.recipe, ProbeRecipe) else "100%"
    train = _read(protocol, arguments, "train", fraction)
    test = _read(protocol, arguments, "test", "100%")
    if isinstance(protocol.recipe, SvmRecipe):
        found = _svm(trial, protocol.recipe, backbone, train, test, arguments)
    elif isinstance(protocol.recipe, KnnRecipe):
        found = _knn(trial, protocol.recipe, backbone, train, test, arguments)
    else:
        assert isinstance(protocol.recipe, ProbeRecipe), "a protocol of this room has one of three recipes"
        found = _probe(trial, protocol.recipe, backbone, train, test, process, arguments)
    if not process.is_main:
        return None
    return trial.finish(images={"train": len(train.paths), "test": len(test.paths)}, **found)


def _read(protocol: Protocol, arguments: argparse.Namespace, split: str, fraction: str) -> "LabelledImages":
    """Read one split; its class list must be the protocol's."""
    from data.layouts import read_labelled

    images = read_labelled(protocol.data, arguments.data, split, fraction)
    if len(images.classes) != protocol.classes:
        raise TransferError(
            f"{arguments.data}: {len(images.classes)} classes in the {split} split, but {protocol.name} has "
            f"{protocol.classes}; check it with: twinbench data check {protocol.data} {arguments.data}"
        )
    return images


def _features(
    recipe: SvmRecipe | KnnRecipe, trial: Trial, backbone: "Backbone", images: "LabelledImages", what: str, workers: int
) -> Any:
    """Extract the features (N, F) that an SVM or a k-NN recipe works on."""
    from transfer.features import extract

    pooling = recipe.pooling if isinstance(recipe, SvmRecipe) else "gap"
    return extract(
        backbone, images.paths, recipe.transform, pooling, device=trial.device, workers=workers, what=f"{what} features"
    )


def _svm(
    trial: Trial,
    recipe: SvmRecipe,
    backbone: "Backbone",
    train: "LabelledImages",
    test: "LabelledImages",
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Run a linear-SVM recipe; the details hold every class's cost and AP."""
    from transfer.svm import evaluate_svm

    found = evaluate_svm(
        _features(recipe, trial, backbone, train, "train", arguments.workers),
        train.targets,
        _features(recipe, trial, backbone, test, "test", arguments.workers),
        test.targets,
        costs=recipe.costs,
        folds=recipe.folds,
        solver=arguments.solver,
        positive_weight=recipe.positive_weight,
        tolerance=recipe.tolerance,
        max_iterations=recipe.max_iterations,
        normalize_epsilon=recipe.normalize_epsilon,
        ignored_in_training=recipe.ignored_in_training,
        seed=trial.seed,
        device=trial.device,
    )
    per_class = {
        "ap": found.ap,
        "cost": found.cost,
        "iterations": found.iterations,
        "relative_gradient": found.gradient,
    }
    details = {name: dict(zip(train.classes, values.tolist(), strict=True)) for name, values in per_class.items()}
    details |= {"solver": arguments.solver, "costs": list(found.costs), "cv_ap": found.cv_ap.round(4).tolist()}
    return {"metrics": {"mAP": found.mean_ap}, "converged": found.converged, "details": details}


def _knn(
    trial: Trial,
    recipe: KnnRecipe,
    backbone: "Backbone",
    train: "LabelledImages",
    test: "LabelledImages",
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Run a nearest-neighbours recipe."""
    from transfer.knn import knn_accuracy

    metrics = knn_accuracy(
        _features(recipe, trial, backbone, train, "train", arguments.workers),
        train.targets,
        _features(recipe, trial, backbone, test, "test", arguments.workers),
        test.targets,
        neighbors=recipe.neighbors,
        temperature=recipe.temperature,
        classes=len(train.classes),
        device=trial.device,
    )
    return {"metrics": metrics, "curves": {"top1": [[k, metrics[f"top1-k{k}"]] for k in recipe.neighbors]}}


def _probe(
    trial: Trial,
    recipe: ProbeRecipe,
    backbone: "Backbone",
    train: "LabelledImages",
    test: "LabelledImages",
    process: "Process",
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Run a linear probe or a fine-tuning recipe; its checkpoint and log lie beside the result."""
    from transfer.probe import Probe

    outcome = Probe(
        backbone,
        recipe,
        train,
        test,
        identity=describe(
            trial.protocol.name, trial.protocol.fingerprint, trial.method, trial.seed, trial.backbone_sha256
        ),
        out=trial.out,
        seed=trial.seed,
        process=process,
        workers=arguments.workers,
    ).run()
    return {"metrics": outcome.metrics, "curves": outcome.curves, "details": outcome.details}
