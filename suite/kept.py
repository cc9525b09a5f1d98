"""What was read of files, kept as long as each has the times, the size and the inode that it had.

A suite has tens of thousands of small files, most of which never change again: reading them all takes seconds. What was
read lies in the suite's root from one command to the next; it is a hint, and whoever removes it loses nothing.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from twinbench.data.hints import SETTLED_SECONDS
from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, read_json

FILE = ".read.json"
MOST_BYTES = 200_000_000  # 1000 or so for each trial
ReadT = TypeVar("ReadT")
Stamp = tuple[int, int, int, int]  # times of the last change of contents and of status, in ns, the size, the inode


class Kept(Generic[ReadT]):
    """A reader of files that asks each of them once for each of its states.

    What outlives the process are the plain values of `like`'s fields, `without` some, of what is `worth` it.
    """

    def __init__(
        self, read: Callable[[Path], ReadT | None], like: Any, worth: Callable[[ReadT], bool], without: str = ""
    ):
        """Know nothing yet."""
        self._read, self._worth = read, worth
        self._make = type(like)
        self.names = [field.name for field in fields(like) if field.name != without]
        self._types = [int, int, int, int, *(type(getattr(like, name)) for name in self.names)]
        self.entries: dict[str, tuple[Stamp, ReadT | None]] = {}
        self.recalled: set[Path] = set()  # of which folders what was kept has been taken in
        self.changed = False

    def __call__(self, name: str) -> ReadT | None:
        """Return what the file `name` holds; None if there is none."""
        try:
            found = os.stat(name)
        except OSError:
            return None
        stamp = found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
        kept = self.entries.get(name)
        if kept and kept[0] == stamp:
            return kept[1]
        began = time.time()
        value = self._read(Path(name))
        if (
            max(found.st_mtime, found.st_ctime) < began - SETTLED_SECONDS
        ):  # within a tick of the clock, two states have one time
            self.entries[name] = stamp, value
            self.changed = True
        return value

    def take(self, start: str, entries: Mapping[str, list[Any]]) -> None:
        """Take in the kept values of files below the folder `start`, as far as they have the right types."""
        for name, values in entries.items():
            if [type(value) for value in values] == self._types:
                told = dict(zip(self.names, values[4:], strict=True))
                stamp = values[0], values[1], values[2], values[3]
                self.entries.setdefault(start + name, (stamp, self._make(**told)))

    def tell(self, start: str) -> dict[str, list[Any]]:
        """Return the values of files below the folder `start`."""
        below = [(name, *entry) for name, entry in self.entries.items() if name.startswith(start)]
        return {
            name[len(start) :]: [*stamp, *(getattr(value, field) for field in self.names)]
            for name, stamp, value in below
            if value is not None and self._worth(value)
        }


def recall(root: Path, readers: Mapping[str, Kept[Any]]) -> None:
    """Give some readers what they read below `root` in an earlier process; once in this one."""
    readers = {name: reader for name, reader in readers.items() if root not in reader.recalled}
    for reader in readers.values():
        reader.recalled.add(root)
    if not readers:
        return
    try:
        found: Any = read_json(root / FILE, at_most=MOST_BYTES)
        for name, reader in readers.items():
            if found[name]["names"] == reader.names:
                reader.take(f"{root}/", found[name]["files"])
    except (TextError, KeyError, TypeError, AttributeError):
        return  # all is read again


def keep(root: Path, readers: Mapping[str, Kept[Any]]) -> None:
    """Keep what some readers have read below `root`; in a colleague's folder, or on a full disk, it is not kept."""
    if not any(reader.changed for reader in readers.values()):
        return
    told = {name: {"names": reader.names, "files": reader.tell(f"{root}/")} for name, reader in readers.items()}
    with contextlib.suppress(OSError), replacing(root / FILE) as beside:
        beside.write_text(json.dumps(told))
    for reader in readers.values():
        reader.changed = False
