"""What this user's finished jobs have taken: a line each in `runs.jsonl`, from which `plan` estimates others.

It lies in $XDG_STATE_HOME/twinbench, by default ~/.local/state/twinbench, and outlives every suite. It is written by
whoever watches over a job, on whatever node that is. Nothing rests on it: where it cannot be written or read, plans
know less.
"""

import fcntl
import os
import platform
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, parse_json, read_json
from twinbench.runtime.progress import JsonLog, read_log
from twinbench.suite.record import read_record

FILE, LOCK = "runs.jsonl", "runs.lock"
KEPT = 4000  # lines, when there are too many
MOST_BYTES = 2_000_000  # before the oldest lines are dropped; a line has about 300
ASK_SECONDS = 20  # for nvidia-smi, which hangs where a driver does
LOCK_SECONDS = 5  # then a line goes without the lock: it is one write, and one line is not worth a job's time


@dataclass(frozen=True)
class Run:
    """A job that was done, and what it took over all its starts."""

    recipe: str  # fingerprint
    data: str  # identity
    architecture: str  # of the backbone; empty: not known, or the recipe's own
    node: str  # see `node_kind`
    partition: str  # Slurm's; empty: of a local run
    processes: int
    seconds: float


def remember(out: Path, identity: str, processes: int, threads: int) -> None:
    """Add the job in the folder `out`, which has just been recorded as done, made of `identity` (its record's).

    Never fails a job: on nodes where nobody may write to a home nothing is remembered.
    """
    with suppress(OSError, RuntimeError, ValueError, TextError):  # RuntimeError: of a user without a home
        record, parts = read_record(out), parse_json(identity, str(out))
        if not record or not record.spent_seconds or "recipe" not in parts:
            return
        run = Run(
            recipe=parts["recipe"],
            data=parts.get("data", ""),
            architecture=_architecture(out),
            node=node_kind(threads, with_gpus=record.gpus > 0),
            partition=os.environ.get("SLURM_JOB_PARTITION", "") if record.job_id else "",
            processes=processes,
            seconds=round(record.spent_seconds, 1),
        )
        _append(run)


def runs() -> list[Run]:
    """Return what is remembered, oldest first; lines that are damaged are passed over."""
    found: list[Run] = []
    with suppress(OSError, RuntimeError):
        for line in read_log(_folder() / FILE):
            if KINDS.keys() <= line.keys():
                run = Run(**{name: line[name] for name in KINDS})
                if all(isinstance(getattr(run, name), kind) for name, kind in KINDS.items()):
                    found.append(run)
    return found


KINDS: dict[str, Any] = {
    entry.name: {"processes": int, "seconds": int | float}.get(entry.name, str) for entry in fields(Run)
}


@cache
def node_kind(threads: int, *, with_gpus: bool) -> str:
    """Return what a job's speed depends on: the name of this node's GPUs, or its processor and the job's threads."""
    if with_gpus:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        with suppress(OSError, subprocess.TimeoutExpired):
            asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ASK_SECONDS)
            if asked.returncode == 0 and asked.stdout.strip():
                return asked.stdout.splitlines()[0].strip()
        return "a GPU"
    return f"{_processor()}, {threads} thread{'s' * (threads > 1)}"


def _processor() -> str:
    """Return the model of this machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _architecture(out: Path) -> str:
    """Return the backbone that the trial in `out` has measured."""
    with suppress(TextError, AttributeError):
        return str(read_json(out / "result.json").get("architecture", ""))
    return ""


def _folder() -> Path:
    """Return where the file lies."""
    states = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(states) / "twinbench"


def _append(run: Run) -> None:
    """Add a line; drop the oldest where there are too many."""
    path = _folder() / FILE
    log = JsonLog(path)
    with _locked(path.with_name(LOCK)):
        log.write(**asdict(run))
        if path.stat().st_size > MOST_BYTES:
            kept = path.read_bytes().splitlines(keepends=True)[-KEPT:]
            with replacing(path) as beside:
                beside.write_bytes(b"".join(kept))


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Keep other writers out for the length of the block, where the disk has locks."""
    with path.open("w") as lock:
        end = time.monotonic() + LOCK_SECONDS
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:
                break
        yield
