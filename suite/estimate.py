"""What a suite may cost, and what each figure rests on: what like jobs took on such machines, else the suite's own
finished ones, else the limits asked for."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from twinbench.protocols.identity import NOT_RECORDED
from twinbench.protocols.schema import Protocol
from twinbench.suite import history
from twinbench.suite.backbone import read_made
from twinbench.suite.history import Run
from twinbench.suite.job import Job
from twinbench.suite.local import Machine
from twinbench.suite.proofs import RESNET_BYTES, RESNET_FEATURES, Size

MB = 1_000_000
SMALL_MB = 1
UNKNOWN = "nothing like it has run on such a machine"


@dataclass(frozen=True)
class Estimate:
    """Time and disk of one job, with where the time comes from."""

    hours: float | None  # None: nothing tells, and nothing limits it
    gpus: int  # that it holds; 0 on a machine without
    share: float  # of this machine, where it runs here; 1 on a cluster
    disk_bytes: int  # that it leaves
    basis: str
    is_limit: bool = False  # of time: nothing is known, but it will not take more

    @property
    def gpu_hours(self) -> float:
        """GPU-hours, as far as they are known."""
        return self.gpus * (self.hours or 0.0)


def estimate(
    jobs: Sequence[Job],
    machine: Machine | None = None,
    sizes: Mapping[str, Size] | None = None,
    spent: Mapping[str, float] | None = None,
) -> dict[str, Estimate]:
    """Return an estimate for each job by name, on this `machine` or else on the cluster.

    `sizes` are those of backbones from files, by method, see proofs.py; `spent` the seconds that finished jobs took.
    """
    past = _Past(history.runs(), machine)
    finished: dict[str, list[float]] = {}
    for job in jobs:
        if spent and job.name in spent:
            finished.setdefault(_kind(job), []).append(spent[job.name])
    disk = disk_bytes(jobs, sizes or {})
    medians = {kind: statistics.median(seconds) for kind, seconds in finished.items()}
    found: dict[str, Estimate] = {}
    for job in jobs:
        like = past.like(job)
        own = finished.get(_kind(job))
        hours: float | None = None
        if like:
            hours, basis = like
        elif own:
            hours, basis = medians[_kind(job)] / 3600, f"median of {len(own)} finished"
        elif machine and job.kind in ("convert", "report"):
            hours, basis = 0.0, "some seconds"
        elif machine:
            basis = UNKNOWN
        else:
            hours, basis = job.minutes / 60, f"limit of {job.minutes} min"
        slots = machine.slots_for(job) if machine else 0
        gpus = (slots if machine.has_gpus else 0) if machine else job.gpus
        share = slots / len(machine.slots) if machine else 1.0
        found[job.name] = Estimate(hours, gpus, share, disk[job.name], basis, is_limit=not (like or own or machine))
    return found


class _Past:
    """What is remembered of jobs like those of a suite."""

    def __init__(self, runs: Iterable[Run], machine: Machine | None):
        """Look among `runs` for those on machines like this `machine`, or else on Slurm's nodes."""
        self.machine = machine
        self._by_recipe: dict[str, list[Run]] = {}
        for run in runs:
            self._by_recipe.setdefault(run.recipe, []).append(run)
        self._found: dict[tuple[object, ...], tuple[float, str] | None] = {}

    def like(self, job: Job) -> tuple[float, str] | None:
        """Return the median hours of the runs of a job's recipe on its data, where it would run, as far as these are
        known, and what they are; None where there are none."""
        if _kind(job) not in self._by_recipe:
            return None
        made = read_made(job.backbone.out) if job.backbone else None
        architecture, data = made.architecture if made else "", job.parts().get("data", NOT_RECORDED)
        processes, threads = self.machine.processes_and_threads(job) if self.machine else (job.gpus, 0)
        question = (_kind(job), data, architecture, processes, threads, job.cluster.partition)
        if question not in self._found:
            like = [
                run
                for run in self._by_recipe[_kind(job)]
                if run.processes == processes
                and (not data or run.data == data)
                and (not architecture or run.architecture in ("", architecture))
                and self._is_here(run, threads, job.cluster.partition)
            ]
            hours = statistics.median(run.seconds for run in like) / 3600 if like else 0.0
            self._found[question] = (hours, _told(like)) if like else None
        return self._found[question]

    def _is_here(self, run: Run, threads: int, partition: str) -> bool:
        """Say whether a run was where a job would be: on such a machine, or in one of its partitions."""
        if self.machine:
            return run.node == history.node_kind(threads, with_gpus=self.machine.has_gpus)
        return run.partition in partition.split(",") if partition else bool(run.partition)


def _told(like: Sequence[Run]) -> str:
    """Say what an estimate from past runs rests on."""
    nodes = {run.node for run in like}
    where = next(iter(nodes)) if len(nodes) == 1 else f"{len(nodes)} kinds of nodes"
    return f"median of {len(like)} run{'s' * (len(like) > 1)} on {where}"


def disk_bytes(jobs: Sequence[Job], sizes: Mapping[str, Size]) -> dict[str, int]:
    """Return about how much each job leaves; features count for the first of the trials that share them."""
    found: dict[str, int] = {}
    shared: set[tuple[object, ...]] = set()
    for job in jobs:
        size, tested = _size(job, sizes), _tested_of(job)
        found[job.name] = _own_bytes(job, size) + (0 if job.features in shared else _feature_bytes(job, size))
        if job.protocol and tested not in shared:
            found[job.name] += _tested_bytes(job.protocol, size)
        shared |= {job.features, tested}
    return found


def passing_bytes(job: Job) -> int:
    """Return about how much more than it leaves a job takes while it runs: the state that it would go on from."""
    if not job.protocol:
        return 0
    return int(job.protocol.recipe.passing_megabytes * job.protocol.width**2 * MB)


def _size(job: Job, sizes: Mapping[str, Size]) -> Size:
    """Return the size of a job's backbone: from its file, or that of a ResNet-50 of the width that is said."""
    method = job.name.partition("/")[0]
    trained = job.recipe or (job.backbone.recipe if job.backbone else None)
    if method in sizes:
        return sizes[method]
    width = trained.width if trained else job.protocol.width if job.protocol else 1.0
    return _resnet(width)


@cache
def _resnet(width: float) -> Size:
    """Return the size of a ResNet-50 of some width."""
    return Size(int(RESNET_BYTES * width**2), int(RESNET_FEATURES * width))


def _feature_bytes(job: Job, size: Size) -> int:
    """Return the size of a trial's features, in float32."""
    features = job.protocol.recipe.features if job.protocol else None
    if not job.protocol or not features:
        return 0
    train, test = job.protocol.images
    drawn = job.protocol.recipe.drawn(job.protocol.classes)
    images = test + (min(train, drawn) if drawn else train)
    return int(4 * images * size.features * features.positions)


def _own_bytes(job: Job, size: Size) -> int:
    """Return about how much a job leaves for itself, from the sizes of the networks it saves."""
    if job.kind == "convert":
        return size.bytes
    if job.kind == "report":
        return SMALL_MB * MB
    if job.protocol:
        scale = job.protocol.width**2  # parameters grow with the square of the width
        return int((job.protocol.recipe.megabytes * scale + SMALL_MB) * MB)
    return _pretraining_bytes(job)


def _tested_of(job: Job) -> tuple[object, ...]:
    """Return what rows of tested images are of: those of whole splits are any seed's, of drawn images a trial's own."""
    if not job.protocol:
        return ()
    recipe, (train, test) = job.protocol.recipe, job.protocol.images
    images = recipe.tested_images(train, test)
    drawn = "" if images in (test, train + test) else job.name
    return (job.trial[0], job.protocol.data_set.folder, job.protocol.width, recipe.tested_rows, images, drawn)


def _tested_bytes(protocol: Protocol, size: Size) -> int:
    """Return the size of what is kept of the images that a trial tests many times, in float32."""
    rows = protocol.recipe.tested_rows
    if not rows:
        return 0
    return int(4 * protocol.recipe.tested_images(*protocol.images) * size.features * rows.positions)


def _pretraining_bytes(job: Job) -> int:
    """Return the size of a pretraining's files: weights and momentum of the network and its projector, in float32."""
    recipe = job.recipe
    assert recipe
    trunk = 23_508_032 * recipe.width**2
    sizes = [int(2048 * recipe.width), *recipe.projector]
    projector = sum(before * after for before, after in zip(sizes, sizes[1:], strict=False))
    return int(4 * (2 * (trunk + projector) + trunk))


def _kind(job: Job) -> str:
    """Return what jobs of about equal length have in common."""
    if job.protocol:
        return job.protocol.fingerprint
    return job.recipe.fingerprint if job.recipe else job.name
