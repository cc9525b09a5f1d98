"""The data sets: what is known of them, whether a copy is complete, where to fetch one; and the demo scenes.

Examples:
    twinbench data list                                every data set that is known by name
    twinbench data show oxford-pets                    counts, splits, metric, digests, how to get it
    twinbench data check oxford-pets /datasets/pets    against its entry: counts, lists, every image
    twinbench data check /datasets/mine                own data: may a job run on it? sources such as list:FILE, too
    twinbench data check pool /datasets/photographs    images to pretrain on, at any depth
    twinbench data check boxes /datasets/cells         own boxes, masks, keypoints: may a detector run on them?
    twinbench data check pixels /datasets/cells        own images with masks: may a segmenter run on them?
    twinbench data check voc /datasets/VOCdevkit       VOC2007 and VOC2012; voc07 is VOC2007 alone
    twinbench data fetch oxford-pets /datasets/pets    from its public address: resumed, proven, unpacked
    twinbench data lists lists                         1percent.txt and 10percent.txt, from the network, proven
    twinbench data make scenes                         five small trees: imagenet, VOCdevkit, coco, inat, places
"""

import argparse
import json
from pathlib import Path

from twinbench.data.errors import DataError
from twinbench.data.usage import sources_help
from twinbench.protocols.catalogue import load_own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    parser.epilog = sources_help()
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|check|fetch|lists|make")
    _add_registry(actions)
    _add_check(actions)
    lists = actions.add_parser(
        "lists",
        help="fetch SimCLR's 1 %% and 10 %% lists of ImageNet images",
        description="Fetch 1percent.txt and 10percent.txt from SimCLR's repository and prove them by their sha256; "
        "what is there already is proven and left alone.",
    )
    lists.add_argument("folder", type=Path, help="where to; then: twinbench transfer ... --list FOLDER/1percent.txt")
    make = actions.add_parser("make", help="write the demo scenes", description="Write the demo scenes.")
    make.add_argument("folder", type=Path, help="a new or empty folder, or one that holds these scenes already")
    make.add_argument("--seed", type=int, default=0, help="another seed, other pictures (default 0)")
    make.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of images (default 1)")


def _add_registry(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare what reads the registry: `list`, `show` and `fetch`."""
    every = actions.add_parser("list", help="the data sets that are known by name", description="List the data sets.")
    every.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="everything about one of them", description="Show one data set.")
    show.add_argument("name", metavar="NAME", help="its name, as `twinbench data list` has it")
    show.add_argument("--json", action="store_true", help="print JSON")
    fetch = actions.add_parser(
        "fetch",
        help="fetch one from its public address",
        description="Fetch a data set from its public address into a folder: resumed after a kill, proven by the"
        " digests that its authors or torchvision publish, unpacked. No run ever fetches data.",
    )
    fetch.add_argument("name", metavar="NAME", help="its name, or torchvision:NAME, hf:ORG/NAME")
    fetch.add_argument("folder", metavar="FOLDER", type=Path, nargs="?", help="where to")


def _add_check(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare `check`."""
    check = actions.add_parser(
        "check",
        help="prove a data set complete, or own data fit to run on",
        description="Read a source as the workers do, decode every image on all cores, and list what is wrong.",
        epilog=sources_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument(
        "layout",
        metavar="NAME",
        nargs="?",
        default="",
        help="a data set's name, or a layout's: imagenet, voc (2007 and 2012), voc07, coco, inat or places; pool"
        " for images to pretrain on; boxes for own boxes, masks or keypoints; pixels for own masks; depth for own maps"
        " of it; left out for other own data",
    )
    check.add_argument("folder", metavar="DATA", help="its usual root, or a source such as list:FILE")
    check.add_argument("--fast", action="store_true", help="read image headers only, decode nothing")
    check.add_argument("--processes", type=int, default=0, help="readers side by side (default: one a core)")
    check.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Do one action; a data set that is not complete ends as a DataError, after its report."""
    load_own()
    actions = {"list": list_all, "show": show, "check": check, "fetch": fetch, "lists": lists, "make": make}
    return actions[arguments.action](arguments)


def list_all(arguments: argparse.Namespace) -> int:
    """Print a line a data set."""
    from twinbench.data.checking import listing

    if arguments.json:
        print(json.dumps([listing.as_json(entry) for entry in listing.listed()], indent=1))
    else:
        print(listing.as_table())
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print all that is known of one data set."""
    from twinbench.data.checking import listing
    from twinbench.protocols.datasets import DATA_SETS
    from twinbench.protocols.schema import look_up

    entry = look_up(DATA_SETS, arguments.name, "data set", "twinbench data list")
    print(json.dumps(listing.as_json(entry), indent=1) if arguments.json else listing.as_text(entry))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Print the report; DataError if there is any problem."""
    from twinbench.data.checking import checks

    if arguments.processes < 0:
        raise DataError(f"--processes {arguments.processes}: expected a number from 1, or 0 for one a core")
    report = checks.check(arguments.layout, arguments.folder, arguments.fast, arguments.processes)
    print(json.dumps(report.as_dict()) if arguments.json else report.as_text())
    if not report.complete:
        kinds = ", ".join(f"{problem.kind} ({problem.count})" for problem in report.problems)
        state = "complete" if report.expected else "usable"
        raise DataError(
            f"{arguments.folder}: {report.layout} is not {state}; problems: {kinds}; first:"
            f" {report.problems[0].examples[0]}"
        )
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """Fetch a data set and print how DATA is typed for it, and the command that checks it."""
    from twinbench.data.checking import fetching

    fetched = fetching.fetch(arguments.name, arguments.folder)
    print(f"DATA: {fetched.data}")
    if fetched.links:
        print(f"left out: {fetched.links} links, which archives of images have no need of")
    name = "" if ":" in arguments.name else f"{arguments.name} "
    print(f"next: twinbench data check {name}{fetched.data}")
    return 0


def lists(arguments: argparse.Namespace) -> int:
    """Fetch the lists and print where they lie."""
    from twinbench.data.folders.imagenet import fetch_lists

    for path in fetch_lists(arguments.folder):
        print(path)
    return 0


def make(arguments: argparse.Namespace) -> int:
    """Write the scenes and print a line for each tree."""
    from twinbench.data.scenes.make import make_scenes

    for tree, counts in make_scenes(arguments.folder, arguments.seed, arguments.scale).items():
        print(f"{arguments.folder / tree}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    return 0
