"""Files that one process of a run writes and all read, perhaps on machines that see a write later than its writer.

An NFS client keeps what it knows of a folder, that a file is not there included, for up to a minute. A process that
asks its own machine whether to resume may then begin at step 0 while the others go on from step 1000, or go on from an
older state. So the main process alone decides, and tells what it sees.
"""

import contextlib
import os
import time
from pathlib import Path

from twinbench.protocols.house import UserError
from twinbench.runtime.distributed import from_main
from twinbench.runtime.process import Process

PATIENCE = 180.0  # seconds: NFS looks again after 60 unless an administrator chose otherwise (acdirmax)
POLL = 0.2

Stamp = tuple[int, int]  # bytes, and second of the last change: what all disks agree on


class SharedFileError(UserError):
    """A file that the main process sees and another does not."""


def is_there(path: Path, process: Process) -> bool:
    """Return whether the main process sees the file `path`, the same in all; the others return when they see it, too.

    SharedFileError in a process that does not within PATIENCE seconds.
    """
    expected = from_main(process, lambda: _stamp(path))
    if expected is None:
        return False
    end = time.monotonic() + PATIENCE
    while (found := _stamp(path)) != expected:
        if time.monotonic() > end:
            what = "no such file" if found is None else f"another one, of {found[0]} bytes instead of {expected[0]}"
            raise SharedFileError(
                f"{path}: process 0 sees it, but process {process.rank} on {os.uname().nodename} found {what} for "
                f"{PATIENCE:.0f} s; expected a disk that all nodes share: choose another OUT"
            )
        time.sleep(POLL)
    return True


def _stamp(path: Path) -> Stamp | None:
    """Return what tells one version of a file from the next, None where there is none.

    Listing the folder has an NFS client ask the server again.
    """
    with contextlib.suppress(OSError):
        os.listdir(path.parent)
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, int(found.st_mtime)
