"""Make the demo scenes, or prove a data set complete.

Examples:
    twinbench data make scenes                         five small trees: imagenet, VOCdevkit, coco, inat, places
    twinbench data check imagenet scenes/imagenet      counts, lists, annotations; every image is decoded
    twinbench data check voc /datasets/VOCdevkit       VOC2007 and VOC2012; voc07 is VOC2007 alone
"""

import argparse
import json
from pathlib import Path

from data.layouts import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `make` and `check`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="make|check")
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


def run(arguments: argparse.Namespace) -> int:
    """Make or check; a data set that is not complete ends as a DataError, after its report."""
    return make(arguments) if arguments.action == "make" else check(arguments)


def make(arguments: argparse.Namespace) -> int:
    """Write the scenes and print a line for each tree."""
    from data.scenes import make_scenes

    for tree, counts in make_scenes(arguments.folder, arguments.seed, arguments.scale).items():
        print(f"{arguments.folder / tree}: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Print the report; DataError if there is any problem."""
    from data import checks

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
