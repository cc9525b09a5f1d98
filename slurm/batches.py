"""Which jobs are submitted together, and which submission waits for which; nothing here knows Slurm."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from twinbench.suite.graph import Job
from twinbench.suite.suite import Suite


@dataclass(frozen=True)
class Plan:
    """One submission to be: jobs of one size, and the jobs they wait for."""

    jobs: tuple[Job, ...]
    needs: tuple[str, ...]
    at_once: int = 0  # elements at once; 0: no bound
    # To keep to max_running:
    after: int | None = None  # position of the plan that must have ended before
    after_queued: bool = False  # and everything that is in the queue now


def plan_batches(suite: Suite, jobs: Sequence[Job], largest_array: int = 1000, queued: int = 0) -> list[Plan]:
    """Return the submissions for `jobs`, each after those it waits for; `queued` of the suite are on Slurm already.

    `max_running` is shared out to lanes. The batches of a lane run one after another; a backbone takes a place in the
    lane of the first trials that wait for it.
    """
    backbones = {job.name: job for job in jobs if job.kind != "trial"}
    groups: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        if job.kind == "trial":
            groups.setdefault((job.needs, job.after, job.gpus, job.minutes, repr(job.cluster)), []).append(job)
    arrays = [
        (needs, tuple(members[start : start + largest_array]))
        for (needs, *_), members in groups.items()
        for start in range(0, len(members), largest_array)
    ]
    bound = suite.cluster.max_running
    if not bound:
        return [Plan((job,), ()) for job in backbones.values()] + [Plan(members, needs) for needs, members in arrays]
    crowded = queued >= bound
    room = bound if crowded else bound - queued
    lanes = min(len(arrays), room)
    plans: list[Plan] = []
    last: dict[int, int] = {}  # of each lane
    arrays.sort(key=lambda array: not any(need in backbones for need in array[0]))  # what takes longest begins first
    for number, (needs, members) in enumerate(arrays):
        lane = number % lanes
        share = room // lanes + (lane < room % lanes)
        first = [Plan((backbones.pop(need),), ()) for need in needs if need in backbones]
        for plan in (*first, Plan(members, needs, share)):
            plans.append(replace(plan, after=last.get(lane), after_queued=crowded and lane not in last))
            last[lane] = len(plans) - 1
    return plans
