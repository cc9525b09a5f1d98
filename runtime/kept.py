"""What was counted of images one by one, kept so that a kill loses nothing.

    FOLDER/rank0.jsonl   a line that says whose they are, then a line an image

A killed evaluation goes on with the images that no process has a whole line of; the sum does not depend on their order.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twinbench.protocols.house import UserError
from twinbench.runtime.distributed import from_main, meet
from twinbench.runtime.process import Process
from twinbench.runtime.progress import JsonLog, read_log
from twinbench.runtime.shared import is_there

Counts = Any  # of an image: whatever JSON has


class CountsError(UserError):
    """Counts that are not there although every process has ended its share."""


class KeptCounts:
    """The counts of so many images, kept in a folder as they are made; those of others there are written over."""

    def __init__(self, folder: Path, owner: dict[str, Any], images: int, process: Process) -> None:
        """Look what is done; `owner` says whose counts these are. Every process of a run must do so."""
        self.folder, self.owner, self.images, self.process = folder, owner, images, process
        done = from_main(process, lambda: sorted(_read(folder, owner)))
        missing = sorted(set(range(images)) - set(done))
        self.share = missing[process.rank :: process.world]  # what this process has to count

    def complete(self, counted: Iterable[tuple[int, Counts]]) -> list[Counts]:
        """Take the counts of this process's share, image by image; return those of all images.

        CountsError if some are on another node's disk.
        """
        path = self.folder / f"rank{self.process.rank}.jsonl"
        log = JsonLog(path)
        if not _is_of(path, self.owner):
            path.unlink(missing_ok=True)
            log.write(owner=self.owner)
        for index, counts in counted:
            log.write(index=index, cells=counts)
        meet(self.process)
        for rank in range(self.process.world):
            is_there(self.folder / f"rank{rank}.jsonl", self.process)
        return self._whole()

    def _whole(self) -> list[Counts]:
        """Return the counts of every image."""
        found = _read(self.folder, self.owner)
        missing = self.images - len(found)
        if missing:
            raise CountsError(
                f"{self.folder}: {missing} of {self.images} test images have no counts, although every process has "
                "done its share; expected a disk that all nodes share; run again, and they are made"
            )
        return [found[index] for index in range(self.images)]


def _read(folder: Path, owner: dict[str, Any]) -> dict[int, Counts]:
    """Return the counts of the images that are done."""
    found: dict[int, Counts] = {}
    for path in sorted(folder.glob("rank*.jsonl")):
        if _is_of(path, owner):
            found |= {line["index"]: line["cells"] for line in read_log(path) if "cells" in line}
    return found


def _is_of(path: Path, owner: dict[str, Any]) -> bool:
    """Say whether a file's first line says that its counts are `owner`'s."""
    try:
        first = next(read_log(path), {})
    except FileNotFoundError:
        return False
    return first.get("owner") == owner
