"""Which jobs are submitted now, and which of them together; nothing here speaks to Slurm."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from twinbench.suite.cluster import Cluster
from twinbench.suite.job import Job

ORDER = {"pretrain": 0, "convert": 1, "trial": 2}  # what others wait for, and what takes longest, goes first


@dataclass(frozen=True)
class Plan:
    """One submission to be: jobs of one size, and the jobs they wait for."""

    jobs: tuple[Job, ...]
    needs: tuple[str, ...]


def choose(
    jobs: Sequence[Job],
    missing: Collection[str],
    active: Collection[str],
    most: float,
    takes: Callable[[Cluster], bool],
) -> list[Job]:
    """Return those of `jobs` that there is room for, at most `most`; `missing` and `active` name all that is not done.

    `takes` counts a job of a cluster in, if Slurm has room for it. Jobs that could start at once go first: one that
    waits for another would hold a place for days. Nothing is chosen while what it needs is neither chosen nor active.
    """
    unsettled = {*missing, *active}
    chosen: dict[str, Job] = {}

    def waits(job: Job) -> bool:
        return any(name in unsettled for name in (*job.needs, *job.after))

    for job in sorted(jobs, key=lambda job: (waits(job), ORDER[job.kind])):
        if len(chosen) >= most:
            break
        if any(need in unsettled and need not in active and need not in chosen for need in job.needs):
            continue
        if takes(job.cluster):
            chosen[job.name] = job
    return list(chosen.values())


def plan_batches(
    jobs: Sequence[Job], largest_array: int = 1000, apart: Callable[[Job], object] = lambda _: None
) -> Iterator[Plan]:
    """Yield the submissions for `jobs`, each after those it waits for: backbones alone, trials of one size in arrays.

    Jobs for which `apart` differs are not in one array.
    """
    yield from (Plan((job,), job.needs) for job in jobs if job.kind != "trial")
    shapes: dict[int, str] = {}  # of clusters by their id: the trials of a protocol have the same one
    groups: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        if job.kind == "trial":
            shape = shapes.setdefault(id(job.cluster), repr(job.cluster))
            groups.setdefault((job.needs, job.after, job.gpus, job.minutes, shape, apart(job)), []).append(job)
    for members in groups.values():
        for start in range(0, len(members), largest_array):
            yield Plan(tuple(members[start : start + largest_array]), members[0].needs)
