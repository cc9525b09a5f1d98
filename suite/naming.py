"""The jobs of a suite by the names that people give: a trial, or all of a method, or of a protocol on it."""

import difflib
from collections.abc import Collection, Sequence

from twinbench.suite.job import Job
from twinbench.suite.suite import Suite, SuiteError


def jobs_named(suite: Suite, jobs: Sequence[Job], names: Sequence[str]) -> list[Job]:
    """Return the jobs that are named each, or by their method, or method and protocol; SuiteError for an unknown
    name."""
    groups = _groups(jobs) if names else {}
    found: dict[str, Job] = {}
    for name in names:
        if name.strip("/") not in groups:
            raise _unknown(suite, name, groups)
        found.update((job.name, job) for job in groups[name.strip("/")])
    return list(found.values())


def find_job(suite: Suite, jobs: Sequence[Job], name: str) -> Job:
    """Return the job of a name; SuiteError if there is none, or if several jobs go by it."""
    members = _groups(jobs).get(name.strip("/"), [])
    job = next((job for job in members if job.name == name.strip("/")), None)
    if job:
        return job
    if members:
        raise SuiteError(f"{suite.file}: {name} is {len(members)} jobs; expected one of them, as {members[0].name}")
    raise _unknown(suite, name, [job.name for job in jobs])


def with_needs(jobs: Sequence[Job], named: Sequence[Job]) -> list[Job]:
    """Return some jobs and those that they need, in their order; all if none are named."""
    names = {name for job in named for name in (job.name, *job.needs)}
    return [job for job in jobs if not named or job.name in names]


def _groups(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """Return jobs by their names, and by what those begin with: a method, or method and protocol."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        parts = job.name.split("/")
        for end in range(len(parts)):
            groups.setdefault("/".join(parts[: end + 1]), []).append(job)
    return groups


def _unknown(suite: Suite, name: str, known: Collection[str]) -> SuiteError:
    """Return the error for a trial that the suite has not; to list all of 20,000 would say nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return SuiteError(f"{suite.file}: unknown trial '{name}'.{hint} `twinbench suite status {suite.file}` lists all")
