"""The jobs of a suite and what waits for what: (pretrain | convert) -> trials -> report.

Of the SVM and k-NN trials that share features, the first extracts them; the others wait for it and read them. Linear
probes take those of the test images from the same place, or put them there.
Files are the truth: a job is done when what it makes is there and was made as the suite says now.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from twinbench.convert.named import stamp
from twinbench.protocols.house import with_settings
from twinbench.protocols.pretraining import RECIPES, PretrainRecipe
from twinbench.protocols.schema import Protocol
from twinbench.report.result import Result, read_result
from twinbench.suite.inputs import list_identity
from twinbench.suite.record import read_record
from twinbench.suite.suite import Measurement, Method, Suite, SuiteError

FEATURES = "features"  # the folder below a suite's root that trials on a frozen backbone keep its features in
SAMPLES_FROM_FILES = ("published", "from a file")  # in a result's details["samples"]; else they are drawn


@dataclass(frozen=True)
class Job:
    """One command of the suite. `name` is its folder below the suite's root."""

    name: str
    kind: Literal["pretrain", "convert", "trial"]
    argv: tuple[str, ...]  # after `twinbench`
    out: Path
    identity: str  # what a finished one must have been made as
    needs: tuple[str, ...] = ()  # names of jobs that must be done before
    after: tuple[str, ...] = ()  # names of jobs that should have ended before, well or not
    features: tuple[object, ...] = ()  # what its features are of; equal ones are extracted once
    gpus: int = 1  # processes, one on each GPU; 0: needs none
    nodes: int = 1
    minutes: int = 1440
    inputs: str = ""  # a trial's list or samples, a part of its identity
    protocol: Protocol | None = field(default=None, repr=False)
    recipe: PretrainRecipe | None = field(default=None, repr=False)
    length: tuple[str, int] = ("", 0)  # the field of its log that counts, and where it ends

    def result(self) -> Result | None:
        """Return the trial's result, if it is measured; ResultError if the file is damaged."""
        path = self.out / "result.json"
        return read_result(path) if path.exists() else None

    def done(self) -> bool:
        """True if the job's product is there; SuiteError if it was made as something else than the suite says now."""
        if self.kind == "trial":
            result = self.result()
            made_as = result and self._measured_as(result)
        else:
            record = read_record(self.out)
            made_as = (record.identity if record else "of unknown origin") if self.product.exists() else None
        if made_as and made_as != self.identity:
            raise SuiteError(
                f"{self.out}: holds {made_as}, but the suite now says {self.identity}; "
                "remove that folder, or give the method or the suite's root another name"
            )
        return made_as is not None

    def _measured_as(self, result: Result) -> str:
        """Return a finished trial's identity by its result; which files of samples it read is in its record."""
        details = result.details
        trial = result.protocol, result.fingerprint, result.method, result.seed
        inputs = list_identity(str(details["list_sha256"])) if self.inputs and "list_sha256" in details else ""
        told = trial_identity(*trial, details.get("source", ""), inputs)
        if details.get("samples") not in SAMPLES_FROM_FILES:
            return told
        record = read_record(self.out)
        known = record and record.identity.startswith(f"{told}, samples ")
        return record.identity if record and known else f"{told}, samples of unknown origin"

    @property
    def product(self) -> Path:
        """The file whose presence ends the job."""
        return self.out / ("result.json" if self.kind == "trial" else "resnet50.pth")


def build_jobs(suite: Suite) -> list[Job]:
    """Return every job of the suite, each after those it needs: backbones first, then the trials by protocol."""
    backbones = [job for method in suite.methods if (job := _backbone_job(suite, method))]
    return backbones + list(_trials(suite, {job.name: job for job in backbones}))


def trial_identity(protocol: str, fingerprint: str, method: str, seed: int, source: str = "", inputs: str = "") -> str:
    """Name a trial so that two of the same name may share a result.

    `source` is another library's model's identity, `inputs` that of a list or of samples. A backbone that is a job of
    its own answers for itself.
    """
    name = f"{method} on {protocol} ({fingerprint}), seed {seed}"
    return name + (f", from {source}" if source else "") + (f", {inputs}" if inputs else "")


def _backbone_job(suite: Suite, method: Method) -> Job | None:
    """Return the job that makes a method's backbone file; `random` and other libraries' models need none."""
    if method.pretrain:
        return _pretrain_job(suite, method)
    if method.checkpoint == "random" or method.model:
        return None
    name = f"{method.name}/backbone"
    out = suite.root / name
    identity = f"the backbone of {stamp(method.file) if method.file else method.checkpoint}"
    return Job(name, "convert", ("convert", method.checkpoint, str(out / "resnet50.pth")), out, identity, gpus=0)


def _pretrain_job(suite: Suite, method: Method) -> Job:
    """Return the job that trains a method."""
    plan = method.pretrain
    assert plan
    name = f"{method.name}/pretrain"
    out = suite.root / name
    recipe = with_settings(RECIPES[plan.recipe], dict(plan.settings))
    argv = ("pretrain", str(suite.data[plan.data]), str(out), "--recipe", plan.recipe, "--seed", str(plan.seed))
    identity = f"a pretraining on {plan.data} by {recipe.name} ({recipe.fingerprint}), seed {plan.seed}"
    cluster = suite.cluster
    return Job(
        name,
        "pretrain",
        (*argv, *_set_flags(plan.settings)),
        out,
        identity,
        gpus=cluster.gpus_per_node * cluster.nodes,
        nodes=cluster.nodes,
        minutes=cluster.minutes,
        recipe=recipe,
        length=("epoch", recipe.epochs),
    )


def _trials(suite: Suite, backbones: dict[str, Job]) -> Iterator[Job]:
    """Yield the trials, protocol by protocol, so that a column of the table fills before the next one begins."""
    first: dict[tuple[object, ...], str] = {}
    for measurement in suite.measurements:
        for method in suite.methods:
            backbone = backbones.get(f"{method.name}/pretrain") or backbones.get(f"{method.name}/backbone")
            _require_fit(suite, method, measurement.protocol)
            for seed in measurement.seeds:
                job = _trial(suite, method, measurement, seed, backbone)
                extracts = first.setdefault(job.features, job.name) if job.features else job.name
                yield job if extracts == job.name else replace(job, after=(extracts,))


def _require_fit(suite: Suite, method: Method, protocol: Protocol) -> None:
    """Raise SuiteError if the method is another library's model and the protocol is for ResNet-50s only."""
    if method.model and (why := protocol.recipe.resnet_only):
        raise SuiteError(
            f"{suite.file}: protocols.{protocol.name} {why}, but methods.{method.name} is {method.model.label}; give "
            "it a suite of its own, with protocols on a frozen backbone's pooled features, such as voc07-svm-gap"
        )


def _trial(suite: Suite, method: Method, measurement: Measurement, seed: int, backbone: Job | None) -> Job:
    """Return one seed of one protocol on one method."""
    protocol = measurement.protocol
    name = f"{method.name}/{protocol.name}/seed{seed}"
    out = suite.root / name
    weights = str(backbone.product) if backbone else method.checkpoint
    source = str(method.model) if method.model else ""
    argv = (protocol.room, protocol.name, weights, str(suite.data[protocol.data_set.folder]), str(out))
    partial = ("--partial",) if measurement.partial and protocol.room == "transfer" else ()  # detection always goes on
    flags = (*_set_flags(protocol.overrides), *measurement.inputs.flags)
    features = _features(method, protocol)
    shares = protocol.recipe.shares_test_features
    cache = ("--cache", str(suite.root / FEATURES)) if shares else ()  # a requeued trial has them, too
    return Job(
        name,
        "trial",
        (*argv, "--method", method.name, "--seed", str(seed), *flags, *partial, *cache),
        out,
        trial_identity(protocol.name, protocol.fingerprint, method.name, seed, source, measurement.inputs.identity),
        inputs=measurement.inputs.identity,
        needs=(backbone.name,) if backbone else (),
        features=features,
        gpus=measurement.gpus,
        minutes=measurement.minutes or suite.cluster.minutes,
        protocol=protocol,
        length=protocol.recipe.length(protocol.classes),
    )


def _features(method: Method, protocol: Protocol) -> tuple[object, ...]:
    """Return what the features of a trial depend on; nothing for a trial that computes them anew in each step."""
    features = protocol.recipe.features
    return (method.name, protocol.data_set.folder, protocol.width, features) if features else ()


def _set_flags(settings: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Return settings as the words of a command line."""
    return tuple(word for name, value in settings for word in ("--set", f"{name}={value}"))
