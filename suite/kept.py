"""What was read of files, kept as long as each has the times, the size and the inode that it had.

A suite has tens of thousands of small files, most of which never change again: reading them all takes seconds. What was
read lies in the suite's root from one command to the next; it is a hint, and whoever removes it loses nothing. It lies
there by columns, each different value once: most are those of many files.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import repeat
from operator import attrgetter
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
        self._like, self._without = like, without
        self.names = [field.name for field in fields(like) if field.name != without]
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

    def take(self, start: str, told: Mapping[str, Any]) -> None:
        """Take in what `tell` once told of files below the folder `start`, if all of it has the right types."""
        columns: list[Any] = []
        for field in fields(self._like):
            value = getattr(self._like, field.name)
            if field.name == self._without:
                columns.append(repeat(value))
                continue
            values, at = told["columns"][field.name]
            if set(map(type, values)) != {type(value)} or len(at) != len(told["files"]):
                return
            columns.append(map(values.__getitem__, at))
        made = map(type(self._like), *columns)
        for name, stamp, value in zip(told["files"], zip(*told["stamps"], strict=True), made, strict=True):
            self.entries.setdefault(start + name, (stamp, value))

    def tell(self, start: str) -> dict[str, Any]:
        """Return the values of files below the folder `start`."""
        below = [
            (name[len(start) :], stamp, value)
            for name, (stamp, value) in self.entries.items()
            if value is not None and name.startswith(start) and self._worth(value)
        ]
        files, stamps, values = zip(*below, strict=True) if below else ((), (), ())
        columns = {name: _packed(list(map(attrgetter(name), values))) for name in self.names}
        return {"files": files, "stamps": list(zip(*stamps, strict=True)), "columns": columns}


def _packed(column: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """Return the different values of a column, and which of them stands where."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(column))}
    return list(numbers), [numbers[value] for value in column]


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
            if found[name]["columns"].keys() == set(reader.names):
                reader.take(f"{root}/", found[name])
    except (TextError, LookupError, TypeError, ValueError, AttributeError):
        return  # all is read again


def keep(root: Path, readers: Mapping[str, Kept[Any]]) -> None:
    """Keep what some readers have read below `root`; in a colleague's folder, or on a full disk, it is not kept."""
    if not any(reader.changed for reader in readers.values()):
        return
    told = {name: reader.tell(f"{root}/") for name, reader in readers.items()}
    with contextlib.suppress(OSError), replacing(root / FILE) as beside:
        beside.write_text(json.dumps(told))
    for reader in readers.values():
        reader.changed = False
