"""Which jobs are worth another try after they ended without a result, and what is done otherwise then."""

import contextlib
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twinbench.slurm import scheduler
from twinbench.slurm.ledger import Batch
from twinbench.slurm.parameters import size_of
from twinbench.slurm.queued import State
from twinbench.slurm.scheduler import Accounted, SchedulerError
from twinbench.suite.job import Job
from twinbench.suite.record import MEMORY, last_line, read_end

ENDS = {
    # how accounting's word for a job's end begins -> its cause
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "OUT_OF_ME": "memory",
    "PREEMPTED": "preempted",
}
DEPENDENCY = "dependency"  # Slurm cancelled it, because what it needs has failed
PREEMPTIONS = 20  # where a partition ends what it preempts, a job is submitted again so often
MORE_MEMORY = 2  # times what was too little
UNITS = {"K": 2**-20, "M": 2**-10, "G": 1, "T": 2**10}


@dataclass(frozen=True)
class Try:
    """How a job is submitted once more."""

    cause: str
    exclude: tuple[str, ...] = ()
    mem_gb: int = 0  # for each process; 0: as the suite says

    def adjusted(self, job: Job) -> Job:
        """Return the job as it is to be submitted."""
        cluster = job.cluster
        if self.exclude:
            theirs = [str(cluster.sbatch["exclude"])] if "exclude" in cluster.sbatch else []
            cluster = replace(cluster, sbatch={**cluster.sbatch, "exclude": ",".join([*theirs, *self.exclude])})
        if self.mem_gb:
            cluster = replace(cluster, mem_gb_per_gpu=self.mem_gb)
        return replace(job, cluster=cluster)


def find_tries(state: State, jobs: Sequence[Job]) -> dict[str, Try]:
    """Return how those of `jobs` that this round has submitted before are tried once more, where they are."""
    latest, found = state.ledger.latest(), {}
    ended = [(job, *latest[job.name]) for job in jobs if state.submissions(job.name)]
    history = _history(state, ended)
    for job, batch, slurm_id in ended:
        told = history.get(slurm_id)
        held = _is_held(state, job)
        cause = "node" if held else cause_of(job, slurm_id, told, batch.log(state.ledger.root, slurm_id))
        nodes = scheduler.last_nodes(slurm_id) if cause == "node" else ()
        asked = told.memory if told else ""
        again = next_try(job, state.submissions(job.name), cause, nodes, asked) if cause else None
        if again:
            found[job.name] = again
    return found


def _history(state: State, ended: Sequence[tuple[Job, Batch, str]]) -> dict[str, Accounted]:
    """Return what accounting says of jobs that have left the queue, or are held; nothing where there is none.

    Of one that has left just now, and has said nothing itself, accounting may still believe that it runs: it is asked
    again.
    """
    names = {slurm_id: batch.slurm_name for _, batch, slurm_id in ended}
    silent = [slurm_id for job, _, slurm_id in ended if not _is_held(state, job) and not read_end(job.out, slurm_id)]
    found: dict[str, Accounted] = {}
    with contextlib.suppress(SchedulerError):
        found = scheduler.history(names, set(names.values())) if names else {}
        if any(slurm_id not in found or found[slurm_id].state in scheduler.ALIVE for slurm_id in silent):
            time.sleep(scheduler.LAG_SECONDS)
            found = scheduler.history(names, set(names.values()))
    return found


def _is_held(state: State, job: Job) -> bool:
    """Say whether Slurm holds a job that a node could not start."""
    return job.name in state.stuck and state.stuck[job.name].reason.strip("()") == scheduler.LAUNCH_FAILED


def cause_of(job: Job, slurm_id: str, ended: Accounted | None, log: Path) -> str:
    """Return why a job that is not done has ended, as far as it is a cause that another try may cure."""
    record = read_end(job.out, slurm_id)
    if record:
        return record.cause
    state = ended.state if ended else ""
    if state == "CANCELLED" and job.needs:  # somebody's scancel says `CANCELLED by UID`
        return DEPENDENCY
    known = next((cause for start, cause in ENDS.items() if state.startswith(start)), "")
    return known or ("memory" if last_line(log, about=MEMORY) else "")


def next_try(job: Job, before: Sequence[Batch], cause: str, nodes: Sequence[str], asked: str) -> Try | None:
    """Return how to submit a job again that has ended of `cause` after the submissions `before`; None: it has failed.

    `nodes` are those it ran on, `asked` is the memory of a node that it was given, in Slurm's words.
    """
    last = before[-1]
    bound = {DEPENDENCY: math.inf, "preempted": PREEMPTIONS}.get(cause, job.cluster.retries.get(cause, 0))
    if sum(batch.cause == cause for batch in before) >= bound:
        return None
    if cause == "node":
        return Try(cause, tuple(dict.fromkeys([*last.exclude, *nodes])), last.mem_gb)
    if cause == "memory":
        had = last.mem_gb or job.cluster.mem_gb_per_gpu or _gigabytes(asked) / size_of(job.cluster, job).tasks
        return Try(cause, last.exclude, math.ceil(MORE_MEMORY * had)) if had else None
    return Try(cause, last.exclude, last.mem_gb)


def _gigabytes(text: str) -> float:
    """Return accounting's `500M` in GB; 0 where it says nothing."""
    match = re.fullmatch(r"([\d.]+)([KMGT])[nc]?", text)
    return float(match[1]) * UNITS[match[2]] if match else 0.0
