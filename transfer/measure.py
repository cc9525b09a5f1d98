"""One classification trial, from what was asked to its result: data identified, recipe run, numbers written."""

import logging
import shutil
from collections.abc import Mapping
from typing import Any

import torch

from twinbench.convert.backbone import Backbone
from twinbench.convert.finding.find import Wanted
from twinbench.convert.opening import open_backbone
from twinbench.data.content import require_content
from twinbench.data.identity import identify
from twinbench.data.labelled import told_left_out
from twinbench.data.layouts import LabelledImages
from twinbench.data.required import read_trial_data
from twinbench.data.samples import DRAWN, PUBLISHED, Samples, TargetsError, fitting, read_samples, samples_sha256
from twinbench.data.source import Source
from twinbench.protocols.house import UserError, resolved, setting_values
from twinbench.protocols.identity import SAMPLES, TRAINED_ON, data_identity
from twinbench.protocols.schema import Protocol
from twinbench.report.asked import Asked, options_of
from twinbench.report.result import Result
from twinbench.report.trial import Trial, TrialBackbone, TrialData, leaving_nothing
from twinbench.runtime.determinism import deterministic
from twinbench.runtime.distributed import from_main, require_equal
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process, current_process, loader_workers, process_group
from twinbench.transfer.kept_heads import Head, open_head, require_same_head
from twinbench.transfer.options import Options
from twinbench.transfer.run import Run

log = logging.getLogger(__name__)
FEATURES = "features"  # the folder below OUT that a trial without --cache keeps its features in until it ends


class TransferError(UserError):
    """Data that does not belong to the protocol."""


def evaluate(asked: Asked, given: Mapping[str, Any]) -> Result | None:
    """Run a trial as `twinbench.evaluate` asks for it; `given` are fields of Options."""
    return measure(asked, options_of(Options, given))


def measure(asked: Asked, options: Options | None = None) -> Result | None:
    """Run the trial, or find its result already there; return it in the main process, None in the others."""
    protocol, options = asked.protocol, options or Options()
    _refuse_foreign_options(protocol, options)
    process = current_process(asked.device)
    workers = loader_workers(process, asked.workers)
    # The group before anything is read: what one process cannot read ends all.
    with leaving_nothing(asked.out), deterministic(options.deterministic), process_group(process):
        backbone = _open(asked)
        head = open_head(asked, options.head, backbone)
        data = _Data(asked, options, head)
        splits = from_main(process, data.splits)  # it asks for the size of every file: once is enough
        identity = TrialData(protocol.data_set.name, data_identity(splits), splits, data.source.limit)
        trial = Trial(
            protocol,
            asked.method or backbone.source,
            asked.seed,
            TrialBackbone(backbone.sha256, backbone.architecture, backbone.convention.as_dict()),
            identity,
            process.device,
            asked.out,
        )
        log.info("backbone %s, %s, sha256 %s", backbone.source, backbone.architecture, backbone.sha256)
        log.info("data %s at %s, layout %s, identity %s", identity.name, asked.data, data.layout, identity.sha256)
        result = from_main(process, trial.finished)
        if result:
            if head:
                require_same_head(result, head, asked.out)
            log.info("%s: finished before", asked.out)
        else:
            require_equal(process, backbone=backbone.sha256, images=data.counts, head=head.sha256 if head else "")
            result = _run(trial, backbone, data, process, workers)
    if result and process.is_main and not options.cache:  # also of a trial that was killed right after its result
        shutil.rmtree(asked.out / FEATURES, ignore_errors=True)
    return result if process.is_main else None


class _Data:
    """The images and labels of a trial, and what else of others' making it rests on."""

    def __init__(self, asked: Asked, options: Options, head: Head | None = None) -> None:
        self.protocol, self.source, self.options = asked.protocol, Source.of(asked.data), options
        self.head = head
        self.samples: Samples | None = read_samples(options.targets) if options.targets else None
        self.images = read_trial_data(asked.protocol, self.source, options.list)
        self.source = self.images.source  # with the name of a validation split
        self.layout, self.train, self.test = self.images.layout, self.images.train, self.images.test
        for split, images in (("train", self.train), ("test", self.test)):
            if left_out := told_left_out(images):
                log.warning("%s: of the %s split left out: %s", self.source, split, left_out)

    @property
    def counts(self) -> dict[str, int]:
        """How many images each split has; a test of a head has no training images."""
        test = {"test": len(self.test.paths)}
        return test if self.protocol.recipe.tests_only else {"train": len(self.train.paths)} | test

    def splits(self) -> dict[str, str]:
        """Return what the data identity is made of: both splits, and samples that come from files.

        Of a test of a head: the test split, and what the head was trained on.
        """
        if self.protocol.recipe.tests_only:
            splits = identify(self.layout, self.source, task="tested", read={"test": self.test}, anew=True)
            if self.head and self.head.data_sha256:
                splits[TRAINED_ON] = self.head.data_sha256
            return splits
        read = {"train": self.train, "test": self.test}
        subset = {"fraction": self.protocol.data_set.subset, "subset": self.options.list}
        task = "classification" if self.images.validation is None else "validated"
        splits = identify(self.layout, self.source, **subset, task=task, read=read, anew=True)
        if self.samples is not None:
            splits[SAMPLES] = samples_sha256(self.samples)
        return splits


def _run(trial: Trial, backbone: Backbone, data: _Data, process: Process, workers: int) -> Result | None:
    """Read the images, run the recipe and write the result (in the main process)."""
    listed = data.images.list_details(partial=data.options.partial)
    data.images.require_complete(partial=data.options.partial)
    for what, images in (("training", data.train), ("test", data.test)):
        require_content(data.source, what, images.paths)
    log.info("%d training and %d test images on %s", len(data.train.paths), len(data.test.paths), process.device)
    train, test, options = data.train, data.test, data.options
    run = Run(
        trial,
        backbone,
        train,
        test,
        process,
        workers,
        options.cache or trial.out / FEATURES,
        options.partial or data.source.limit > 0,
        options.solver,
        *_fitting_samples(data, train),
        validation=data.images.validation,
        head=data.head,
    )
    function = resolved(trial.protocol.recipe.measured_by)
    try:
        with network_precision("fp32", process.device):  # solvers and neighbours; a network may set its own
            found = function(run)
    except torch.OutOfMemoryError as error:
        raise TransferError(_out_of_memory(run, error)) from None
    if found is None:
        return None
    found["details"] = found.get("details", {}) | listed | backbone.details
    if options.deterministic:
        found["details"]["deterministic"] = True
    result = trial.finish(images=data.counts, **found)
    for path in run.passing:
        path.unlink(missing_ok=True)
    return result


def _out_of_memory(run: Run, error: torch.OutOfMemoryError) -> str:
    """Return what to do where a GPU's memory does not hold a trial, as a batch of 256 images that 16 GB do not."""
    said = str(error).partition(". ")[0]
    parts = ", start more processes, or take a batch in parts with --set accumulate=2"
    trained = "accumulate" in setting_values(run.recipe)
    return (
        f"{run.process.device}: {run.trial.protocol.name} does not fit into its memory ({said}); end what else "
        f"computes there{parts if trained else ''}, or use a larger GPU"
    )


def _fitting_samples(data: _Data, train: LabelledImages) -> tuple[Samples | None, str]:
    """Return the low-shot samples of others, proven against the labels, and where they come from."""
    path = data.options.targets
    if data.samples is None or path is None:
        return None, DRAWN
    recipe: Any = data.protocol.recipe  # of a kind that takes samples
    told = "published" if samples_sha256(data.samples) == PUBLISHED else "from a file"
    return fitting(data.samples, path, train, recipe.shots, recipe.samples), told


def _refuse_foreign_options(protocol: Protocol, options: Options) -> None:
    """Raise where an option has nothing to act on."""
    if options.list and protocol.data_set.subset == "100%":
        raise TransferError(f"--list {options.list}: {protocol.name} trains on every image; leave it out")
    if options.targets and not protocol.recipe.takes_samples:
        raise TargetsError(
            f"--targets {options.targets}: {protocol.name} takes no samples that others have drawn; leave it out"
        )


def _open(asked: Asked) -> Backbone:
    """Open the backbone and have it refuse what its architecture lacks."""
    backbone = open_backbone(asked.backbone, asked.protocol.width, asked.convention, Wanted(asked.layout))
    backbone.require(asked.protocol.recipe.takes, asked.protocol.name, asked.protocol.room)
    return backbone
