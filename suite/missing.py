"""What of a suite is still to be done."""

from collections.abc import Iterable, Sequence

from twinbench.suite.graph import Job


def missing_jobs(jobs: Sequence[Job], active: Iterable[str] = ()) -> list[Job]:
    """Return the jobs that are neither done nor active; a backbone only if a missing trial needs it."""
    done = {job.name for job in jobs if job.done()}
    settled = done | set(active)
    trials = [job for job in jobs if job.kind == "trial" and job.name not in settled]
    needed: set[str] = set()
    for trial in trials:
        needed.update(trial.needs)
    backbones = [job for job in jobs if job.name in needed - settled]
    return backbones + trials
