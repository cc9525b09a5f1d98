"""Measure one classification protocol on one backbone; writes OUT/result.json, resumes by itself.

example: twinbench transfer voc07-svm checkpoint.pth /datasets/VOCdevkit results/voc07-svm --method mine
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.catalogue import find_protocol
from protocols.house import UserError
from protocols.schema import ProbeRecipe, Protocol
from report.trial import Trial, add_trial_arguments, trial_protocol

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
    parser.add_argument(
        "--targets", type=Path, metavar="NPZ", help="low-shot: published samples, sample{s}_k{k} arrays"
    )
    parser.add_argument("--partial", action="store_true", help="go on with an incomplete data set; the row is marked")
    cache = os.environ.get("TWINBENCH_CACHE")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        default=Path(cache) if cache else None,
        help="keep features there for every protocol that shares them (default: $TWINBENCH_CACHE, or nowhere)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the trial, or tell its result if it is already there."""
    protocol = trial_protocol(find_protocol(arguments.protocol, "transfer"), arguments.set)
    from slurm.process import current_process, process_group

    process = current_process(arguments.device)
    backbone = _backbone(arguments.backbone, protocol)
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
    from transfer.models import is_named
    from transfer.trials import Run

    protocol = trial.protocol
    fraction = protocol.recipe.train_fraction if isinstance(protocol.recipe, ProbeRecipe) else "100%"
    train = _read(protocol, arguments, "train", fraction)
    test = _read(protocol, arguments, "test", "100%")
    if not arguments.partial:
        from data.layouts import require_counts

        require_counts(arguments.data, train, test, protocol.images, protocol.classes)
    run = Run(trial, backbone, train, test, process, arguments.workers, arguments.cache, arguments.partial)
    found = run.measure(arguments.solver, arguments.targets)
    if found is None:
        return None
    if is_named(arguments.backbone):
        found["details"] = found.get("details", {}) | {"backbone": backbone.layout}
    return trial.finish(images={"train": len(train.paths), "test": len(test.paths)}, **found)


def _backbone(spec: str, protocol: Protocol) -> "Backbone":
    """Open a ResNet-50, or another library's model for a protocol that leaves it frozen."""
    from convert.load import open_backbone
    from transfer.models import is_named, open_named

    if not is_named(spec):
        return open_backbone(spec, protocol.width)
    if isinstance(protocol.recipe, ProbeRecipe) and protocol.recipe.train_backbone:
        raise TransferError(
            f"{protocol.name} on {spec}: trains its backbone, which only a ResNet-50 can be; expected a checkpoint, "
            "or a protocol on a frozen backbone"
        )
    return open_named(spec)


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
