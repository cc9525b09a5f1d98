"""The end of a suite: its results as one table, in its root, in every format people ask for."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from twinbench.protocols.house import UserError, replacing, uncollected
from twinbench.report.command import render
from twinbench.report.files import Absent, Found, Located, absent
from twinbench.report.result import ResultError
from twinbench.report.table import Table, build
from twinbench.suite import record as records
from twinbench.suite.job import Job, tabled
from twinbench.suite.launcher import cluster_launcher
from twinbench.suite.measured import whole_result, whole_results
from twinbench.suite.record import Record
from twinbench.suite.standing import Standing, count_causes
from twinbench.suite.status import UNEXPLAINED, JobStatus, suite_status
from twinbench.suite.suite import Suite

FILES = {"text": "report.txt", "markdown": "report.md", "csv": "report.csv", "html": "report.html"}


def settle(statuses: Sequence[JobStatus]) -> None:
    """Write down, in each folder, why a job failed or can't run: what only the cluster knew would be forgotten."""
    for status in statuses:
        job = status.job
        told = status.record and status.record.state == status.state
        if status.state not in ("failed", "blocked") or told or job.kind == "report":
            continue
        record = status.record or Record(status.state, job.identity, job.argv, starts=0)
        told = replace(record, state=status.state, reason=status.reason, job_id=status.job_id, ended=time.time())
        told.write(job.out)


def suite_table(suite: Suite, jobs: Sequence[Job]) -> Table:
    """Return the table of the trials that the suite lists; ResultError while nothing was started.

    Other seeds that lie in the same folders stay out, and so do stale trials, whose numbers are of something else, and
    damaged ones: a footnote says why their place is empty.
    """
    return _table(suite, _trials(jobs))


def _trials(jobs: Sequence[Job]) -> list[tuple[Job, Standing]]:
    """Return the trials and how they stand."""
    return [(job, job.standing()) for job in jobs if job.kind == "trial"]


def _table(suite: Suite, trials: Sequence[tuple[Job, Standing]]) -> Table:
    """Return the table of some trials."""
    results: list[Located] = []
    lost: list[Absent] = []
    for job, standing in trials:
        if standing.done:
            results.append(Located(job.product, whole_result(job.product, standing.sha256)))
            continue
        reason = f"failed: {standing.problem}" if standing.problem else ""
        found = absent(job.out, f"not finished: stale, {standing.reason}" if standing.stale else reason)
        if found.reason:
            lost.append(found)
    if not results and not lost:
        raise ResultError(f"{suite.root}: no result of the suite's trials below; run it first")
    return build(Found(tuple(results), tuple(lost)))


@uncollected()
def write_reports(suite: Suite, jobs: Sequence[Job]) -> list[Path]:
    """Write the table in each format and return the files; beside the report's log, what it was made of."""
    report = report_of(jobs)
    trials = _trials(jobs)
    made_of = tabled(trials)  # before the results are read: what comes in between makes a new table
    table = _table(suite, trials)
    written: list[Path] = []
    for form, name in FILES.items():
        written.append(suite.root / name)
        with replacing(written[-1]) as beside:
            beside.write_text(render(table, form, suite.name, to_file=True), encoding="utf-8")
    with replacing(report.product) as beside:
        beside.write_text(json.dumps({"made_of": made_of, "files": [str(path) for path in written]}) + "\n")
    return written


def run_report(suite: Suite, jobs: Sequence[Job]) -> list[Path]:
    """Write the table as a job of this process, with a record and a log as the other jobs have; return the files."""
    report = report_of(jobs)
    record = records.begin(report.out, report.identity, report.argv)
    try:
        written = write_reports(suite, jobs)
    except (UserError, OSError) as error:
        with suppress(OSError):  # on a full disk nothing can be told but the first error
            records.end(report.out, record, "failed", 2, str(error))
            _log(report, str(error))
        raise
    _log(report, "\n".join(map(str, written)))
    records.end(report.out, record, "done")
    return written


def _log(report: Job, text: str) -> None:
    """Add lines to the report's log."""
    with (report.out / records.LOG).open("a") as log:
        print(text, file=log)


def report_of(jobs: Sequence[Job]) -> Job:
    """Return the job of a suite that writes the table."""
    return next(job for job in jobs if job.kind == "report")


@whole_results()
def print_report(suite: Suite, jobs: Sequence[Job]) -> int:
    """Write down why trials are missing, then the table, and print where."""
    # what a watcher saw some seconds ago may be older than the last job's end
    statuses, _ = suite_status(suite, jobs, fresh=True)
    if any(status.reason.endswith(UNEXPLAINED) for status in statuses):
        time.sleep(cluster_launcher().lag_seconds)
        statuses, _ = suite_status(suite, jobs, fresh=True)
    settle(statuses)
    stale = [status.causes for status in statuses if status.state == "stale"]
    if stale:
        print(f"{suite.name}: {len(stale)} stale jobs stay out of the table ({count_causes(stale)})", file=sys.stderr)
    print("\n".join(map(str, write_reports(suite, jobs))))
    return 0
