"""Results on disk, each with where it came from; and the trials that should have left one and did not.

A suite writes `<root>/<method>/<protocol>/seed<k>/result.json`. In a seed folder without it, a file `failed` holds the
reason in its first line; `job.json` says in `state` whether the trial is running; a `job.log` alone means that it was
started.
"""

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from twinbench.protocols.house import uncollected
from twinbench.protocols.text import TextError, read_json
from twinbench.report.result import Result, ResultError, read_result, result_files


@dataclass(frozen=True)
class Located:
    """A result and the file it was read from."""

    path: Path
    result: Result


@dataclass(frozen=True)
class Absent:
    """A trial without a result: which one, and why."""

    method: str
    protocol: str
    seed: str
    reason: str  # "failed: ...", "running", "not finished"


@dataclass(frozen=True)
class Found:
    """What stands below some folders."""

    results: tuple[Located, ...]
    absent: tuple[Absent, ...] = ()

    @property
    def trials(self) -> list[tuple[str, str]]:
        """The method and the protocol of each trial, of one without a result, too."""
        measured = [(entry.result.method, entry.result.protocol) for entry in self.results]
        return measured + [(entry.method, entry.protocol) for entry in self.absent]

    def of(self, methods: Collection[str]) -> "Found":
        """Return what there is of some methods."""
        results = tuple(entry for entry in self.results if entry.result.method in methods)
        return Found(results, tuple(entry for entry in self.absent if entry.method in methods))


@uncollected()
def find(paths: Iterable[Path | str]) -> Found:
    """Read every result and every trace of an unfinished trial below `paths`, in path order.

    ResultError names a path that does not exist, a file that is no result, or the folders if they hold none. Where a
    damaged file is one of a suite's, it is one bad cell among the others.
    """
    given = [Path(path) for path in paths]
    results: list[Located] = []
    lost: dict[Path, Absent] = {}
    for file in result_files(given):
        try:
            results.append(Located(file, read_result(file)))
        except ResultError as error:
            if file in given or not re.fullmatch(r"seed\d+", file.parent.name):
                raise
            lost[file.parent.resolve()] = absent(file.parent, f"failed: {error}")
    for path in given:
        for folder in sorted(path.rglob("seed*")):
            if folder.is_dir() and not (folder / "result.json").exists():
                lost[folder.resolve()] = absent(folder)
    started = [entry for entry in lost.values() if entry.reason]
    if not results and not started:
        places = ", ".join(map(str, given))
        raise ResultError(f"{places}: no result.json below; expected the OUT folder of a trial or the root of a suite")
    return Found(tuple(results), tuple(started))


def absent(folder: Path, reason: str = "") -> Absent:
    """Say why `folder` holds no result, which may be known already; an empty reason if nothing was started in it."""
    reason = reason or _reason(folder)
    return Absent(folder.parent.parent.name, folder.parent.name, folder.name.removeprefix("seed"), reason)


def _reason(folder: Path) -> str:
    """Return why there is no result, by what else lies there."""
    reason = "not finished" if (folder / "job.log").exists() else ""
    if _state(folder) == "running":
        reason = "running"
    if (folder / "failed").exists():
        lines = (folder / "failed").read_text(errors="replace").strip().splitlines()
        reason = f"failed: {lines[0]}" if lines else "failed"
    return reason


def _state(folder: Path) -> object:
    """Return the state that the job's watcher last wrote; None if there is none to read."""
    try:
        record: dict[str, object] = read_json(folder / "job.json")
        return record["state"]
    except (TextError, KeyError, TypeError):  # no watcher, or its file is another program's
        return None


def folder_name(text: str) -> str:
    """Return a name for a folder of `text`, which no other text has."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
