"""What a suite may cost, and what each figure rests on: the suite's own finished trials, else the limits asked for."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from twinbench.suite.graph import Job
from twinbench.suite.record import read_record

MB = 1_000_000
# What one job leaves on disk at full width, in MB.
BACKBONE_MB = 95  # 23.5 million float32 parameters and their statistics
SMALL_MB = 1


@dataclass(frozen=True)
class Estimate:
    """GPU-hours and disk of one job, with where the hours come from."""

    gpu_hours: float
    disk_bytes: int
    basis: str


def estimate(jobs: Sequence[Job]) -> dict[str, Estimate]:
    """Return an estimate for each job by name: the median of finished trials of its protocol, or its time limit."""
    seconds: dict[str, list[float]] = {}
    for job in jobs:
        record = read_record(job.out) if job.product.exists() else None
        if record and record.spent_seconds:
            seconds.setdefault(_kind(job), []).append(record.spent_seconds)
    medians = {kind: statistics.median(measured) for kind, measured in seconds.items()}
    found: dict[str, Estimate] = {}
    disk = disk_bytes(jobs)
    for job in jobs:
        measured = seconds.get(_kind(job), [])
        hours = medians[_kind(job)] / 3600 if measured else job.minutes / 60
        basis = f"median of {len(measured)} finished" if measured else f"limit of {job.minutes} min"
        found[job.name] = Estimate(job.gpus * hours, disk[job.name], basis)
    return found


def disk_bytes(jobs: Sequence[Job]) -> dict[str, int]:
    """Return about how much each job writes; features count for the first of the trials that share them."""
    found: dict[str, int] = {}
    shared: set[tuple[object, ...]] = set()
    for job in jobs:
        found[job.name] = _own_bytes(job) + (0 if job.features in shared else _feature_bytes(job))
        shared.add(job.features)
    return found


def _feature_bytes(job: Job) -> int:
    """Return the size of a trial's features, in float32."""
    features = job.protocol.recipe.features if job.protocol else None
    if not job.protocol or not features:
        return 0
    return int(4 * sum(job.protocol.images) * 2048 * job.protocol.width * features.positions)


def _own_bytes(job: Job) -> int:
    """Return about how much a job writes for itself, from the sizes of the networks it saves."""
    if job.kind == "convert":
        return BACKBONE_MB * MB
    if job.kind == "report":
        return SMALL_MB * MB
    if job.protocol:
        scale = job.protocol.width**2  # parameters grow with the square of the width
        return int((job.protocol.recipe.megabytes * scale + SMALL_MB) * MB)
    return _pretraining_bytes(job)


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
