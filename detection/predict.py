"""Draw what a finished trial's detector or segmenter finds on any images.

Examples:
    twinbench predict out/cells photographs predictions
    twinbench predict out/cells a.jpg b.png predictions --threshold 0.3 --device cpu

OUT gets a picture of each image, with boxes, class names and scores, masks and keypoints, or of a segmenter with the
area of each class; predictions.json, the same in the form of COCO's results with the names of file and class; and
images.json, the images and categories that go with them: pycocotools reads the two together.
"""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from twinbench.detection.places import PredictError, planned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench predict` takes."""
    parser.add_argument("trial", metavar="TRIAL", type=Path, help="the folder OUT of a finished `twinbench detection`")
    parser.add_argument(
        "images", metavar="IMAGES", type=Path, nargs="+", help="images, or folders of them at any depth"
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder, or that of an earlier `twinbench predict`")
    parser.add_argument(
        "--threshold", type=_score, metavar="SCORE", help="least score of what is shown of a detector (default 0.5)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:1")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Draw the images and print how many objects were found; the exit code is 1 if an image could not be read."""
    for package in ("detectron2", "pycocotools"):
        if importlib.util.find_spec(package) is None:
            raise PredictError(f"{package} is not installed, which detection needs; run: make setup")
    plan = planned(arguments.images, arguments.out)
    from twinbench.detection.chatter import chatter_to

    with chatter_to(Path(os.devnull)):
        from twinbench.detection.predicting import predict_images

        found = predict_images(arguments.trial, plan, arguments.out, arguments.threshold, arguments.device)
    for line in found["unreadable"]:
        print(f"twinbench predict: {line}", file=sys.stderr)
    print(json.dumps(found, indent=1, ensure_ascii=False) if arguments.json else _summary(found))
    return 1 if found["unreadable"] else 0


def _score(text: str) -> float:
    """Return a score between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no score; expected a number from 0 to 1")
    return value


def _summary(found: dict[str, Any]) -> str:
    """Return how many images and objects there were, in one line."""
    classes = ", ".join(f"{name} {count}" for name, count in found["classes"].items())
    told = f": {classes}" if classes else "; a lower --threshold shows more" if found["images"] else ""
    failed = f"; {_counted(len(found['unreadable']), 'image')} not readable" if found["unreadable"] else ""
    images, objects = _counted(found["images"], "image"), _counted(found["detections"], found["what"])
    return f"{found['out']}: {images}, {objects}{told}{failed}"


def _counted(count: int, word: str) -> str:
    """Return a number of things in words."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
