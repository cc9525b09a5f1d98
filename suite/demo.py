"""The whole pipeline on generated scenes: a ResNet-50 pretrained before your eyes against a random one.

Examples:
    twinbench demo             everything below ./demo; ten minutes on two cores
    twinbench demo DIR         below DIR
    twinbench demo --quick     a minute: fewer images, a smaller network, classification alone

Stop it at any moment: the same command goes on. It is a suite like any other, DIR/suite.yaml, so this does the same:
twinbench suite run DIR/suite.yaml
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import replacing
from twinbench.suite.command import positive
from twinbench.suite.graph import build_jobs
from twinbench.suite.start import run_locally
from twinbench.suite.suite import Suite, SuiteError, read_suite

SUITE: dict[str, Any] = {
    "name": "demo",
    "root": ".",
    "methods": {
        "barlow-twins": {"pretrain": {"data": "imagenet", "recipe": "demo"}},
        "random": {"checkpoint": "random"},
    },
    "protocols": {
        "demo-imagenet-knn": {},
        "demo-voc07-svm": {},
        "demo-imagenet-linear": {},
        "demo-imagenet-1pct": {},
        "demo-imagenet-10pct": {},
        "demo-voc0712-frcnn-c4": {},
        "demo-coco-mrcnn-c4-1x": {},
    },
    "data": {"imagenet": "scenes/imagenet", "voc": "scenes/VOCdevkit", "coco": "scenes/coco"},
}
# A minute on two cores, for a first look: fewer images, a network of half that width, classification alone. Tried on
# scenes of seed 7 of this size, one run: k-NN 44 with the pretrained network, 30 with a random one; linear 29 and 10.
QUICK_SCALE = 0.2
QUICK_PRETRAINING: dict[str, Any] = {
    "width": 0.125,
    "crop": 32,
    "epochs": 30,
    "batch_size": 32,
    "warmup_epochs": 1,
    "blur": [0.0, 0.0],
    "solarize": [0.0, 0.0],
}
QUICK_PROTOCOLS: dict[str, dict[str, Any]] = {
    "demo-imagenet-knn@few": {},
    "demo-voc07-svm@few-voc": {"seeds": 1},
    "demo-imagenet-linear@few": {"seeds": 1},
}
# Fewer images than the demo's are other data, under names of their own.
QUICK_DATA = {"imagenet": "scenes/imagenet", "few": "scenes/imagenet", "few-voc": "scenes/VOCdevkit"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench demo` takes."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"), metavar="DIR", help="default: ./demo")
    parser.add_argument(
        "--parallel", type=positive, default=0, metavar="N", help="jobs at once (default: as memory allows)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute: fewer images, a smaller network, classification alone"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the scenes, run the suite and print its table."""
    from twinbench.data.scenes.make import make_scenes
    from twinbench.suite.finish import suite_table

    file = prepare(arguments.folder, quick=arguments.quick)
    print(f"scenes: {file.parent / 'scenes'}", file=sys.stderr)
    make_scenes(file.parent / "scenes", scale=QUICK_SCALE if arguments.quick else 1.0)
    suite = read_suite(file)
    jobs = build_jobs(suite)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks so small lose more by threads that meet than they gain
    code = run_locally(suite, jobs, arguments.parallel)
    from twinbench.report import text

    print(text.render(suite_table(suite, jobs)))
    for line in _whereabouts(suite):
        print(line)
    return code


def prepare(folder: Path, *, quick: bool = False) -> Path:
    """Write the demo's suite file into `folder`, or find it there; SuiteError if the folder holds something else."""
    folder = folder.absolute()
    file = folder / "suite.yaml"
    if folder.exists() and not folder.is_dir():
        raise SuiteError(f"{folder}: is a file, expected a folder for the demo or none yet; choose another DIR")
    whole = quick_suite() if quick else SUITE
    with_all = yaml.safe_dump(whole, sort_keys=False)
    without = yaml.safe_dump(without_detection(whole), sort_keys=False)
    if file.exists():
        if file.read_text() not in (with_all, without):
            raise SuiteError(
                f"{file}: is not what this demo writes; run it as it stands with `twinbench suite run {file}`, "
                "or choose another DIR"
            )
        return file
    if folder.is_dir() and any(folder.iterdir()):
        raise SuiteError(f"{folder}: is not empty and holds no demo; choose another DIR")
    if with_all != without and not has_detectron2():
        print(
            "Detectron2 is not installed: the demo leaves detection out; docs/detection.md says how to get it",
            file=sys.stderr,
        )
    with replacing(file) as beside:
        beside.write_text(with_all if has_detectron2() else without)
    return file


def has_detectron2() -> bool:
    """Say whether detection can run here: Detectron2 is no package of PyPI's under its own name."""
    return all(importlib.util.find_spec(package) for package in ("detectron2", "pycocotools"))


def without_detection(suite: Mapping[str, Any]) -> dict[str, Any]:
    """Return a demo's suite without its detection protocols and their data."""
    protocols: dict[str, Any] = {}
    folders = {"imagenet"}  # what it pretrains on, and what the protocols run on
    for name, entry in suite["protocols"].items():
        protocol = find_protocol(name)
        if protocol.room != "detection":
            protocols[name] = entry
            folders.add(protocol.data_set.folder)
    data = {name: path for name, path in suite["data"].items() if name in folders}
    return {**suite, "protocols": protocols, "data": data}


def quick_suite() -> dict[str, Any]:
    """Return the suite of a minute."""
    pretraining = SUITE["methods"]["barlow-twins"]["pretrain"] | {"set": QUICK_PRETRAINING}
    methods = SUITE["methods"] | {"barlow-twins": {"pretrain": pretraining}}
    return SUITE | {"name": "demo-quick", "methods": methods, "protocols": QUICK_PROTOCOLS, "data": QUICK_DATA}


def _whereabouts(suite: Suite) -> list[str]:
    """Return where the page and the pictures are."""
    lines = [f"page:     {suite.root / 'report.html'}"]
    for folder in sorted({str(picture.parent) for picture in suite.root.glob("*/*/seed*/*.png")}):
        lines.append(f"pictures: {folder}")
    return lines
