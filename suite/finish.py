"""The end of a suite: its results as one table, in its root, in every format people ask for."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from twinbench.protocols.house import replacing
from twinbench.report.command import render
from twinbench.report.table import Table, read
from twinbench.suite.record import Record
from twinbench.suite.status import JobStatus
from twinbench.suite.suite import Suite

FILES = {"text": "report.txt", "markdown": "report.md", "csv": "report.csv", "html": "report.html"}


def settle(statuses: Sequence[JobStatus]) -> None:
    """Write down, in each folder, why a job failed or can't run: what only the cluster knew would be forgotten."""
    for status in statuses:
        if status.state not in ("failed", "blocked") or (status.record and status.record.state == status.state):
            continue
        job = status.job
        record = status.record or Record(status.state, job.identity, job.argv, starts=0)
        replace(record, state=status.state, reason=status.reason, job_id=status.job_id, ended=time.time()).write(
            job.out
        )


def suite_table(suite: Suite) -> Table:
    """Return the table of the suite's own methods and protocols; ResultError while nothing was started."""
    cells = [suite.root / method.name / entry.protocol.name for method in suite.methods for entry in suite.measurements]
    return read([cell for cell in cells if cell.is_dir()] or [suite.root])


def write_reports(suite: Suite) -> list[Path]:
    """Write the table in each format and return the files."""
    table = suite_table(suite)
    written: list[Path] = []
    for form, name in FILES.items():
        written.append(suite.root / name)
        with replacing(written[-1]) as beside:
            beside.write_text(render(table, form, suite.name, to_file=True), encoding="utf-8")
    return written
