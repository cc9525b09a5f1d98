"""Make the demo scenes, prove a data set complete, or fetch SimCLR's lists of ImageNet images.

Examples:
    twinbench data make scenes                         five small trees: imagenet, VOCdevkit, coco, inat, places
    twinbench data check imagenet scenes/imagenet      counts, lists, annotations; every image is decoded
    twinbench data check voc /datasets/VOCdevkit       VOC2007 and VOC2012; voc07 is VOC2007 alone
    twinbench data lists lists                         1percent.txt and 10percent.txt, from the network, proven
"""

import argparse
import json
from pathlib import Path

from twinbench.data.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `make`, `check` and `lists`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="make|check|lists")
    make = actions.add_parser("make", help="write the demo scenes", description="Write the demo scenes.")
    make.add_argument("folder", type=Path, help="a new or empty folder, or one that holds these scenes already")
    make.add_argument("--seed", type=int, default=0, help="another seed, other pictures (default 0)")
    make.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of images (default 1)")
    check = actions.add_parser("check", help="prove a data set complete", description="Prove a data set complete.")
    check.add_argument("layout", help="imagenet, voc (2007 and 2012), voc07, coco, inat or places")
    check.add_argument("folder", type=Path, help="its usual root")
    check.add_argument("--fast", action="store_true", help="read image headers only, decode nothing")
    check.add_argument("--processes", type=int, default=0, help="readers side by side (default: one a core)")
    check.add_argument("--json", action="store_true", help="print the report as one JSON object")
    lists = actions.add_parser(
        "lists",
        help="fetch SimCLR's 1 %% and 10 %% lists of ImageNet images",
        description="Fetch 1percent.txt and 10percent.txt from SimCLR's repository and prove them by their sha256; "
        "what is there already is proven and left alone.",
    )
    lists.add_argument("folder", type=Path, help="where to; then: twinbench transfer ... --list FOLDER/1percent.txt")


def run(arguments: argparse.Namespace) -> int:
    """Make, check or fetch; a data set that is not complete ends as a DataError, after its report."""
    return {"make": make, "check": check, "lists": lists}[arguments.action](arguments)


def make(arguments: argparse.Namespace) -> int:
    """Write the scenes and print a line for each tree."""
    from twinbench.data.scenes import make_scenes

    for tree, counts in make_scenes(arguments.folder, arguments.seed, arguments.scale).items():
        print(f"{arguments.folder / tree}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Print the report; DataError if there is any problem."""
    from twinbench.data import checks

    if arguments.processes < 0:
        raise DataError(f"--processes {arguments.processes}: expected a number from 1, or 0 for one a core")
    report = checks.check(arguments.layout, arguments.folder, arguments.fast, arguments.processes)
    print(json.dumps(report.as_dict()) if arguments.json else report.as_text())
    if not report.complete:
        kinds = ", ".join(f"{problem.kind} ({problem.count})" for problem in report.problems)
        raise DataError(
            f"{arguments.folder}: {arguments.layout} is not complete; problems: {kinds}; first:"
            f" {report.problems[0].examples[0]}"
        )
    return 0


def lists(arguments: argparse.Namespace) -> int:
    """Fetch the lists and print where they lie."""
    from twinbench.data.imagenet import fetch_lists

    for path in fetch_lists(arguments.folder):
        print(path)
    return 0
