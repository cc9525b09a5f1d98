"""One detection trial from end to end: data, backbone, training, evaluation, picture, result."""

import itertools
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import torch

from twinbench.convert.backbone import Backbone
from twinbench.convert.finding.find import Wanted
from twinbench.convert.opening import open_backbone
from twinbench.data.identity import contents
from twinbench.data.source import Source
from twinbench.detection.config.backbone import yaml_of
from twinbench.detection.evaluation.scores import Scores
from twinbench.detection.kinds import DATA, Measured, Opened, Work
from twinbench.detection.models.roialign import repeatable_roi_align
from twinbench.detection.options import BEFORE_TRAINING, Options
from twinbench.detection.training.step import HALVES, Steps
from twinbench.detection.training.train import FINAL, Run, train
from twinbench.detection.work import WORK
from twinbench.protocols.house import replacing
from twinbench.protocols.identity import data_identity
from twinbench.report.asked import Asked, options_of
from twinbench.report.result import Result
from twinbench.report.trial import Trial, TrialBackbone, TrialData, TrialError, expected_images, leaving_nothing
from twinbench.runtime.determinism import deterministic
from twinbench.runtime.distributed import from_main, require_equal
from twinbench.runtime.download import digest
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process, current_process, loader_workers, process_group
from twinbench.runtime.progress import read_log


def evaluate_protocol(asked: Asked, given: Mapping[str, Any]) -> Result | None:
    """Run a trial as `twinbench.evaluate` asks for it; `given` are fields of Options."""
    with leaving_nothing(asked.out, *BEFORE_TRAINING):
        return measure(asked, options_of(Options, given))


def measure(asked: Asked, options: Options | None = None) -> Result | None:
    """Run the trial, or find its result already there; return it in the main process, None in the others.

    Raises StopAsked where the training was told to stop and has saved its state.
    """
    options = options or Options()
    recipe: Any = asked.protocol.recipe  # of one of this room's kinds
    work = WORK[recipe.kind]
    process = current_process(asked.device)
    workers = loader_workers(process, asked.workers)
    # tf32 is what PyTorch does by itself on GPUs that have it, convolutions only: how others run Detectron2 there.
    # Halves are training's alone, each forward pass by itself, and tests are in float32, as Detectron2 has them.
    whole = "fp32" if recipe.precision in HALVES else recipe.precision
    precision = network_precision(whole, process.device, exact_products=True)
    Steps.of(recipe).require_runs_on(process, recipe.batch_size)
    repeatable = options.deterministic
    with deterministic(repeatable), repeatable_roi_align(repeatable), precision, process_group(process):
        backbone = open_backbone(asked.backbone, asked.protocol.width, asked.convention, Wanted(asked.layout))
        backbone.require(recipe.takes, asked.protocol.name, asked.protocol.room)
        data_sha256 = from_main(process, lambda: _data_sha256(work, asked))
        trial = Trial(
            asked.protocol,
            asked.method or backbone.source,
            asked.seed,
            TrialBackbone(backbone.sha256, backbone.architecture, backbone.convention.as_dict()),
            TrialData(asked.protocol.data_set.name, data_sha256, limit=Source.of(asked.data).limit),
            _device(process.device),
            asked.out,
        )
        result = from_main(process, trial.finished)
        if result is None:
            data = work.open_data(asked, process, data_sha256)
            require_equal(process, backbone=backbone.sha256, images=data.images)
            try:
                result = _run(work, trial, backbone, data, process, workers, options)
            except torch.OutOfMemoryError as error:
                raise TrialError(_out_of_memory(work, recipe, process, error)) from None
    return result if process.is_main else None


def _run(
    work: Work, trial: Trial, backbone: Backbone, data: Opened, process: Process, workers: int, options: Options
) -> Result | None:
    """Train, measure and write the result (in the main process)."""
    recipe, out = trial.protocol.recipe, trial.out
    config = work.configure(trial.protocol, data, backbone, process.device)
    if process.is_main:
        with replacing(out / "config.yaml") as beside:
            beside.write_text(yaml_of(config))
    model = work.build(config, backbone, out / "backbone.pth", trial.seed, process)
    reader, steps = work.reader(recipe, config, data), Steps.of(recipe)
    run = Run(config, trial.identity, process, out, workers, options.checkpoint_seconds, reader, steps)
    train(run, model, data.train)
    final = from_main(process, lambda: digest(out / FINAL, "sha256"))
    owner = {**trial.identity.as_dict(), "model": final}
    measured = work.measure(recipe, run, model, data, owner, options)
    if measured is None:
        return None
    result = _finish(trial, backbone, data, measured, options)
    for part in (measured.folder, DATA):  # what a killed run would have gone on from
        shutil.rmtree(out / part)
    return result


def _out_of_memory(work: Work, recipe: Any, process: Process, error: torch.OutOfMemoryError) -> str:
    """Return what to do where a GPU's memory is short: the recipes share their batch among 4 or 8 of them."""
    said = str(error).partition(". ")[0]
    share = work.share(recipe, recipe.batch_size // process.world)
    return (
        f"{process.device}: {share} do not fit into its memory ({said}); end what "
        "else computes there, start more processes, or take fewer images with --scale-to N"
    )


def _finish(trial: Trial, backbone: Backbone, data: Opened, measured: Measured, options: Options) -> Result:
    """Write the result; what a reader must know goes into it and to stderr."""
    scores: Scores = measured.scores
    notes = [*data.notes, *scores.notes]
    expected = expected_images(trial.protocol)
    if expected and data.images != expected:
        notes.append(f"partial data: {data.images} images, {trial.protocol.name} expects {expected}")
    for note in notes:
        print(f"twinbench detection: {note}", file=sys.stderr)
    log = list(read_log(trial.out / "log.jsonl"))
    losses = [[line["iteration"], round(line["total_loss"], 4)] for line in log if "total_loss" in line]
    details = {"per_class": scores.per_class, "notes": notes, "classes": list(data.classes)}
    details |= backbone.details | measured.details
    if options.deterministic:
        details["deterministic"] = True
    moved = [line for line in log if "began_with" in line]
    if moved:
        told = [moved[0]["began_with"], *(line["goes_on_with"] for line in moved)]  # once more at each resumption
        details["processes"] = [number for number, _ in itertools.groupby(told)]
    return trial.finish(
        scores.metrics,
        data.images,
        curves={"total_loss": losses, **scores.curves},
        pictures=measured.pictures,
        details=details,
    )


def _data_sha256(work: Work, asked: Asked) -> str:
    """Return the identity of the splits, from the files themselves: a hint may be of before someone wrote over one."""
    fraction = asked.protocol.data_set.subset
    splits = contents(work.layout(asked), Source.of(asked.data), fraction=fraction, task=work.task, anew=True)
    return data_identity({split: found.sha256 for split, found in splits.items()})


def _device(device: str) -> str:
    """Return the device with its model name, for the result."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device
