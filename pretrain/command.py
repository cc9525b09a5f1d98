"""Pretrain a ResNet-50 with Barlow Twins on the images below DATA/train, or DATA where there is no train/; no labels.

Examples:
    twinbench pretrain /datasets/imagenet runs/bt --recipe barlow-twins
    torchrun --nproc-per-node 8 -m twinbench pretrain /datasets/imagenet runs/bt
    twinbench pretrain tar:/datasets/shards runs/shards

Writes OUT/pretrain.json (what the run is of), OUT/checkpoint.pth after every epoch, OUT/log.jsonl, and OUT/resnet50.pth
at the end; with --keep-every 10 also OUT/epoch0010.pth and so on, which a suite measures as they come. The same command
goes on from the checkpoint; on a finished OUT it says so. Another recipe, setting, seed or DATA is refused there.
SIGTERM, SIGUSR1 and SIGUSR2 save and exit with code 75.
"""

import argparse
import sys
from pathlib import Path

from twinbench.data.source import Source
from twinbench.data.usage import sources_help
from twinbench.pretrain.options import Options
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.house import parse_settings, with_settings
from twinbench.protocols.pretraining import RECIPES, PretrainRecipe
from twinbench.protocols.schema import ProtocolError, look_up
from twinbench.report.trial import as_seed
from twinbench.runtime.options import add_options, read_options
from twinbench.runtime.tracking import tracked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench pretrain` takes."""
    parser.epilog = sources_help()
    parser.add_argument(
        "data",
        metavar="DATA",
        help="ImageNet's root, a folder of images, or any other source, see below; no labels are needed",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the checkpoint, the backbone and the log")
    parser.add_argument(
        "--recipe", default="barlow-twins", metavar="NAME", help=f"one of {', '.join(RECIPES)} (default barlow-twins)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe; is recorded"
    )
    parser.add_argument("--seed", type=as_seed, default=0, metavar="N", help="default 0")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:1")
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="short for --set precision=NAME: auto (what is fast), fp32, tf32, bf16, fp16",
    )
    add_options(parser, Options)


def _recipe(name: str) -> PretrainRecipe:
    """Return a recipe; ProtocolError for a benchmark's name says which command runs that."""
    if name not in RECIPES and name in PROTOCOLS:
        room = PROTOCOLS[name].room
        raise ProtocolError(f"--recipe {name}: is a {room} protocol; run it with: twinbench {room} {name} ...")
    return look_up(RECIPES, name, "recipe")


def run(arguments: argparse.Namespace) -> int:
    """Train, and print the path of the backbone."""
    settings = parse_settings(arguments.set)
    if arguments.precision:
        settings["precision"] = arguments.precision
    recipe = with_settings(_recipe(arguments.recipe), settings)
    from twinbench.pretrain.train import pretrain
    from twinbench.runtime.process import current_process

    options = read_options(Options, arguments)
    process = current_process(arguments.device)
    config = {"recipe": recipe.name, "fingerprint": recipe.fingerprint, "data": arguments.data, "seed": arguments.seed}
    try:
        with tracked(options.trackers, arguments.out, f"pretrain {arguments.out.name}", config | settings):
            path = pretrain(Source.of(arguments.data), arguments.out, recipe, arguments.seed, options, process)
    except OSError as error:  # a full disk under the log, a file system that went away
        print(f"twinbench pretrain: {error}; run the same command again when it is mended", file=sys.stderr)
        return 1
    if process.is_main:
        print(path)
    return 0
