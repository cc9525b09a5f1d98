"""Who is at work on a suite's root from this side: one local run, or one submission, at a time."""

import fcntl
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from twinbench.protocols.text import TextError, read_json
from twinbench.protocols.typed import as_typed
from twinbench.suite.suite import SuiteError

FILE = ".lock"


@dataclass(frozen=True)
class Holder:
    """The process that holds a suite."""

    pid: int
    host: str


@contextmanager
def only_runner(root: Path) -> Generator[None]:
    """Hold the suite's root for the length of the block; SuiteError if another process holds it, or none can."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / FILE).open("a+")
    except OSError as error:
        raise SuiteError(
            f"{root}: {error.strerror}; the suite's root must be a folder that you can write to, and all nodes too"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(root)
            who = f"process {holder.pid} on {holder.host}" if holder else "another process"
            raise SuiteError(f"{root}: this suite is being run already, by {who}; wait for it or end it") from None
        lock.truncate(0)
        lock.write(json.dumps(asdict(Holder(os.getpid(), socket.gethostname()))))
        lock.flush()
        yield


def running_holder(root: Path) -> Holder | None:
    """Return who holds the suite now, if anybody."""
    try:
        with (root / FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(root)
    except OSError:
        return None
    return None


def _read(root: Path) -> Holder | None:
    """Return the holder that the lock's file names."""
    try:
        return as_typed(Holder, read_json(root / FILE), str(root / FILE))
    except TextError:
        return None
