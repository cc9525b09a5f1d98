"""One detection trial from end to end: data, backbone, training, evaluation, picture, result."""

import shutil
import sys
from collections.abc import Mapping
from typing import Any

import torch

from twinbench.convert.backbone import Backbone
from twinbench.convert.finding.find import Wanted
from twinbench.convert.opening import open_backbone
from twinbench.data.identity import contents
from twinbench.data.objects.find import objects_layout
from twinbench.data.source import Source
from twinbench.detection.config.backbone import yaml_of
from twinbench.detection.config.detector import detectron2_config
from twinbench.detection.config.names import catalogue_names, tell_catalogue
from twinbench.detection.datasets import DetectionData, open_data
from twinbench.detection.evaluation.evaluate import scored
from twinbench.detection.evaluation.predictions import FILE as PREDICTIONS
from twinbench.detection.evaluation.predictions import predict_all, write_results
from twinbench.detection.evaluation.scores import Scores
from twinbench.detection.models.roialign import repeatable_roi_align
from twinbench.detection.models.weights import build_detector
from twinbench.detection.options import Options
from twinbench.detection.pictures import draw_curves, draw_predictions
from twinbench.detection.training.train import FINAL, Run, train
from twinbench.protocols.house import replacing
from twinbench.protocols.identity import data_identity
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.report.asked import Asked, options_of
from twinbench.report.result import Result
from twinbench.report.trial import Trial, TrialBackbone, TrialData, TrialError, expected_images
from twinbench.runtime.determinism import deterministic
from twinbench.runtime.distributed import from_main, require_equal
from twinbench.runtime.download import digest
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process, current_process, loader_workers, process_group
from twinbench.runtime.progress import read_log

PICTURE, CURVES = "predictions.png", "precision-recall.png"


def evaluate_protocol(asked: Asked, given: Mapping[str, Any]) -> Result | None:
    """Run a trial as `twinbench.evaluate` asks for it; `given` are fields of Options."""
    return measure(asked, options_of(Options, given))


def measure(asked: Asked, options: Options | None = None) -> Result | None:
    """Run the trial, or find its result already there; return it in the main process, None in the others.

    Raises StopAsked where the training was told to stop and has saved its state.
    """
    options = options or Options()
    recipe = asked.protocol.recipe
    assert isinstance(recipe, DetectionRecipe)
    process = current_process(asked.device)
    workers = loader_workers(process, asked.workers)
    # tf32 is what PyTorch does by itself on GPUs that have it, convolutions only: how others run Detectron2 there.
    precision = network_precision(recipe.precision, process.device, exact_products=True)
    repeatable = options.deterministic
    with deterministic(repeatable), repeatable_roi_align(repeatable), precision, process_group(process):
        backbone = open_backbone(asked.backbone, asked.protocol.width, asked.convention, Wanted(asked.layout))
        backbone.require(recipe.takes, asked.protocol.name)
        data_sha256 = from_main(process, lambda: _data_sha256(asked))
        trial = Trial(
            asked.protocol,
            asked.method or backbone.source,
            asked.seed,
            TrialBackbone(backbone.sha256, backbone.architecture, backbone.convention.as_dict()),
            TrialData(asked.protocol.data_set.name, data_sha256),
            _device(process.device),
            asked.out,
        )
        result = from_main(process, trial.finished)
        if result is None:
            data = open_data(asked.protocol, Source.of(asked.data), asked.out / "data", process, data_sha256)
            require_equal(process, backbone=backbone.sha256, images=data.images)
            try:
                result = _run(trial, backbone, data, process, workers, options)
            except torch.OutOfMemoryError as error:
                raise TrialError(_out_of_memory(recipe, process, error)) from None
    return result if process.is_main else None


def _run(
    trial: Trial, backbone: Backbone, data: DetectionData, process: Process, workers: int, options: Options
) -> Result | None:
    """Train, measure and write the result (in the main process)."""
    recipe, out = trial.protocol.recipe, trial.out
    assert isinstance(recipe, DetectionRecipe)
    names = catalogue_names(trial.protocol.data_set)
    tell_catalogue(names, data.classes, data.keypoints)
    config = detectron2_config(
        recipe,
        classes=len(data.classes),
        width=backbone.width,
        convention=backbone.convention,
        mask_format=data.mask_format,
        datasets=names,
        device=process.device,
        network=backbone.network,
    )
    if process.is_main:
        with replacing(out / "config.yaml") as beside:
            beside.write_text(yaml_of(config))
    model = build_detector(config, backbone, out / "backbone.pth", trial.seed, process)
    train(Run(config, trial.identity, process, out, workers, options.checkpoint_seconds), model, data.train)
    final = from_main(process, lambda: digest(out / FINAL, "sha256"))
    owner = {**trial.identity.as_dict(), "model": final}
    predictions = predict_all(config, model, data.test, out / "predictions", owner, process, workers)
    if not process.is_main:
        return None
    write_results(out / PREDICTIONS, predictions, data.test)
    scores = scored(data, predictions, recipe.measures, options.evaluator)
    draw_predictions(config, model, data, out / PICTURE)
    draw_curves(scores.curves, out / CURVES)
    result = _finish(trial, backbone, data, scores, options)
    for part in ("predictions", "data"):  # what a killed run would have gone on from
        shutil.rmtree(out / part)
    return result


def _out_of_memory(recipe: DetectionRecipe, process: Process, error: torch.OutOfMemoryError) -> str:
    """Return what to do where a GPU's memory is short: the recipes put 2 of 16 images on each of 8."""
    said = str(error).partition(". ")[0]
    share = recipe.batch_size // process.world
    return (
        f"{process.device}: {share} images of up to {recipe.max_size} px do not fit into its memory ({said}); end what "
        "else computes there, start more processes, or take fewer images with --scale-to N"
    )


def _finish(trial: Trial, backbone: Backbone, data: DetectionData, scores: Scores, options: Options) -> Result:
    """Write the result; what a reader must know goes into it and to stderr."""
    notes = [*data.notes, *scores.notes]
    expected = expected_images(trial.protocol)
    if expected and data.images != expected:
        notes.append(f"partial data: {data.images} images, {trial.protocol.name} expects {expected}")
    for note in notes:
        print(f"twinbench detection: {note}", file=sys.stderr)
    losses = [[line["iteration"], round(line["total_loss"], 4)] for line in read_log(trial.out / "log.jsonl")]
    details = {"per_class": scores.per_class, "notes": notes, "classes": list(data.classes)}
    details |= backbone.details
    if data.rule != "voc-11-points" and data.rule != "voc-area":
        details["evaluator"] = options.evaluator
    if options.deterministic:
        details["deterministic"] = True
    return trial.finish(
        scores.metrics,
        data.images,
        curves={"total_loss": losses, **scores.curves},
        pictures=[PICTURE, CURVES],
        details=details,
    )


def _data_sha256(asked: Asked) -> str:
    """Return the identity of the splits, from the files themselves: a hint may be of before someone wrote over one."""
    source = Source.of(asked.data)
    splits = contents(objects_layout(asked.protocol.data_set.layout, source), source, task="detection", anew=True)
    return data_identity({split: found.sha256 for split, found in splits.items()})


def _device(device: str) -> str:
    """Return the device with its model name, for the result."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device
