"""Long work shows itself: a bar on a terminal, one JSON object per interval in a file."""

import errno
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from tqdm import tqdm

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, parse_json
from twinbench.runtime import tracking

ItemT = TypeVar("ItemT")


def bar(
    items: Iterable[ItemT], *, what: str, total: int | None = None, start: int = 0, unit: str = "it"
) -> "tqdm[ItemT]":
    """Return `items` under a progress bar with rate and ETA on stderr; silent where stderr is not a terminal.

    A bar within another one goes when it is full.
    """
    shown = {"leave": None, "disable": not sys.stderr.isatty(), "dynamic_ncols": True}
    return tqdm(items, desc=what, total=total, initial=start, unit=unit, **shown)


class JsonLog:
    """An append-only file of JSON objects, one a line; one that a kill or a full disk has torn costs itself alone."""

    def __init__(self, path: Path | None, *, durable: bool = False) -> None:
        """Log to `path`, or nowhere (in processes that do not speak); `durable`: each line is on disk before the next
        thing happens."""
        self.path, self.durable = path, durable
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **fields: Any) -> None:
        """Append one object; `time` (seconds since 1970) is added."""
        if not self.path:
            return
        line = json.dumps({**fields, "time": round(time.time(), 3)}) + "\n"
        with self.path.open("ab+", buffering=0) as file:
            whole = (("\n" if _is_torn(file) else "") + line).encode()
            if file.write(whole) != len(whole):  # of a full disk it says nothing else
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            if self.durable:
                os.fsync(file.fileno())
        tracking.show(self.path, fields)

    def cut(self, key: str, end: int) -> None:
        """Drop the lines whose `key` is `end` or more, and a last line a kill left half-written: a resumed run
        writes them again."""
        if not self.path or not self.path.exists():
            return
        kept = [line for line in read_log(self.path) if line.get(key, -1) < end]
        with replacing(self.path) as beside:
            beside.write_text("".join(json.dumps(line) + "\n" for line in kept))


def read_log(path: Path, damaged: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a JSON log; those that are none are left out, their numbers added to `damaged`."""
    for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
        if not line:
            continue
        try:
            found = parse_json(line, str(path))
            if not isinstance(found, dict):
                raise TextError(f"{path}: line {number} is no object")
            yield found
        except TextError:
            if damaged is not None:
                damaged.append(number)


def _is_torn(file: IO[bytes]) -> bool:
    """Say whether a file ends within a line."""
    if not file.seek(0, os.SEEK_END):
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
