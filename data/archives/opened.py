"""Archives that are read at random: one file descriptor a process for each, and reads that say where they fail."""

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from twinbench.data.errors import DataError, unreadable

OPEN = 64  # archives held open by a process; systems allow 1024 files, and loaders need some


class Archive(NamedTuple):
    """An archive as it was when it was listed."""

    path: str
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path | str) -> "Archive":
        """Return the archive at `path` as it is now; DataError for what is no file."""
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise DataError(f"{path}: no such archive; expected a file; check the path") from None
        except OSError as error:
            raise unreadable(error) from None
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise DataError(f"{path}: not a file; expected an archive; check the path")
        return cls(os.fspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def read(self, at: int, size: int) -> bytes:
        """Return `size` bytes from `at` on; DataError where the archive ends before, or cannot be read."""
        found = b""
        try:
            opened = _opened(self)
            while len(found) < size:  # one read returns 2 GiB at most, and less on some network disks
                more = os.pread(opened.descriptor, size - len(found), at + len(found))
                if not more:
                    raise self.damaged(f"ends at {at + len(found)}, {size - len(found)} bytes early")
                found = found + more if found else more
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror}); check the disk, then run again") from None
        return found

    def require_same(self) -> None:
        """Raise DataError if it was written to since it was listed. A file put in its place is not this archive."""
        try:
            status = os.fstat(_opened(self).descriptor)
        except OSError as error:
            raise unreadable(error) from None
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            raise DataError(f"{self.path}: changed since it was listed; expected it to stay; run again")

    def damaged(self, how: str) -> DataError:
        """Return the DataError that says how it is damaged."""
        return DataError(f"{self.path}: a damaged archive ({how}); expected a whole one; fetch or make it again")


class _Opened:
    """A file descriptor, closed with the last reader: another thread may read while this one lets go of it."""

    def __init__(self, archive: Archive) -> None:
        self.descriptor = os.open(archive.path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        os.close(self.descriptor)


@lru_cache(maxsize=OPEN)
def _opened(archive: Archive) -> _Opened:
    """Return the open archive. `pread` has no position to share, so that forked processes may use one descriptor."""
    return _Opened(archive)
