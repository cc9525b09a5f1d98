"""Which jobs are submitted together, and which submission waits for which; nothing here knows Slurm."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from slurm.graph import Job
from slurm.suite import Suite


@dataclass(frozen=True)
class Plan:
    """One submission to be: jobs of one size, and the jobs they wait for."""

    jobs: tuple[Job, ...]
    needs: tuple[str, ...]
    at_once: int = 0  # elements at once; 0: no bound
    after: int | None = None  # position of the plan that must have ended before, to keep to max_running


def plan_batches(suite: Suite, jobs: Sequence[Job], largest_array: int = 1000) -> list[Plan]:
    """Return the submissions for `jobs`, backbones first, with the suite's `max_running` kept over all arrays."""
    backbones = [Plan((job,), ()) for job in jobs if job.kind != "trial"]
    groups: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        if job.kind == "trial":
            groups.setdefault((job.needs, job.gpus, job.minutes), []).append(job)
    arrays = [
        (needs, tuple(members[start : start + largest_array]))
        for (needs, *_), members in groups.items()
        for start in range(0, len(members), largest_array)
    ]
    lanes = min(len(arrays), suite.cluster.max_running)
    plans = list(backbones)
    for number, (needs, members) in enumerate(arrays):
        if not lanes:
            plans.append(Plan(members, needs))
            continue
        share = suite.cluster.max_running // lanes + (number % lanes < suite.cluster.max_running % lanes)
        after = len(backbones) + number - lanes if number >= lanes else None
        plans.append(Plan(members, needs, share, after))
    return plans


def missing_jobs(jobs: Sequence[Job], active: Iterable[str] = ()) -> list[Job]:
    """Return the jobs that are neither done nor active; a backbone only if a missing trial needs it."""
    done = {job.name for job in jobs if job.done()}
    settled = done | set(active)
    trials = [job for job in jobs if job.kind == "trial" and job.name not in settled]
    wanted = {need for job in trials for need in job.needs} - settled
    return [job for job in jobs if job.name in wanted] + trials
