"""Measure one classification protocol on one backbone; writes OUT/result.json, resumes by itself.

Examples:
    twinbench transfer voc07-svm checkpoint.pth /datasets/VOCdevkit results/voc07-svm --method mine
    twinbench transfer imagenet-1pct checkpoint.pth /datasets/imagenet results/1pct --list lists/1percent.txt
    twinbench transfer voc07-svm-lowshot checkpoint.pth /datasets/VOCdevkit results/low --targets low_shot_train
"""

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import UserError
from twinbench.protocols.schema import ProbeRecipe, Protocol
from twinbench.report.trial import Trial, add_trial_arguments, trial_protocol

if TYPE_CHECKING:
    from twinbench.convert.load import Backbone
    from twinbench.data.layouts import LabelledImages
    from twinbench.report.result import Result
    from twinbench.runtime.process import Process

FEATURES = "features"  # the folder below OUT that a trial without --cache keeps its features in until it ends


class TransferError(UserError):
    """Data that does not belong to the protocol."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `twinbench transfer`."""
    add_trial_arguments(parser)
    parser.add_argument("--solver", choices=("batched", "liblinear"), default="batched", help="of the SVM protocols")
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="imagenet-1pct, imagenet-10pct: SimCLR's list of their training images (default: the one in DATA; "
        "`twinbench data lists FOLDER` fetches both)",
    )
    parser.add_argument(
        "--targets",
        type=Path,
        metavar="PATH",
        help="low-shot: samples drawn by others, a folder of *_sample{s}_k{k}.npy files or an .npz with sample{s}_k{k} "
        "arrays, as published for VOC07 (default: draw them from the seed)",
    )
    parser.add_argument(
        "--partial", action="store_true", help="go on with incomplete data or another list; the row is marked"
    )
    cache = os.environ.get("TWINBENCH_CACHE")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        default=Path(cache) if cache else None,
        help="keep features there for every protocol that shares them (default: $TWINBENCH_CACHE; else they are in "
        "OUT/features until the result is written)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the trial, or tell its result if it is already there."""
    protocol = trial_protocol(find_protocol(arguments.protocol, "transfer"), arguments.set)
    from twinbench.runtime.process import current_process, loader_workers, process_group

    process = current_process(arguments.device)
    arguments.workers = loader_workers(process, arguments.workers)
    backbone = _backbone(arguments.backbone, protocol)
    method = arguments.method or backbone.source
    trial = Trial(protocol, method, arguments.seed, backbone.sha256, process.device, arguments.out)
    result = trial.finished()
    if result:
        _require_same_inputs(result, protocol, arguments)
    else:
        with process_group(process):
            result = measure(trial, backbone, process, arguments)
    if result and process.is_main:
        if not arguments.cache:  # also of a trial that was killed between its result and here
            shutil.rmtree(arguments.out / FEATURES, ignore_errors=True)
        values = "  ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
        print(f"{protocol.name}  {method}  seed {trial.seed}  {values}")
    return 0


def measure(trial: Trial, backbone: "Backbone", process: "Process", arguments: argparse.Namespace) -> "Result | None":
    """Read the data, run the recipe and write the result (in the main process)."""
    from twinbench.runtime.precision import network_precision
    from twinbench.transfer.models import NamedBackbone
    from twinbench.transfer.trials import Run

    protocol = trial.protocol
    fraction = _fraction(protocol)
    if arguments.list and fraction == "100%":
        raise TransferError(f"--list {arguments.list}: {protocol.name} trains on every image; leave it out")
    train = _read(protocol, arguments, "train", fraction)
    test = _read(protocol, arguments, "test", "100%")
    listed = _listed(protocol, arguments, fraction) if fraction != "100%" else {}
    if not arguments.partial:
        from twinbench.data.layouts import require_counts

        require_counts(arguments.data, train, test, protocol.images, protocol.classes)
    cache = arguments.cache or arguments.out / FEATURES
    shared = arguments.workers, cache, arguments.partial, listed.get("list_sha256", "")
    run = Run(trial, backbone, train, test, process, *shared)
    with network_precision("fp32", process.device):  # solvers and neighbours; a network may set its own
        found = run.measure(arguments.solver, arguments.targets)
    if found is None:
        return None
    found["details"] = found.get("details", {}) | listed
    if isinstance(backbone, NamedBackbone):
        found["details"] = found.get("details", {}) | {"backbone": backbone.layout, "source": backbone.identity}
    return trial.finish(images={"train": len(train.paths), "test": len(test.paths)}, **found)


def _backbone(spec: str, protocol: Protocol) -> "Backbone":
    """Open a ResNet-50, or another library's model for a protocol that leaves it frozen."""
    from twinbench.convert.load import open_backbone
    from twinbench.convert.named import named_model, why_resnet_only
    from twinbench.transfer.models import open_named

    named = named_model(spec)
    if not named:
        return open_backbone(spec, protocol.width)
    if why := why_resnet_only(protocol):
        raise TransferError(
            f"{protocol.name} on {spec}: {why}; expected a checkpoint of one, or a protocol on a frozen backbone's "
            "pooled features, such as voc07-svm-gap"
        )
    return open_named(named)


def _read(protocol: Protocol, arguments: argparse.Namespace, split: str, fraction: str) -> "LabelledImages":
    """Read one split; its class list must be the protocol's."""
    from twinbench.data.layouts import read_labelled

    images = read_labelled(protocol.data, arguments.data, split, fraction, arguments.list)
    if len(images.classes) != protocol.classes:
        raise TransferError(
            f"{arguments.data}: {len(images.classes)} classes in the {split} split, but {protocol.name} has "
            f"{protocol.classes}; check it with: twinbench data check {protocol.data} {arguments.data}"
        )
    return images


def _fraction(protocol: Protocol) -> str:
    """Return how much of the training images a protocol takes; less than 100% has a list."""
    return protocol.recipe.train_fraction if isinstance(protocol.recipe, ProbeRecipe) else "100%"


def _listed(protocol: Protocol, arguments: argparse.Namespace, fraction: str) -> dict[str, Any]:
    """Return what the result says of its list of training images; on ImageNet's classes it must be SimCLR's."""
    from twinbench.data.imagenet import CLASSES, LISTS, LISTS_SHA256, list_sha256

    name = LISTS[fraction]
    path = arguments.list or arguments.data / name
    sha256 = list_sha256(path)
    if protocol.classes != CLASSES:
        return {"list_sha256": sha256}
    if sha256 != LISTS_SHA256[name] and not arguments.partial:
        raise TransferError(
            f"{path}: sha256 {sha256[:12]}..., but {protocol.name} rests on SimCLR's {name}, "
            f"{LISTS_SHA256[name][:12]}...; fetch it with `twinbench data lists FOLDER` and name it with --list, or "
            "add --partial to go on with a row that is marked"
        )
    return {"list_sha256": sha256, "list_is_simclrs": sha256 == LISTS_SHA256[name]}


def _require_same_inputs(result: "Result", protocol: Protocol, arguments: argparse.Namespace) -> None:
    """Raise TransferError if a finished trial used another list or other samples than this command would.

    A list in the data that is gone, or that an earlier twinbench did not record, is no other list.
    """
    from twinbench.data.imagenet import LISTS, list_sha256
    from twinbench.transfer.samples import DRAWN, read_samples, samples_sha256

    path, listing, fraction = arguments.out / "result.json", arguments.list, _fraction(protocol)
    if not listing and fraction != "100%" and "list_sha256" in result.details:
        own = arguments.data / LISTS[fraction]
        listing = own if own.exists() else None
    if not arguments.targets and (samples := result.details.get("samples", DRAWN)) != DRAWN:
        raise TransferError(
            f"{path}: its samples are {samples}; name them with --targets, choose another OUT or remove it"
        )
    given = {
        "list": list_sha256(listing) if listing else "",
        "samples": samples_sha256(read_samples(arguments.targets)) if arguments.targets else "",
    }
    for what, sha256 in given.items():
        used = str(result.details.get(f"{what}_sha256", "none"))
        if sha256 and sha256 != used:
            raise TransferError(
                f"{path}: sha256 of its {what} {used[:12]}..., of the present ones {sha256[:12]}...; "
                "choose another OUT or remove it"
            )
