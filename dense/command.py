"""Measure what a frozen backbone's places know: a class or a depth a pixel; writes OUT/result.json, resumes by itself.

SIGTERM, SIGUSR1 and SIGUSR2 save the state of a training and exit with code 75; the same command goes on from there.
What trains nothing is killed as it stands, and goes on where it was.

Examples:
    twinbench dense ade20k-linear-dinov3 dinov3_vitb16.pth /datasets/ADEChallengeData2016 results/ade20k
    twinbench dense voc12-linear-vicregl resnet50.pth /datasets/VOCdevkit results/voc12
    twinbench dense voc12-hummingbird-100k timm:vit_small_patch16_224=FILE /datasets/VOCdevkit results/retrieval
    twinbench dense ade20k-logreg-capi dinov3_vitb16.pth /datasets/ADEChallengeData2016 results/logreg
    twinbench dense nyuv2-linear-dinov3 dinov3_vitb16.pth /datasets/NYU results/depth
    twinbench dense ade20k-linear-dinov3@mine timm:vit_small_patch16_224=FILE masks/ results/mine
    torchrun --nproc-per-node 8 -m twinbench dense ade20k-linear-dinov3 FILE /datasets/ADEChallengeData2016 results/a

OUT gets result.json (last), predictions.png and, of classes, confusion.png; of a training also log.jsonl and head.pth.
"""

import argparse

from twinbench.dense.options import Options
from twinbench.report.asked import Asked, add_trial_arguments, asked_protocol, tracked_trial
from twinbench.runtime.options import add_options, read_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench dense` takes."""
    add_trial_arguments(parser)
    add_options(parser, Options)


def run(arguments: argparse.Namespace) -> int:
    """Measure the trial, or find it finished, and print its numbers."""
    protocol = asked_protocol(arguments, "dense")
    from twinbench.dense.trial import measure

    asked = Asked.of(protocol, arguments)
    with tracked_trial(asked):
        result = measure(asked, read_options(Options, arguments))
    if result:
        print(result.line)
    return 0
