"""Who is at work on a suite's root from this side: one local run, or one submission, at a time.

The kernel's lock goes with the process that holds it. Some mounts of Lustre and NFS have none: there a file stands for
it, which a kill leaves behind. That of a process of this machine that has gone is taken over; of another machine's
nobody can tell from here.
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from twinbench.protocols.text import TextError, read_json
from twinbench.protocols.typed import as_typed
from twinbench.suite.child import is_alive
from twinbench.suite.suite import SuiteError

FILE = ".lock"
HELD = ".lock.held"  # there as long as the suite is held, where the kernel locks nothing
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what such mounts answer


class HeldError(SuiteError):
    """Another process holds the suite."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a suite."""

    pid: int
    host: str

    @property
    def gone(self) -> bool:
        """True if it was a process of this machine and is no more."""
        return self.host == socket.gethostname() and not is_alive(self.pid)


@contextmanager
def only_runner(root: Path, patience: float = 0.0) -> Generator[None]:
    """Hold the suite's root for the length of the block; SuiteError if another process holds it for longer than
    `patience`, in seconds, or none can."""
    end = time.monotonic() + patience
    while True:
        with ExitStack() as held:
            try:
                held.enter_context(_runner(root))
            except HeldError:
                if time.monotonic() >= end:
                    raise
                time.sleep(1.0)
                continue
            yield
            return


@contextmanager
def _runner(root: Path) -> Generator[None]:
    """Hold the suite's root for the length of the block, or raise SuiteError at once."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / FILE).open("a+")
    except OSError as error:
        raise SuiteError(
            f"{root}: {error.strerror}; the suite's root must be a folder that you can write to, and all nodes too"
        ) from None
    with lock:
        if not _locked(lock, root):
            with _held(root):
                yield
            return
        lock.truncate(0)
        lock.write(_ourselves())
        lock.flush()
        yield


def running_holder(root: Path) -> Holder | None:
    """Return who holds the suite now, if anybody."""
    try:
        with (root / FILE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(root / FILE)
    except OSError as error:
        holder = _read(root / HELD) if error.errno in NO_LOCKS else None
        return None if holder and holder.gone else holder
    return None


def _locked(lock: TextIO, root: Path) -> bool:
    """Lock the file for this process; return whether this disk has locks. SuiteError if another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _refused(root, _read(root / FILE), "end it") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise SuiteError(f"{root / FILE}: cannot be locked ({error.strerror}); is its disk well?") from None
        return False
    return True


@contextmanager
def _held(root: Path) -> Generator[None]:
    """Have the file HELD for the length of the block; SuiteError if it is there already and its process may be, too."""
    file = root / HELD
    if (before := _read(file)) and before.gone:
        file.unlink(missing_ok=True)
    try:
        with file.open("x") as held:
            held.write(_ourselves())
    except FileExistsError:
        raise _refused(root, _read(file), f"end it, or, if it has gone, remove {file}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()


def _refused(root: Path, holder: Holder | None, advice: str) -> "HeldError":
    """Return the error for a suite that another process holds."""
    who = f"process {holder.pid} on {holder.host}" if holder else "another process"
    return HeldError(f"{root}: this suite is being run already, by {who}; wait for it or {advice}")


def _ourselves() -> str:
    """Return what stands in a lock's file."""
    return json.dumps(asdict(Holder(os.getpid(), socket.gethostname())))


def _read(file: Path) -> Holder | None:
    """Return the holder that the lock's file names."""
    try:
        return as_typed(Holder, read_json(file), str(file))
    except TextError:
        return None
