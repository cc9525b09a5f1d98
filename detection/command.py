"""One detection trial: train a detector on a backbone, measure it, write OUT/result.json. Run again to resume.

SIGTERM, SIGUSR1 and SIGUSR2 save the state of the training and exit with code 75; the same command goes on from there.

Examples:
    twinbench detection voc0712-frcnn-c4 resnet50.pth /datasets/VOCdevkit out/voc --method barlow-twins --seed 1
    twinbench detection demo-coco-mrcnn-c4-1x random scenes/coco out/coco
    torchrun --nproc-per-node 8 -m twinbench detection coco-mrcnn-c4-1x resnet50.pth /datasets/coco out/coco
    torchrun --nproc-per-node 2 -m twinbench detection coco-mrcnn-c4-1x resnet50.pth /datasets/coco out/c --scale-to 2

OUT gets result.json (last), predictions.png, precision-recall.png, log.jsonl (losses), log.txt (what Detectron2 says),
config.yaml, model_final.pth and, while it trains, the newest checkpoints.
"""

import argparse
import importlib.util

from twinbench.detection.options import BEFORE_TRAINING, Options
from twinbench.protocols.catalogue import find_protocol, load_own
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.scaling import GPUS, ScalingError, linear_rule
from twinbench.protocols.schema import Protocol
from twinbench.report.asked import Asked, add_trial_arguments, tracked_trial
from twinbench.report.trial import leaving_nothing, trial_protocol
from twinbench.runtime.options import add_options, read_options


class DetectionError(UserError):
    """A detection trial that cannot start."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench detection` takes."""
    add_trial_arguments(parser)
    parser.add_argument(
        "--scale-to",
        type=int,
        default=GPUS,
        metavar="N",
        help="scale batch, rate and schedule from the papers' 8 GPUs to N by the linear rule; is recorded (default: as "
        "the protocol says, on however many processes there are)",
    )
    add_options(parser, Options)


def run(arguments: argparse.Namespace) -> int:
    """Measure the trial, or find it finished, and print its numbers."""
    protocol = _protocol(arguments)
    _require_packages(arguments.evaluator)
    from twinbench.detection.chatter import chatter_to

    asked = Asked.of(protocol, arguments)
    refused = leaving_nothing(arguments.out, *BEFORE_TRAINING)
    with refused, tracked_trial(asked), chatter_to(arguments.out / "log.txt"):
        from twinbench.detection.trial import measure

        result = measure(asked, read_options(Options, arguments))
    if result:
        print(result.line)
    return 0


def _protocol(arguments: argparse.Namespace) -> Protocol:
    """Return the protocol with --scale-to and --set applied; where both change a setting, --set has the last word."""
    load_own(arguments.protocols)
    named = find_protocol(arguments.protocol, "detection")
    if not isinstance(named.recipe, DetectionRecipe):
        if arguments.scale_to != GPUS:
            raise DetectionError(
                f"--scale-to {arguments.scale_to}: the linear rule is of detectors' recipes, and {named.name} is a "
                f"{named.recipe.kind}'s; set batch_size, lr and iterations with --set"
            )
        return trial_protocol(named, arguments.set)
    try:
        scaled = [f"{name}={value}" for name, value in linear_rule(named.recipe, arguments.scale_to).items()]
    except ScalingError as error:
        raise DetectionError(f"--scale-to {error}") from None
    return trial_protocol(named, scaled + arguments.set)


def _require_packages(evaluator: str) -> None:
    """Raise DetectionError for what is not installed, before anything is written."""
    for package in ("detectron2", "pycocotools"):
        if importlib.util.find_spec(package) is None:
            raise DetectionError(f"{package} is not installed, which detection needs; run: make setup")
    if importlib.util.find_spec(evaluator.replace("-", "_")) is None:
        raise DetectionError(
            f"--evaluator {evaluator}: not installed; run: pip install {evaluator}, or name another one"
        )
