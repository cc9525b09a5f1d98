"""One dense trial, from what was asked to its result: data identified, recipe run, numbers written."""

import logging
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from twinbench.convert.backbone import Backbone
from twinbench.convert.finding.find import Wanted
from twinbench.convert.opening import open_backbone
from twinbench.data.identity import contents
from twinbench.data.pixels.matrix import MATRIX, draw_confusion
from twinbench.data.pixels.opened import PixelData, open_pixels
from twinbench.data.pixels.read import task_of
from twinbench.data.source import Source
from twinbench.dense.options import Options
from twinbench.dense.places import DenseError
from twinbench.protocols.house import resolved
from twinbench.protocols.identity import data_identity
from twinbench.protocols.schema import Protocol
from twinbench.report.asked import Asked, options_of
from twinbench.report.result import Result
from twinbench.report.trial import Trial, TrialBackbone, TrialData, expected_images, leaving_nothing
from twinbench.runtime.confusion import PixelScores
from twinbench.runtime.determinism import deterministic
from twinbench.runtime.distributed import from_main, require_equal
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process, current_process, loader_workers, process_group

log = logging.getLogger(__name__)
PICTURE = "predictions.png"
# Folders in OUT that only a run that goes on needs: packed records, counts of pixels, patches that are looked up or
# fitted, and what was fitted.
PASSING = DATA, COUNTS, CHOOSING, BANK, FITS = "data", "confusions", "choosing", "bank", "fits"


@dataclass(frozen=True)
class Run:
    """One trial with everything it works on."""

    trial: Trial
    backbone: Backbone
    data: PixelData
    process: Process
    workers: int
    options: Options

    @property
    def owner(self) -> dict[str, str]:
        """Whose counts of pixels may be gone on with."""
        patches = "kept" if self.options.cache else "own"  # a bank's round otherwise
        return {"trial": self.trial.description, "search": self.options.search, "patches": patches}

    @property
    def out(self) -> Path:
        """The trial's folder."""
        return self.trial.out

    @property
    def recipe(self) -> Any:
        """The recipe; each function that measures one knows its own kind."""
        return self.trial.protocol.recipe


@dataclass(frozen=True)
class Measured:
    """What a recipe's function found, in the main process."""

    metrics: dict[str, float]
    pictures: list[str]
    curves: dict[str, list[list[float]]]
    details: dict[str, Any]
    converged: bool = True
    notes: list[str] = field(default_factory=list[str])  # what a reader must know


def segmented(
    run: Run, scores: PixelScores, curves: dict[str, list[list[float]]], details: dict[str, Any], converged: bool = True
) -> Measured:
    """Return what a count of classes found, and draw the matrix of them."""
    draw_confusion(scores.table, scores.names, run.out / MATRIX)
    details = {"per_class": scores.per_class, "classes": list(run.data.classes)} | details
    return Measured(scores.metrics, [PICTURE, MATRIX], curves, details, converged, scores.notes)


def evaluate(asked: Asked, given: Mapping[str, Any]) -> Result | None:
    """Run a trial as `twinbench.evaluate` asks for it; `given` are fields of Options."""
    return measure(asked, options_of(Options, given))


def measure(asked: Asked, options: Options | None = None) -> Result | None:
    """Run the trial, or find its result already there; return it in the main process, None in the others.

    Raises StopAsked where a training was told to stop and has saved its state.
    """
    protocol, options = asked.protocol, options or Options()
    _require_fitting(protocol, options)
    process = current_process(asked.device)
    workers = loader_workers(process, asked.workers)
    with leaving_nothing(asked.out, DATA), deterministic(options.deterministic), process_group(process):
        backbone = open_backbone(asked.backbone, protocol.width, asked.convention, Wanted(asked.layout))
        backbone.require(protocol.recipe.takes, protocol.name, protocol.room)
        data_sha256 = from_main(process, lambda: _data_sha256(asked))
        trial = Trial(
            protocol,
            asked.method or backbone.source,
            asked.seed,
            TrialBackbone(backbone.sha256, backbone.architecture, backbone.convention.as_dict()),
            TrialData(protocol.data_set.name, data_sha256, limit=Source.of(asked.data).limit),
            process.device,
            asked.out,
        )
        log.info("backbone %s, %s, sha256 %s", backbone.source, backbone.architecture, backbone.sha256)
        result = from_main(process, trial.finished)
        if result is None:
            data = open_pixels(protocol, Source.of(asked.data), asked.out / DATA, process, data_sha256)
            require_equal(process, backbone=backbone.sha256, images=data.images)
            result = _run(Run(trial, backbone, data, process, workers, options))
    if not process.is_main:
        return None
    for name in PASSING:  # also after a kill between a result and this: a bank has gigabytes
        shutil.rmtree(asked.out / name, ignore_errors=True)
    return result


def _require_fitting(protocol: Protocol, options: Options) -> None:
    """Raise DenseError for options that the protocol, or one another, have no use for."""
    if options.cache and options.cache.is_file():
        raise DenseError(f"--cache {options.cache}: a file; expected a folder to keep patches in")
    if options.compress and not options.cache:
        raise DenseError("--compress: nothing is kept to compress; expected --cache DIR beside it")
    if options.compress and not protocol.recipe.shares_test_features:
        raise DenseError(
            f"--compress: {protocol.name} keeps no patches; expected one that does, such as ade20k-knn-capi, or no "
            "--compress"
        )
    if options.search != "exact" and not protocol.recipe.takes_search:
        raise DenseError(
            f"--search {options.search}: {protocol.name} looks nothing up; expected nearest patches, such as "
            "voc12-hummingbird, or no --search"
        )


def _run(run: Run) -> Result | None:
    """Measure and write the result (in the main process)."""
    function = resolved(run.recipe.measured_by)
    try:
        with network_precision("fp32", run.process.device):  # heads; a network may set its own
            measured: Measured | None = function(run)
    except torch.OutOfMemoryError as error:
        raise DenseError(_out_of_memory(run, error)) from None
    return None if measured is None else _finish(run, measured)


def _finish(run: Run, measured: Measured) -> Result:
    """Write the result; what a reader must know goes into it and to stderr."""
    data = run.data
    notes = [*data.notes, *measured.notes]
    expected = expected_images(run.trial.protocol)
    if expected and data.images != expected:
        notes.append(f"partial data: {data.images} images, {run.trial.protocol.name} expects {expected}")
    for note in notes:
        print(f"twinbench dense: {note}", file=sys.stderr)
    details = {"notes": notes} | run.backbone.details | measured.details
    if run.options.deterministic:
        details["deterministic"] = True
    if run.options.search != "exact":
        details["search"] = run.options.search
    return run.trial.finish(
        measured.metrics,
        data.images,
        curves=measured.curves,
        pictures=measured.pictures,
        details=details,
        converged=measured.converged,
    )


def _out_of_memory(run: Run, error: torch.OutOfMemoryError) -> str:
    """Return what to do where a GPU's memory is short."""
    said = str(error).partition(". ")[0]
    return (
        f"{run.process.device}: {run.trial.protocol.name} does not fit into its memory ({said}); end what else "
        "computes there, start more processes, or use a larger GPU"
    )


def _data_sha256(asked: Asked) -> str:
    """Return the identity of the splits, from the files themselves: a hint may be of before someone wrote over one."""
    data_set = asked.protocol.data_set
    splits = contents(
        data_set.layout, Source.of(asked.data), fraction=data_set.subset, task=task_of(data_set), anew=True
    )
    return data_identity({split: found.sha256 for split, found in splits.items()})
