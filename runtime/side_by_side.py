"""Work in parts that any number of processes and jobs do side by side, on any nodes that see one disk.

Each part is locked by the process that does it, and the lock goes with that process, however it ends, so a kill costs
a part. The locks save work and no more: where a disk has none, or keeps a dead node's (NFS version 3), some parts are
done twice. So what a part makes has to be written in one step, and to be the same whoever makes it.
"""

import contextlib
import errno
import fcntl
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

POLL = 1.0  # seconds between two looks at parts that others do
PATIENCE = 600.0  # seconds after which a part that others do is done here, too


@dataclass(frozen=True)
class Part:
    """One part of the work, by its name."""

    name: str
    lock: range  # of bytes, which need not be in the file that is locked
    is_done: Callable[[], bool] = field(compare=False)
    make: Callable[[], object] = field(compare=False)


def do_side_by_side(lock: Path, left: Callable[[], Sequence[Part]]) -> None:
    """Do the parts that are `left`, beside all others who are at it; return when none is any more."""
    parts = left()
    if not parts:
        return  # without a lock: the folder need not be ours to change
    lock.parent.mkdir(parents=True, exist_ok=True)
    since = time.monotonic()
    with open(lock, "w") as file:
        while parts:
            impatient = time.monotonic() - since > PATIENCE
            for part in parts:
                with _locked(file, part.lock) as ours:
                    if (ours or impatient) and not part.is_done():
                        part.make()
            before, parts = parts, left()
            if parts and parts == before:  # the others are at all of them
                time.sleep(POLL)
            else:
                since = time.monotonic()


@contextmanager
def _locked(lock: IO[str], place: range) -> Generator[bool]:
    """Lock these bytes of a file for the length of the block; yield False if another process holds any of them.

    Such locks, unlike flock's, do not live on in the loader processes of a parent that was killed. A disk without
    locks grants them all.
    """
    ours = True
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, len(place), place.start)
    except OSError as error:
        ours = error.errno not in (errno.EACCES, errno.EAGAIN)
    try:
        yield ours
    finally:
        with contextlib.suppress(OSError):
            fcntl.lockf(lock, fcntl.LOCK_UN, len(place), place.start)
