"""What a suite does about finished work that was made of something else than it says now.

Numbers are never mixed and never thrown away: `run` stops and counts them, `run --again` moves their folders aside and
makes them anew.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from twinbench.suite.backbone import described, read_made, write_made
from twinbench.suite.job import BACKBONES, Job
from twinbench.suite.standing import count_causes, origin, pretrained_of, recorded_parts
from twinbench.suite.suite import Suite, SuiteError

FOLDER = "superseded"
UNKNOWN = {"checkpoint": "not recorded"}  # what a backbone was converted from that nobody wrote down
RESULT = "superseded.json"  # what a result.json is called there: `twinbench report ROOT` must not read it


def refresh_records(jobs: Sequence[Job]) -> None:
    """Tell what only the tensors themselves can tell, before anything is judged by what was written down of them.

    A checkpoint that was saved once more has other bytes and may hold the same tensors: then its backbone, and all that
    was measured with it, stays. So does a backbone of which nothing was written down: its job was killed right before,
    or an older twinbench made it.
    """
    for job in jobs:
        if job.kind not in BACKBONES or not job.product.exists():
            continue
        made = read_made(job.out)
        if not made:
            made = write_made(job.out, recorded_parts(job.out) if job.kind == "pretrain" else UNKNOWN)
        if job.kind == "convert" and job.origin():
            source = described(Path(job.argv[1]), job.parts())
            if source.identity and source.identity == made.identity:
                write_made(job.out, job.parts())


def stale_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Return the finished jobs that were made of something else; a conversion, which takes seconds, is just made
    again."""
    return [job for job in jobs if job.kind != "convert" and job.standing().stale]


def refuse_stale(suite: Suite, jobs: Sequence[Job]) -> None:
    """Raise SuiteError if there are stale jobs, with their number by cause."""
    stale = stale_jobs(jobs)
    if stale:
        raise SuiteError(
            f"{suite.file}: {len(stale)} of {len(jobs)} jobs were made of something else than the suite says now "
            f"({count_causes(job.standing().causes for job in stale)}); `twinbench suite run {suite.file} --again` "
            f"moves them below {suite.root / FOLDER} and makes them anew; or give the suite another root"
        )


def superseded_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs that were made, or begun, as something else."""
    return [job for job in jobs if _is_of_something_else(job)]


def damaged_jobs(jobs: Sequence[Job]) -> list[Job]:
    """Return the trials whose result nobody can read."""
    return [job for job in jobs if job.kind == "trial" and job.standing().problem]


def move_aside(suite: Suite, jobs: Sequence[Job]) -> list[Job]:
    """Move the folders of jobs, as far as they are there, below the root's FOLDER; return the jobs."""
    moved = [job for job in jobs if job.out.exists()]
    place = suite.root / FOLDER / time.strftime("%Y%m%d-%H%M%S")
    for job in reversed(moved):  # trials first: as long as their backbone is there, a kill leaves them stale
        result = job.out / "result.json"
        if result.exists():
            os.replace(result, job.out / RESULT)
        (place / job.name).parent.mkdir(parents=True, exist_ok=True)
        os.rename(job.out, place / job.name)
    return moved


def _is_of_something_else(job: Job) -> bool:
    """Say whether what lies in a job's folder, finished or not, was made of something else; a table is just written
    again."""
    if job.kind == "report":
        return False
    if job.product.exists():
        return job.standing().stale
    return bool(origin(job.made_of(), pretrained_of(job.out) or recorded_parts(job.out)))
