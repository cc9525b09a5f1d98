"""Measure one classification protocol on one backbone; writes OUT/result.json, resumes by itself.

Examples:
    twinbench transfer voc07-svm checkpoint.pth /datasets/VOCdevkit results/voc07-svm --method mine
    twinbench transfer imagenet-knn@pets checkpoint.pth /datasets/pets results/pets
    twinbench transfer imagenet-linear@birds checkpoint.pth list:birds.csv results/birds
    twinbench transfer imagenet-knn@shards checkpoint.pth 'tar:shards?train=train&test=val' results/shards
    twinbench transfer imagenet-1pct checkpoint.pth /datasets/imagenet results/1pct --list lists/1percent.txt
    twinbench transfer voc07-svm-lowshot checkpoint.pth /datasets/VOCdevkit results/low --targets low_shot_train
"""

import argparse

from twinbench.data.usage import sources_help
from twinbench.report.asked import Asked, add_trial_arguments, asked_protocol, tracked_trial
from twinbench.runtime.options import add_options, read_options
from twinbench.transfer.options import Options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `twinbench transfer`."""
    parser.epilog = sources_help()
    add_trial_arguments(parser)
    add_options(parser, Options)


def run(arguments: argparse.Namespace) -> int:
    """Run the trial, or tell its result if it is already there."""
    protocol = asked_protocol(arguments, "transfer")
    from twinbench.transfer.measure import measure

    asked = Asked.of(protocol, arguments)
    with tracked_trial(asked):
        result = measure(asked, read_options(Options, arguments))
    if result:
        print(result.line)
    return 0
