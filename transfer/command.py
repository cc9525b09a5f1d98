"""Measure one classification protocol on one backbone; writes OUT/result.json, resumes by itself.

Examples:
    twinbench transfer voc07-svm checkpoint.pth /datasets/VOCdevkit results/voc07-svm --method mine
    twinbench transfer imagenet-knn@pets checkpoint.pth /datasets/pets results/pets
    twinbench transfer imagenet-1pct checkpoint.pth /datasets/imagenet results/1pct --list lists/1percent.txt
    twinbench transfer voc07-svm-lowshot checkpoint.pth /datasets/VOCdevkit results/low --targets low_shot_train
"""

import argparse
import os
from pathlib import Path

from twinbench.report.trial import add_trial_arguments, asked_protocol


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
    protocol = asked_protocol(arguments, "transfer")
    from twinbench.transfer.measure import Asked, Options, measure

    options = Options(arguments.solver, arguments.list, arguments.targets, arguments.partial, arguments.cache)
    asked = Asked(
        protocol,
        arguments.backbone,
        arguments.data,
        arguments.out,
        arguments.method,
        arguments.seed,
        arguments.device,
        arguments.workers,
    )
    result = measure(asked, options)
    if result:
        print(result.line)
    return 0
