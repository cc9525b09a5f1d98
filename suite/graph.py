"""The jobs of a suite and what waits for what: (pretrain | convert) -> trials -> tests of their heads -> report.

Of the SVM and k-NN trials that share features, the first extracts them; the others wait for it and read them. Linear
probes take those of the test images from the same place, or put them there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial

from twinbench.protocols.house import uncollected, with_settings
from twinbench.protocols.pretraining import RECIPES
from twinbench.protocols.schema import Protocol
from twinbench.suite.backbone import PRODUCT
from twinbench.suite.expected import Expected
from twinbench.suite.job import REPORT, Job, tabled
from twinbench.suite.measurements import Measurement
from twinbench.suite.methods import Method
from twinbench.suite.resolved import FILE as SUBMITTED
from twinbench.suite.suite import Suite, SuiteError

FEATURES = "features"  # the folder below a suite's root that trials on a frozen backbone keep its features in


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


def _tabled(trials: Sequence[Job]) -> dict[str, str]:
    """Return what a table made now is made of."""
    return tabled((job, job.standing()) for job in trials)


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
