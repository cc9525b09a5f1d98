"""Is a data set complete? Counts, lists, annotations and every single image, before any job runs."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from twinbench.data.decode import proven_size, read_size
from twinbench.data.errors import DataError
from twinbench.data.items import ImageFile
from twinbench.data.scenes import read_marker
from twinbench.data.surveys import EXPECTED, OPTIONAL, Problem, Split, Survey, survey
from twinbench.protocols.house import unknown
from twinbench.runtime.progress import bar

CHUNK = 64  # images handed to a process at a time
BLOCK = 200 * CHUNK  # images handed out before the first answers are read: bounds the memory


@dataclass(frozen=True)
class Report:
    """The outcome of a check. `counts` and `expected` go by split, and `classes`."""

    layout: str
    root: str
    expected_from: str
    counts: dict[str, int]
    expected: dict[str, int]
    problems: tuple[Problem, ...]

    @property
    def complete(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain data for JSON."""
        return {**asdict(self), "complete": self.complete}

    def as_text(self) -> str:
        """Return the report for people: a line a count, then a line a problem."""
        state = "complete" if self.complete else "not complete"
        lines = [f"{self.layout} at {self.root}: {state} (expected: {self.expected_from})"]
        for name in {**self.expected, **self.counts}:
            expected = f" of {self.expected[name]:,}" if name in self.expected else ""
            if name in self.counts or name not in OPTIONAL:
                lines.append(f"  {name:14} {self.counts.get(name, 0):>11,}{expected}")
        for problem in self.problems:
            lines.append(f"  {problem.kind}: {problem.count:,} problem{'s' * (problem.count > 1)}")
            lines += [f"    {line}" for line in problem.examples]
            lines += ["    ..."] * (problem.count > len(problem.examples))
        return "\n".join(lines)


def check(layout: str, root: Path, fast: bool = False, processes: int = 0) -> Report:
    """Return what is at `root`, compared with the published data set, or with the marker of demo scenes.

    Each image is decoded by one of `processes` (0: one a core); `fast` reads headers only. All problems are found,
    none is raised; only an unknown layout or a missing folder is a DataError.
    """
    if layout not in EXPECTED:
        raise DataError(unknown("layout", layout, EXPECTED))
    if not os.path.isdir(root):
        raise DataError(f"{root}: no such folder; expected the root of {layout}; check the path")
    findings = survey(layout, root)
    total = sum(len(split.paths) for split in findings.splits)
    answers = _answers(findings.splits, fast, processes or min(len(os.sched_getaffinity(0)), 1 + total // CHUNK))
    for path, problem in bar(answers, what="images", total=total, unit="img"):
        if problem:
            missing = isinstance(path, Path) and not path.exists()
            findings.note("missing images" if missing else "unreadable images", problem)
    expected, expected_from = _expectation(layout, root)
    _compare(findings, expected)
    return Report(layout, str(root), expected_from, findings.counts, expected, tuple(findings.problems.values()))


def _expectation(layout: str, root: Path) -> tuple[dict[str, int], str]:
    """Return the counts that a complete data set has, and who says so."""
    for tree in (root, root / "VOCdevkit"):
        if marker := read_marker(tree):
            counts = {split: count for split, count in marker["images"].items() if split in EXPECTED[layout]}
            if "trainval07+12" in EXPECTED[layout]:
                counts["trainval07+12"] = counts["2007-trainval"] + counts["2012-trainval"]
            return {**counts, "classes": 10}, "the demo scenes' marker"
    return EXPECTED[layout], "the published data set"


def _compare(findings: Survey, expected: dict[str, int]) -> None:
    """Note each count that is not as expected."""
    for name, count in expected.items():
        found = findings.counts.get(name, count if name in OPTIONAL else 0)
        if found != count:
            findings.note("counts", f"{name}: {found:,}, expected {count:,}")


def _answers(splits: Iterable[Split], fast: bool, processes: int) -> Iterator[tuple[ImageFile, str]]:
    """Yield each image file with what is wrong with it, or nothing, in order."""
    with _mapper(processes) as mapper:
        for split in splits:
            for start in range(0, len(split.paths), BLOCK):
                block = split.paths[start : start + BLOCK]
                sizes = split.sizes[start : start + BLOCK] if split.sizes else repeat(None, len(block))
                yield from zip(block, mapper(partial(examine, fast=fast), block, sizes), strict=True)


@contextmanager
def _mapper(processes: int) -> Generator[Callable[..., Iterable[Any]]]:
    """Yield `map`, or one that spreads the work over processes and stops at once when the block is left."""
    if processes == 1:
        yield map
        return
    pool = ProcessPoolExecutor(processes)
    try:
        yield partial(pool.map, chunksize=CHUNK)
    except BrokenProcessPool:
        raise DataError(
            "a process that read images was killed, perhaps for memory; run again with --processes 1 to go one by one"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def examine(path: ImageFile, size: tuple[int, int] | None = None, fast: bool = False) -> str:
    """Return what is wrong with an image file, or nothing. `size` is what its annotation says, (width, height)."""
    try:
        if isinstance(path, Path) and path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise DataError(f"{path}: not a file; expected an image; remove it and fetch the image again")
        found = read_size(path) if fast else proven_size(path)
        if size and found != size:
            raise DataError(
                f"{path}: {found[0]} x {found[1]} pixels, annotated {size[0]} x {size[1]}; fetch both again"
            )
    except DataError as error:
        return str(error)
    return ""
