"""One detection trial from end to end: data, backbone, training, evaluation, picture, result."""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from twinbench.convert.load import open_backbone
from twinbench.detection.checkpoint import SECONDS
from twinbench.detection.config import detectron2_config
from twinbench.detection.datasets import DetectionData, open_data
from twinbench.detection.evaluate import Evaluator, Scores, evaluate
from twinbench.detection.pictures import draw_curves, draw_predictions
from twinbench.detection.train import Run, train
from twinbench.detection.weights import build_detector
from twinbench.protocols.house import replacing, unknown
from twinbench.protocols.identity import data_identity, split_identity
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.schema import Protocol
from twinbench.report.result import Result
from twinbench.report.trial import Trial, TrialBackbone, TrialData, TrialError
from twinbench.runtime.process import current_process, loader_workers, process_group
from twinbench.runtime.progress import read_log

PICTURE, CURVES = "predictions.png", "precision-recall.png"


@dataclass(frozen=True)
class Wanted:
    """A trial as asked for on the command line."""

    protocol: Protocol
    backbone: str  # a path, or `random`
    data: Path
    out: Path
    method: str | None = None  # default: where the backbone comes from
    seed: int = 0
    device: str = "auto"
    workers: int | None = None  # what suits the machine
    checkpoint_seconds: float = SECONDS
    evaluator: Evaluator = "pycocotools"

    @classmethod
    def of(cls, protocol: Protocol, arguments: argparse.Namespace) -> "Wanted":
        """Return what a command line asks for; its options have the names of the fields."""
        given = vars(arguments) | {"protocol": protocol}
        return cls(**{entry.name: given[entry.name] for entry in fields(cls) if entry.name in given})


def evaluate_protocol(
    protocol: Protocol, backbone: object, data: Path, out: Path, *, convention: object, **options: Any
) -> Result | None:
    """Run a trial as `twinbench.evaluate` asks for it; `options` are further fields of Wanted."""
    if not isinstance(backbone, str) or convention is not None:
        raise TrialError(
            f"{protocol.name}: trains a detector, whose trunk only a ResNet-50 can be; expected a checkpoint's path, "
            "zoo:NAME or `random`, with the convention that it brings"
        )
    if strange := options.keys() - {entry.name for entry in fields(Wanted)}:
        raise TrialError(unknown("option", min(strange), (entry.name for entry in fields(Wanted))))
    return run_trial(Wanted(protocol, backbone, data, out, **options))


def run_trial(wanted: Wanted) -> Result | None:
    """Return the result of the trial, measured now or found finished; None in all processes but the main one."""
    process = current_process(wanted.device)
    workers = loader_workers(process, wanted.workers)
    protocol, recipe = wanted.protocol, wanted.protocol.recipe
    assert isinstance(recipe, DetectionRecipe)
    backbone = open_backbone(wanted.backbone, protocol.width)
    data = open_data(protocol, wanted.data)
    trial = Trial(
        protocol,
        wanted.method or backbone.source,
        wanted.seed,
        TrialBackbone(
            backbone.sha256,
            "resnet50" if backbone.width == 1 else f"resnet50-w{backbone.width:g}",
            backbone.convention.as_dict(),
        ),
        TrialData(protocol.data_set.name, _data_sha256(wanted.data, data)),
        _device(process.device),
        wanted.out,
    )
    if found := trial.finished():
        return found if process.is_main else None
    config = detectron2_config(
        recipe,
        classes=protocol.classes,
        width=backbone.width,
        convention=backbone.convention,
        mask_format=data.mask_format,
        device=process.device,
    )
    identity = {
        **trial.identity.as_dict(),
        "processes": process.world,
        "training images": len(data.train),
    }
    run = Run(config, wanted.seed, identity, process, wanted.out, workers, wanted.checkpoint_seconds)
    with process_group(process):
        if process.is_main:
            with replacing(wanted.out / "config.yaml") as beside:
                beside.write_text(config.dump())
        model = build_detector(config, backbone, wanted.out / "backbone.pth", wanted.seed, process)
        train(run, model, data.train)
        scores = evaluate(config, model, data, process, workers, wanted.evaluator)
        if scores is None:
            return None
        draw_predictions(config, model, data, wanted.out / PICTURE)
        draw_curves(scores.curves, wanted.out / CURVES)
    by = {"evaluator": wanted.evaluator} if config.MODEL.MASK_ON else {}
    return _finish(trial, data, scores, by)


def _finish(trial: Trial, data: DetectionData, scores: Scores, by: dict[str, str]) -> Result:
    """Write the result; what a reader must know goes into it and to stderr."""
    notes = list(scores.notes)
    expected = dict(zip(("train", "test"), trial.protocol.images, strict=True))
    if data.images != expected:
        notes.append(f"partial data: {data.images} images, {trial.protocol.name} expects {expected}")
    for note in notes:
        print(f"twinbench detection: {note}", file=sys.stderr)
    losses = [[line["iteration"], round(line["total_loss"], 4)] for line in read_log(trial.out / "log.jsonl")]
    return trial.finish(
        scores.metrics,
        data.images,
        curves={"total_loss": losses, **scores.curves},
        pictures=[PICTURE, CURVES],
        details={"per_class": scores.per_class, "notes": notes, "classes": list(data.classes), **by},
    )


def _data_sha256(root: Path, data: DetectionData) -> str:
    """Return the identity of the splits: paths below `root`, sizes, boxes and categories."""

    def items(records: list[dict[str, Any]]) -> Iterator[tuple[str, int, object]]:
        for record in records:
            path = record["file_name"]
            boxes = [[entry["category_id"], *map(float, entry["bbox"])] for entry in record["annotations"]]
            yield os.path.relpath(path, root), os.path.getsize(path), boxes

    return data_identity({"train": split_identity(items(data.train)), "test": split_identity(items(data.test))})


def _device(device: str) -> str:
    """Return the device with its model name, for the result."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device
