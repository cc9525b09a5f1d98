"""What is known of a job's runs: `job.json` in its folder, written by the process that watches over it."""

import dataclasses
import json
import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, read_json
from twinbench.protocols.typed import as_typed
from twinbench.suite.kept import Kept

FILE = "job.json"
LOG = "job.log"
# Lines of a log that only say that something has ended, or what was started: a reason is looked for above them.
SAYS_NOTHING = re.compile(r"\$ |srun: |slurmstepd: ")
FAILED = "failed"  # what tables read
State = Literal["running", "done", "failed", "blocked", "stopped"]


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
    cause: str = ""
    node: str = ""
    spent_seconds: float = 0.0  # over all starts that ended in our sight

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


def begin(out: Path, identity: str, argv: Sequence[str], gpus: int = 0, job_id: str = "") -> Record:
    """Write that a run of a job begins here and now; earlier starts are counted on."""
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
    )
    record.write(out)
    return record


def end(out: Path, record: Record, state: State, code: int = 0, reason: str = "") -> Record:
    """Write how the run that `begin` recorded has ended."""
    now = time.time()
    spent = record.spent_seconds + now - record.started
    record = dataclasses.replace(record, state=state, code=code, reason=reason, ended=now, spent_seconds=spent)
    record.write(out)
    return record


def last_line(log: Path, limit: int = 300, about: str = "") -> str:
    """Return the last line that says something in a log (or matches the pattern `about`), at most `limit` long.

    What Slurm says of a step's end stands for it only where nothing else was said; the command line never does.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 20_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip() and not line.startswith("$ ") and re.search(about, line)]
    saying = told if about else [line for line in told if not SAYS_NOTHING.match(line)]
    return (saying or told or [""])[-1][:limit]
