"""The jobs of a suite and what waits for what: (pretrain | convert) -> trials -> tests of their heads -> report.

Of the SVM and k-NN trials that share features, the first extracts them; the others wait for it and read them. Linear
probes take those of the test images from the same place, or put them there.
Files are the truth: a job is done when what it makes is there and was made as the suite says now; the report, when its
table was made of what the trials are now.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Literal

from twinbench.protocols.house import uncollected, with_settings
from twinbench.protocols.identity import NOT_RECORDED
from twinbench.protocols.pretraining import RECIPES, PretrainRecipe
from twinbench.protocols.schema import Protocol
from twinbench.protocols.text import TextError, read_json
from twinbench.report.files import absent
from twinbench.suite.backbone import PRODUCT, Made, read_made
from twinbench.suite.cluster import Cluster
from twinbench.suite.expected import Expected
from twinbench.suite.measured import read_measured
from twinbench.suite.measurements import Measurement
from twinbench.suite.methods import Method
from twinbench.suite.resolved import FILE as SUBMITTED
from twinbench.suite.standing import (
    NO_MORE,
    NOT_THERE,
    UNRECORDED,
    UNTOLD,
    Standing,
    as_identity,
    measured_causes,
    measured_from,
    origin,
    pretrained_of,
    recorded_parts,
)
from twinbench.suite.suite import Suite, SuiteError

RESULT = "result.json"
REPORT = "report"  # the name of the job that writes the table, and its folder
TABLE = "table.json"  # which says there what the table was made of
PRODUCTS = {"pretrain": PRODUCT, "convert": PRODUCT, "trial": RESULT, "report": TABLE}
BACKBONES = ("pretrain", "convert")  # the kinds of job that make one
FEATURES = "features"  # the folder below a suite's root that trials on a frozen backbone keep its features in


def nothing() -> dict[str, str]:
    """Say that a job is made of nothing in particular."""
    return {}


@dataclass(frozen=True)
class Job:
    """One command of the suite. `name` is its folder below the suite's root."""

    name: str
    kind: Literal["pretrain", "convert", "trial", "report"]
    argv: tuple[str, ...]  # after `twinbench`
    out: Path
    parts: Callable[[], Mapping[str, str]] = field(default=nothing, repr=False, compare=False)  # see expected.py
    needs: tuple[str, ...] = ()  # names of jobs that must be done before
    after: tuple[str, ...] = ()  # names of jobs that should have ended before, well or not
    features: tuple[object, ...] = ()  # what its features are of; equal ones are extracted once
    gpus: int = 1  # processes, one on each GPU; 0: needs none
    nodes: int = 1
    minutes: int = 1440
    cluster: Cluster = field(default_factory=Cluster, repr=False, compare=False)
    backbone: "Job | None" = field(default=None, repr=False, compare=False)  # that makes what a trial measures
    trial: tuple[str, str] = ("", "")  # method and protocol
    protocol: Protocol | None = field(default=None, repr=False)
    recipe: PretrainRecipe | None = field(default=None, repr=False)
    length: tuple[str, int] = ("", 0)  # the field of its log that counts, and where it ends

    def made_of(self) -> dict[str, str]:
        """Return the parts of the job's identity, with the backbone that a trial finds when it starts."""
        return self._made_from(self._made())

    def _made(self) -> Made | None:
        """Return what the job that a trial's backbone comes from has made."""
        return read_made(self.backbone.out) if self.backbone else None

    def _made_from(self, made: Made | None) -> dict[str, str]:
        """Return the parts of the job's identity, with the backbone `made`."""
        return {**self.parts(), "backbone": made.identity} if made else dict(self.parts())

    @property
    def identity(self) -> str:
        """What the job is made of as one text, for its record."""
        return json.dumps(self.made_of(), sort_keys=True)

    @cached_property
    def product(self) -> Path:
        """The file whose presence ends the job."""
        return self.out / PRODUCTS[self.kind]

    def is_there(self) -> bool:
        """Say whether the job's product is there, whatever it was made of; asked of thousands, without a Path each."""
        return os.path.exists(f"{self.out}/{PRODUCTS[self.kind]}")

    def done(self) -> bool:
        """True if the job's product is there and is what the suite says now."""
        return self.standing().done

    def standing(self) -> Standing:
        """Return how the job's product stands to what the suite says now."""
        if self.kind == "trial":
            return self._measured()
        if not self.product.exists():
            return NOT_THERE
        if self.kind == "report":
            return table_standing(self, self.parts())
        return Standing(True, self.origin())

    def origin(self) -> dict[str, str]:
        """Return what the backbone that this job once made was made of and should not have been."""
        made = read_made(self.out)
        theirs = pretrained_of(self.out) or (made.made_of if made else recorded_parts(self.out))
        return origin(self.parts(), theirs)

    def _measured(self) -> Standing:
        """Return how the trial's result stands; one that nobody can read is none, with a problem."""
        result = read_measured(f"{self.out}/{RESULT}")
        if not result:
            return NOT_THERE
        if result.problem:
            return Standing(False, problem=result.problem)
        made = self._made()
        parts = self._made_from(made)
        causes = measured_causes(result, as_identity(parts), made)
        if self.backbone and made and (older := self.backbone.origin()):
            causes["backbone"] = f"{self.backbone.name} is {'; '.join(older.values())}"
        if not causes:
            causes = measured_from(self.out, parts.get("checkpoint", ""))
        found = result.method, result.protocol
        if self.trial != ("", "") and found != self.trial:
            causes["trial"] = f"holds {found[0]} on {found[1]}"
        remarks = () if result.data else (UNRECORDED,)
        if result.data and parts.get("data") == NOT_RECORDED:
            remarks = (UNTOLD,)
        return Standing(True, causes, remarks, sha256=result.sha256)


@uncollected()
def build_jobs(suite: Suite) -> list[Job]:
    """Return every job of the suite, each after those it needs: backbones first, then the trials by protocol."""
    expected = Expected(suite)
    backbones = [job for method in suite.methods if (job := _backbone_job(suite, method, expected))]
    trials = list(_trials(suite, {job.name: job for job in backbones}, expected))
    return [*backbones, *trials, _report_job(suite, trials)]


def _report_job(suite: Suite, trials: Sequence[Job]) -> Job:
    """Return the job that writes the table when all trials have ended, well or not."""
    cluster = suite.report
    return Job(
        REPORT,
        "report",
        ("suite", "report", str(suite.root / SUBMITTED)),
        suite.root / REPORT,
        partial(_tabled, trials),
        after=tuple(job.name for job in trials),
        gpus=0,
        minutes=cluster.minutes,
        cluster=cluster,
    )


def table_standing(report: Job, parts: Mapping[str, str]) -> Standing:
    """Return how the report's table stands to what a table made now would be made of."""
    if not report.product.exists():
        return NOT_THERE
    return Standing(True) if table_parts(report.out) == parts else NO_MORE


def _tabled(trials: Sequence[Job]) -> dict[str, str]:
    """Return what a table made now is made of."""
    return tabled((job, job.standing()) for job in trials)


def tabled(trials: Iterable[tuple[Job, Standing]]) -> dict[str, str]:
    """Return what a table of trials is made of: every number, and every reason why there is none."""
    whole = hashlib.sha256()
    for job, standing in trials:
        told = standing.sha256 if standing.done else standing.reason or absent(job.out).reason
        whole.update(f"{job.name} {told}\n".encode())
    return {"trials": whole.hexdigest()}


def table_parts(out: Path) -> object:
    """Return what the table of the report in `out` was made of, as its file says; None where none can be read."""
    try:
        return read_json(out / TABLE)["made_of"]
    except (TextError, KeyError, TypeError):
        return None


def _backbone_job(suite: Suite, method: Method, expected: Expected) -> Job | None:
    """Return the job that makes a method's backbone file; `random` and other libraries' models need none."""
    if method.pretrain:
        return _pretrain_job(suite, method, expected)
    if method.checkpoint == "random" or method.model:
        return None
    name = f"{method.name}/backbone"
    out = suite.root / name
    argv = ("convert", method.checkpoint, str(out / PRODUCT), *method.flags)
    return Job(
        name,
        "convert",
        argv,
        out,
        cache(partial(expected.conversion, method)),
        gpus=0,
        minutes=method.cluster.minutes,
        cluster=method.cluster,
    )


def _pretrain_job(suite: Suite, method: Method, expected: Expected) -> Job:
    """Return the job that trains a method."""
    plan = method.pretrain
    assert plan
    name = f"{method.name}/pretrain"
    out = suite.root / name
    recipe = with_settings(RECIPES[plan.recipe], dict(plan.settings))
    argv = ("pretrain", str(suite.data[plan.data]), str(out), "--recipe", plan.recipe, "--seed", str(plan.seed))
    keeping = ("--keep-every", str(plan.keep_every)) if plan.keep_every else ()
    cluster = method.cluster
    return Job(
        name,
        "pretrain",
        (*argv, *_set_flags(plan.settings), *keeping, *_track_flags(suite)),
        out,
        cache(partial(expected.pretraining, method, recipe)),
        gpus=cluster.gpus_per_node * cluster.nodes,
        nodes=cluster.nodes,
        minutes=cluster.minutes,
        cluster=cluster,
        recipe=recipe,
        length=("epoch", recipe.epochs),
    )


def _trials(suite: Suite, backbones: dict[str, Job], expected: Expected) -> Iterator[Job]:
    """Yield the trials, protocol by protocol, so that a column of the table fills before the next one begins."""
    first: dict[tuple[object, ...], str] = {}  # by what their features are of: the trials that extract them
    # What tests a head comes after what trains it.
    for measurement in sorted(suite.measurements, key=lambda each: bool(each.protocol.recipe.trained_by)):
        for method in suite.methods:
            if not method.wants(measurement.protocol):
                continue
            backbone = backbones.get(f"{method.name}/pretrain") or backbones.get(f"{method.name}/backbone")
            _require_fit(suite, method, measurement.protocol)
            parts = cache(partial(expected.trials, method, measurement))
            yield from _cell(suite, method, measurement, backbone, parts, first)


def _require_fit(suite: Suite, method: Method, protocol: Protocol) -> None:
    """Raise SuiteError if the method is a library's model by its name and the protocol trains a C4 detector.

    What else a backbone may lack, its worker tells: a login node has no torch to ask.
    """
    if method.model and protocol.recipe.takes == "detector":
        raise SuiteError(
            f"{suite.file}: protocols.{protocol.name} trains a C4 detector, whose box head is a ResNet-50's last "
            f"stage, but methods.{method.name} is {method.model.label}; give it a suite of its own, with detectors on "
            "a pyramid, such as coco-mrcnn-fpn-1x"
        )


def _cell(
    suite: Suite,
    method: Method,
    measurement: Measurement,
    backbone: Job | None,
    parts: Callable[[], Mapping[str, str]],
    first: dict[tuple[object, ...], str],
) -> Iterator[Job]:
    """Yield the seeds of one protocol on one method. What they have in common is told once: there may be thousands.

    `first` are the trials that extract features by what these are of; the cell adds its own.
    """
    protocol = measurement.protocol
    folder = suite.root / method.name / protocol.name
    weights = str(backbone.product) if backbone else method.checkpoint
    argv = (protocol.room, protocol.name, weights, str(suite.data[protocol.data_set.folder]))
    complete = ("--partial",) if measurement.partial and protocol.room == "transfer" else ()  # detection always goes on
    own = tuple(word for path in suite.protocol_files for word in ("--protocols", str(path)))
    reading = () if backbone else method.flags
    flags = (*own, *_set_flags(protocol.overrides), *measurement.inputs.flags, *reading, *_track_flags(suite))
    shares = protocol.recipe.shares_test_features
    cached = ("--cache", str(suite.root / FEATURES)) if shares else ()  # a requeued trial has them, too
    told = (*flags, *complete, *cached)
    needs = (backbone.name,) if backbone else ()
    minutes = measurement.minutes or measurement.cluster.minutes
    length = protocol.recipe.length(protocol.classes)
    for seed in measurement.seeds:
        out = folder / f"seed{seed}"
        name = f"{method.name}/{protocol.name}/seed{seed}"
        features = _features(method, protocol, seed)
        extracts = first.setdefault(features, name) if features else name
        trains = f"{method.name}/{protocol.recipe.trained_by}/seed{seed}" if protocol.recipe.trained_by else ""
        head = ("--head", str(suite.root / trains)) if trains else ()
        yield Job(
            name,
            "trial",
            (*argv, str(out), "--method", method.name, "--seed", str(seed), *told, *head),
            out,
            partial(_with_seed, parts, seed),
            needs=(*needs, trains) if trains else needs,
            after=() if extracts == name else (extracts,),
            features=features,
            gpus=measurement.gpus,
            minutes=minutes,
            cluster=measurement.cluster,
            backbone=backbone,
            trial=(method.name, protocol.name),
            protocol=protocol,
            length=length,
        )


def _with_seed(parts: Callable[[], Mapping[str, str]], seed: int) -> dict[str, str]:
    """Return the parts of a trial."""
    return {**parts(), "seed": str(seed)}


def _features(method: Method, protocol: Protocol, seed: int) -> tuple[object, ...]:
    """Return what the features of a trial depend on; nothing for a trial that computes them anew in each step."""
    features = protocol.recipe.features
    if not features:
        return ()
    drawn = protocol.recipe.drawn(protocol.classes)
    images = (drawn, seed) if drawn else ()  # only of what the seed draws
    return (method.name, protocol.data_set.folder, protocol.width, features, *images)


def _track_flags(suite: Suite) -> tuple[str, ...]:
    """Return whom jobs show their numbers to, as the words of a command line."""
    return ("--track", ",".join(suite.track)) if suite.track else ()


def _set_flags(settings: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return settings as the words of a command line."""
    return tuple(word for name, value in settings for word in ("--set", f"{name}={value}"))
