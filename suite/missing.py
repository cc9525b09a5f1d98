"""What of a suite is still to be done."""

from collections.abc import Iterable, Sequence

from twinbench.suite.job import Job


def missing_jobs(jobs: Sequence[Job], active: Iterable[str] = ()) -> list[Job]:
    """Return the jobs that are neither done nor active: a backbone only if a missing trial needs it, and the report,
    which tells of them all, even if its table is of what they are now."""
    done = {job.name for job in jobs if job.done()}
    active = set(active)
    settled = done | active
    trials = [job for job in jobs if job.kind == "trial" and job.name not in settled]
    needed: set[str] = set()
    for trial in trials:
        needed.update(trial.needs)
    backbones = [job for job in jobs if job.kind != "trial" and job.name in needed - settled]
    changing = any(job.kind == "trial" and job.name not in done for job in jobs)
    reports = [job for job in jobs if job.kind == "report" and job.name not in (active if changing else settled)]
    return backbones + trials + reports
