"""Long work shows itself: a bar on a terminal, one JSON object per interval in a file."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, parse_json

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
    """An append-only file of JSON objects, one a line; each line stands on disk before the next is begun."""

    def __init__(self, path: Path | None) -> None:
        """Log to `path`, or nowhere (in processes that do not speak)."""
        self.path = path
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **fields: Any) -> None:
        """Append one object; `time` (seconds since 1970) is added."""
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps({**fields, "time": round(time.time(), 3)}) + "\n")

    def cut(self, key: str, end: int) -> None:
        """Drop the lines whose `key` is `end` or more, and a last line a kill left half-written: a resumed run
        writes them again."""
        if not self.path or not self.path.exists():
            return
        kept = [line for line in read_log(self.path) if line.get(key, -1) < end]
        with replacing(self.path) as beside:
            beside.write_text("".join(json.dumps(line) + "\n" for line in kept))


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a JSON log; a half-written last line is left out."""
    for line in path.read_text(errors="replace").splitlines():
        try:
            yield parse_json(line, str(path))
        except TextError:
            return
