"""What is known of a job's runs: `job.json` in its folder, written by the process that watches over it.

A scheduler may start one job many times. Of those runs is counted how many in a row got no further: after them, no
file that the worker keeps is new or another, and its log has not counted on.
"""

import dataclasses
import hashlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, read_json
from twinbench.protocols.typed import as_typed
from twinbench.suite.advance import advance
from twinbench.suite.kept import Kept

FILE = "job.json"
LOG = "job.log"
# Lines of a log that only say that something has ended, or what was started: a reason is looked for above them.
SAYS_NOTHING = re.compile(r"\$ |srun: |slurmstepd: ")
FAILED = "failed"  # what tables read
State = Literal["running", "done", "failed", "blocked", "stopped"]
Cause = Literal["", "memory", "node", "fruitless"]
# What grows or changes in each run, however short it was: ours, logs, curves, and what a kill left half-written
UNCOUNTED = re.compile(r"job\.json|job\.(\d+\.)?log|failed|log\.jsonl|log\.txt|events\.out\..*|\..*")
TAIL_BYTES = 1 << 18  # of a file; there a checkpoint has the checksums of all its tensors
_MEMORY = r"memory limit|oom[-_ ]?kill|out of memory"
MEMORY = rf"(?i){_MEMORY}"  # how schedulers speak of memory in a job's output
CAUSES: tuple[tuple[Cause, str], ...] = (
    # how a worker's log tells that another try may do: with more memory (a GPU's own is no option), on another node
    ("memory", rf"(?i)^(?!.*cuda).*({_MEMORY}|cannot allocate memory|MemoryError)"),
    ("node", r"(?i)uncorrectable ECC|fallen off the bus|no CUDA-capable device|busy or unavailable|stale file handle"),
)


@dataclass(frozen=True)
class Record:
    """The latest run of a job. Times are seconds since 1970."""

    state: State
    identity: str
    argv: tuple[str, ...] = ()
    reason: str = ""  # why it failed, is blocked or was stopped
    code: int = 0  # exit code; negative: the signal that ended it
    host: str = ""
    pid: int = 0  # of the watching process
    job_id: str = ""  # Slurm's, empty elsewhere
    starts: int = 1
    started: float = 0.0
    ended: float = 0.0
    gpus: int = 0
    spent_seconds: float = 0.0  # over all starts that ended in our sight
    node: str = ""  # where it last ran, or the nodes, as Slurm writes them
    cause: Cause = ""  # of a failure that another try may not share
    fruitless: int = 0  # runs of this Slurm job in a row that got no further
    overdue: int = 0  # those of them that ran out of time
    mark: str = ""  # of the worker's files when the run began
    reached: float = 0.0  # how far its log has counted

    def spent(self) -> float:
        """Return the seconds of all runs, the present one up to now."""
        now = time.time() - self.started if self.state == "running" else 0.0
        return self.spent_seconds + now

    def write(self, out: Path) -> None:
        """Replace `out/job.json`, and keep `out/failed`, the reason as plain text, only while it is true."""
        with replacing(out / FILE) as beside:
            beside.write_text(json.dumps(dataclasses.asdict(self)) + "\n")
        if self.state in ("failed", "blocked"):
            (out / FAILED).write_text(self.reason + "\n")
        else:
            (out / FAILED).unlink(missing_ok=True)


def read_record(out: Path) -> Record | None:
    """Return the record in the folder `out`, or None where there is none, or none that can be read."""
    return kept_records(f"{out}/{FILE}")


def _read(path: Path) -> Record | None:
    """Return what the file `path` says, or None if it says nothing."""
    try:
        found = read_json(path)
        return as_typed(Record, {**found, "argv": tuple(found["argv"])}, str(path))
    except (TextError, TypeError, KeyError):
        return None  # a record informs people; losing one must not stop a suite


kept_records = Kept(_read, Record("done", ""), lambda found: found.state == "done", without="argv")


def read_end(out: Path, job_id: str) -> Record | None:
    """Return the record in the folder `out` if it tells how the launcher's job `job_id` has ended; else None."""
    record = read_record(out)
    return record if record and record.job_id == job_id and record.state in ("done", "failed") else None


def begin(
    out: Path,
    identity: str,
    argv: Sequence[str],
    gpus: int = 0,
    job_id: str = "",
    node: str = "",
    length: tuple[str, int] = ("", 0),
) -> Record:
    """Write that a run of a job begins here and now; earlier starts are counted on.

    `length` is the field of its log that counts, and where that ends. Without a `job_id` nobody starts it again.
    """
    before = read_record(out)
    record = Record(
        state="running",
        identity=identity,
        argv=tuple(argv),
        host=socket.gethostname(),
        pid=os.getpid(),
        job_id=job_id,
        starts=before.starts + 1 if before else 1,
        started=time.time(),
        gpus=gpus,
        spent_seconds=before.spent_seconds if before else 0.0,
        node=node,
    )
    if job_id:
        if before and before.job_id == job_id:
            ended_abruptly = before.state == "running"
            told = counted(out, before, length) if ended_abruptly else before
            record = dataclasses.replace(record, fruitless=told.fruitless, overdue=told.overdue)
            reached = told.reached
        else:
            reached = _reached(out, length)
        record = dataclasses.replace(record, reached=reached, mark=_mark(out))
    record.write(out)
    return record


def counted(out: Path, record: Record, length: tuple[str, int], *, overdue: bool = False) -> Record:
    """Return the record with the run that `begin` recorded among the fruitless ones, or with none of them."""
    reached = _reached(out, length)
    if reached > record.reached or _mark(out) != record.mark:
        return dataclasses.replace(record, fruitless=0, overdue=0, reached=max(reached, record.reached))
    return dataclasses.replace(record, fruitless=record.fruitless + 1, overdue=record.overdue + overdue)


def end(out: Path, record: Record, state: State, code: int = 0, reason: str = "", cause: Cause = "") -> Record:
    """Write how the run that `begin` recorded has ended."""
    now = time.time()
    spent = record.spent_seconds + now - record.started
    record = dataclasses.replace(
        record, state=state, code=code, reason=reason, cause=cause, ended=now, spent_seconds=spent
    )
    record.write(out)
    return record


def cause_of(out: Path, code: int) -> Cause:
    """Return why the last run has failed, if its end or its log tells a cause that another try may not share."""
    if code == -signal.SIGKILL:  # its memory limit's, where nobody says more
        return "memory"
    said = _tail(out / LOG).decode(errors="replace").rpartition("\n$ ")[2]  # earlier runs stand above
    for cause, pattern in CAUSES:
        if any(re.search(pattern, line) for line in said.splitlines()):
            return cause
    return ""


def _reached(out: Path, length: tuple[str, int]) -> float:
    """Return how far a job's log has counted."""
    found = advance(out / "log.jsonl", *length)
    return float(found.done) if found else 0.0


def _mark(out: Path) -> str:
    """Return a digest of the files that a worker keeps, by what is in them: some write the same ones in each run."""
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(out):
        folders.sort()
        for name in sorted(names):
            if not UNCOUNTED.fullmatch(name):
                path = Path(folder, name)
                digest.update(f"{path}\0".encode() + _tail(path))
    return digest.hexdigest()


def _tail(path: Path, most: int = TAIL_BYTES) -> bytes:
    """Return the end of a file; nothing of one that has gone."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read()
    except OSError:
        return b""


def last_line(log: Path, limit: int = 300, about: str = "") -> str:
    """Return the last line that says something in a log (or matches the pattern `about`), at most `limit` long.

    What Slurm says of a step's end stands for it only where nothing else was said; the command line never does.
    """
    lines = _tail(log, 20_000).decode(errors="replace").splitlines()
    told = [line.strip() for line in lines if line.strip() and not line.startswith("$ ") and re.search(about, line)]
    saying = told if about else [line for line in told if not SAYS_NOTHING.match(line)]
    return (saying or told or [""])[-1][:limit]
