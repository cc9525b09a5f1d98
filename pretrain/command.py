"""Pretrain a ResNet-50 with Barlow Twins on DATA/train, labels unused.

Examples:
    twinbench pretrain /datasets/imagenet runs/bt --recipe barlow-twins
    torchrun --nproc-per-node 8 -m twinbench pretrain /datasets/imagenet runs/bt

Writes OUT/pretrain.json (what the run is of), OUT/checkpoint.pth after every epoch, OUT/log.jsonl, and OUT/resnet50.pth
at the end. The same command goes on from the checkpoint; on a finished OUT it says so. Another recipe, setting, seed or
DATA is refused there. SIGTERM, SIGUSR1 and SIGUSR2 save and exit with code 75.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from twinbench.protocols.house import parse_settings, with_settings
from twinbench.protocols.pretraining import RECIPES
from twinbench.protocols.schema import look_up


def _at_least(least: int) -> Callable[[str], int]:
    """Return the parser of a whole number that is not below `least`."""

    def parse(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    parse.__name__ = "whole number"  # argparse names it in its message
    return parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench pretrain` takes."""
    parser.add_argument("data", metavar="DATA", type=Path, help="ImageNet's root, or any folder with train/<class>/*")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the checkpoint, the backbone and the log")
    parser.add_argument(
        "--recipe", default="barlow-twins", metavar="NAME", help=f"one of {', '.join(RECIPES)} (default barlow-twins)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe; is recorded"
    )
    parser.add_argument("--seed", type=_at_least(0), default=0, metavar="N", help="default 0")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:1")
    parser.add_argument("--workers", type=_at_least(0), default=2, metavar="N", help="loader processes (default 2)")
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="short for --set precision=NAME: auto (what is fast), fp32, tf32, bf16, fp16",
    )
    parser.add_argument("--compile", action="store_true", help="compile the network (torch.compile)")
    parser.add_argument(
        "--save-seconds", type=float, default=600, metavar="S", help="checkpoint at least this often (default 600)"
    )
    parser.add_argument(
        "--log-steps", type=_at_least(1), default=20, metavar="N", help="steps between log lines (default 20)"
    )
    parser.add_argument(
        "--skip-corrupt", type=_at_least(0), default=0, metavar="N", help="leave out up to N damaged images (default 0)"
    )
    parser.add_argument(
        "--monitor", type=Path, metavar="DIR", help="log k-NN accuracy on this folder of class folders, leave-one-out"
    )
    parser.add_argument("--monitor-epochs", type=_at_least(1), default=10, metavar="E", help="how often (default 10)")
    parser.add_argument("--tensorboard", action="store_true", help="draw the log's numbers in OUT/tensorboard too")


def run(arguments: argparse.Namespace) -> int:
    """Train, and print the path of the backbone."""
    settings = parse_settings(arguments.set)
    if arguments.precision:
        settings["precision"] = arguments.precision
    recipe = with_settings(look_up(RECIPES, arguments.recipe, "recipe"), settings)
    from twinbench.pretrain.train import Options, pretrain
    from twinbench.runtime.process import current_process

    options = Options(
        workers=arguments.workers,
        compile=arguments.compile,
        save_seconds=arguments.save_seconds,
        log_steps=arguments.log_steps,
        skip_corrupt=arguments.skip_corrupt,
        monitor=arguments.monitor,
        monitor_epochs=arguments.monitor_epochs,
        tensorboard=arguments.tensorboard,
    )
    process = current_process(arguments.device)
    try:
        path = pretrain(arguments.data, arguments.out, recipe, arguments.seed, options, process)
    except OSError as error:  # a full disk under the log, a file system that went away
        print(f"twinbench pretrain: {error}; run the same command again when it is mended", file=sys.stderr)
        return 1
    if process.is_main:
        print(path)
    return 0
