"""Where a suite stands: the files of its jobs first, then what its launcher says of those that are not done."""

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from twinbench.protocols.house import uncollected
from twinbench.suite.advance import Advance, advance
from twinbench.suite.child import is_alive
from twinbench.suite.job import Job, table_standing, tabled
from twinbench.suite.kept import keep, recall
from twinbench.suite.launcher import Seen, cluster_launcher
from twinbench.suite.measured import read_measured
from twinbench.suite.record import LOG, MEMORY, Record, kept_records, last_line, read_record
from twinbench.suite.standing import Standing
from twinbench.suite.suite import Suite

State = Literal["done", "running", "queued", "waiting", "failed", "blocked", "stale"]  # stale: of something else
ORDER: tuple[State, ...] = ("done", "running", "queued", "waiting", "failed", "blocked", "stale")
UNEXPLAINED = "left the queue without a result"  # and the launcher does not say why, or not yet
READERS = {"results": read_measured, "records": kept_records}


@dataclass(frozen=True)
class JobStatus:
    """One job's state, and why, where there is something to say."""

    job: Job
    state: State
    reason: str = ""
    record: Record | None = None
    job_id: str = ""  # the launcher's
    advance: Advance | None = None
    causes: Mapping[str, str] = field(default_factory=dict)  # why it is stale, see standing.py

    def as_json(self) -> dict[str, object]:
        """Return what `--json` shows of a job."""
        record, far = self.record, self.advance
        return {
            "name": self.job.name,
            "kind": self.job.kind,
            "state": self.state,
            "reason": self.reason,
            "causes": dict(self.causes),
            "slurm_id": self.job_id,
            "out": str(self.job.out),
            "needs": list(self.job.needs),
            "after": list(self.job.after),
            "command": ["twinbench", *self.job.argv],
            "starts": record.starts if record else 0,
            "gpu_hours": round(self.gpu_hours, 4),
            "progress": {"unit": far.unit, "done": far.done, "total": far.total, "seconds_left": far.seconds_left}
            if far
            else None,
        }

    @property
    def gpu_hours(self) -> float:
        """What the job has cost up to now."""
        return self.record.gpus * self.record.spent() / 3600 if self.record else 0.0


@uncollected()
def suite_status(suite: Suite, jobs: Sequence[Job], *, fresh: bool = False) -> tuple[list[JobStatus], str]:
    """Return where every job stands, and what to tell if the cluster could not be asked."""
    recall(suite.root, READERS)
    standings = [(job, job.standing()) for job in jobs if job.kind != "report"]
    statuses = [job_status(job, standing) for job, standing in standings]
    for job in jobs[len(statuses) :]:
        trials = [(trial, standing) for trial, standing in standings if trial.kind == "trial"]
        whole = len(trials) == len(job.after) and job.product.exists()
        statuses.append(job_status(job, table_standing(job, tabled(trials)) if whole else job.standing()))
    unsettled = [status.job.name for status in statuses if status.state not in ("done", "stale")]
    view = cluster_launcher().look(suite, unsettled, fresh=fresh)
    for index, status in enumerate(statuses):
        seen = view.jobs.get(status.job.name)
        if seen and status.state not in ("done", "stale"):
            refined = _refined(status, seen)
            if refined.state == "failed" and status.job.done():  # it ended well since its files were read
                refined = job_status(status.job, status.job.standing())
            statuses[index] = _with_last_word(refined, seen)
    problem = "; ".join(filter(None, (view.problem and f"{view.problem}; what follows is from files", *view.notes)))
    keep(suite.root, READERS)
    return [_with_advance(status) for status in _blocked(statuses)], problem


def job_status(job: Job, standing: Standing) -> JobStatus:
    """Return where one job stands by its files; a run whose process has gone counts as interrupted."""
    record = read_record(job.out)
    if standing.there:
        reason = standing.reason
        if job.kind == "report":
            reason = f"table: {job.out.with_suffix('.txt')}, .md, .csv, .html"
        return JobStatus(job, "stale" if standing.causes else "done", reason, record, causes=standing.causes)
    if standing.problem:
        return JobStatus(job, "failed", standing.problem, record)
    if not record:
        return JobStatus(job, "waiting", standing.reason)
    if record.state == "running":
        if record.host != socket.gethostname() or is_alive(record.pid):
            return JobStatus(job, "running", f"on {record.host}", record)
        return JobStatus(job, "waiting", "was interrupted, resumes with the next run", record)
    if record.state in ("failed", "blocked"):
        return JobStatus(job, record.state, record.reason, record)
    return JobStatus(job, "waiting", record.reason or standing.reason, record)


def _refined(status: JobStatus, seen: Seen) -> JobStatus:
    """Return the status of a job that a launcher was given, with the launcher's word taken in."""
    record = status.record
    if record and record.state == "running" and not record.job_id:
        return status  # a run of this machine
    status = replace(status, job_id=seen.job_id)
    if seen.state == "queued" or seen.state == "running":
        before = f"again, after: {record.reason}" if record and record.state == "failed" else ""
        return replace(status, state=seen.state, reason="; ".join(filter(None, [seen.reason, before])))
    if seen.state == "never":
        return replace(status, state="failed", reason=seen.reason)
    if seen.state == "unknown" or (record and record.state == "failed"):
        return status
    lost = f"job {seen.job_id} {UNEXPLAINED}"
    return replace(status, state="failed", reason=lost if seen.state == "lost" else seen.reason)


def _with_last_word(status: JobStatus, seen: Seen) -> JobStatus:
    """Add what a job said last, to a failure that only its launcher knows of: in its own log, or before its worker
    began."""
    known = status.record and status.record.reason == status.reason
    if status.state != "failed" or known or not status.job_id or not seen.log:
        return status
    starved = last_line(seen.log, about=MEMORY)
    if starved:
        return replace(status, reason=f"killed for memory: raise cluster.mem_gb_per_gpu ({starved})")
    own = status.job.out / LOG
    last = last_line(own)
    if not last:
        word = last_line(seen.log)
        last = f"{word}; log: {seen.log}" if word else ""
    if not last and not own.exists() and not seen.log.exists():
        folder = seen.log.parent
        last = f"it left no log in {folder}; do all nodes see that folder, and may they write there?"
    return replace(status, reason=f"{status.reason}: {last}" if last else status.reason)


def _blocked(statuses: Sequence[JobStatus]) -> list[JobStatus]:
    """Mark what can't run because a job it needs has failed; Slurm itself only says CANCELLED."""
    failed = {status.job.name: status.reason for status in statuses if status.state == "failed"}
    found: list[JobStatus] = []
    for status in statuses:
        need = next((need for need in status.job.needs if need in failed), "")
        if need and status.state in ("waiting", "queued", "failed"):
            status = replace(status, state="blocked", reason=f"{need} failed: {failed[need]}")
        found.append(status)
    return found


def _with_advance(status: JobStatus) -> JobStatus:
    """Add how far a running job has come."""
    if status.state != "running":
        return status
    return replace(status, advance=advance(status.job.out / "log.jsonl", *status.job.length))


def counts(statuses: Sequence[JobStatus]) -> dict[str, int]:
    """Return how many jobs stand where, in a fixed order."""
    found: Mapping[State, int] = Counter(status.state for status in statuses)
    return {state: found.get(state, 0) for state in ORDER}


def describe_counts(statuses: Sequence[JobStatus]) -> str:
    """Return the counts as words."""
    named = ", ".join(f"{count} {state}" for state, count in counts(statuses).items() if count)
    return f"{len(statuses)} jobs: {named}"
