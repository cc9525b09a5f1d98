"""Is a data set complete? Counts, lists, annotations and every single image, before any job runs."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from twinbench.data.checking.checked import Report, compare
from twinbench.data.checking.repeats import Repeats
from twinbench.data.checking.surveys import Split, Survey, survey
from twinbench.data.checking.targets import target
from twinbench.data.content import require_content
from twinbench.data.decode import prove, read_size
from twinbench.data.errors import DataError, require_is_folder
from twinbench.data.items import ImageFile
from twinbench.data.objects.sizes import size_problem
from twinbench.data.source import Source
from twinbench.runtime.progress import bar

CHUNK = 64  # images handed to a process at a time
BLOCK = 200 * CHUNK  # images handed out before the first answers are read: bounds the memory


class Seen(NamedTuple):
    """What was seen of one image."""

    problem: str = ""
    is_flat: bool = False  # one colour all over
    digest: bytes = b""  # of its bytes, where it was asked for


def check(what: str, data: Path | str | Source, fast: bool = False, processes: int = 0) -> Report:
    """Return what is at `data`, compared with what a complete copy holds.

    `what` is a data set's name, or a layout's, which stands for the published set of that layout, or empty: then
    nothing is expected but data that a worker can use. Each image is decoded by one of `processes` (0: one a core), and
    those whose size in bytes both splits have are compared by their bytes; `fast` reads headers only. All problems are
    found, none is raised; only an unknown name and a missing folder are DataErrors.
    """
    source = Source.of(data)
    if source.is_folder:
        require_is_folder(source.path, "the data set")
    aim = target(what, source)
    findings = survey(aim.way, aim.source)
    repeats = Repeats(findings.splits, looked_for=not fast)
    flat = _examine_all(findings, repeats, fast, processes)
    for split in findings.splits:
        with findings.noting("constant images"):
            require_content(source, "test" if split.is_test else "training", split.paths)
    problems, notes = compare(aim, findings)
    return Report(
        layout=aim.title,
        root=str(aim.source),
        expected_from=aim.expected_from,
        counts=findings.counts,
        expected=aim.expected,
        optional=tuple(sorted(aim.optional & aim.expected.keys())),
        problems=problems,
        left_out=findings.left_out,
        constant=flat,
        in_both=repeats.count,
        notes=notes,
    )


def _examine_all(findings: Survey, repeats: Repeats, fast: bool, processes: int) -> int:
    """Look at every image, note what is wrong with it, and return how many have one colour all over."""
    total = sum(len(split.paths) for split in findings.splits)
    number = processes or min(len(os.sched_getaffinity(0)), 1 + total // CHUNK)
    flat = 0
    for split, path, seen in bar(
        _answers(findings.splits, repeats, fast, number), what="images", total=total, unit="img"
    ):
        flat += seen.is_flat
        repeats.meet(split, seen.digest)
        if seen.problem:
            missing = isinstance(path, Path) and not path.exists()
            findings.note("missing images" if missing else "unreadable images", seen.problem)
    return flat


def _answers(
    splits: Iterable[Split], repeats: Repeats, fast: bool, processes: int
) -> Iterator[tuple[Split, ImageFile, Seen]]:
    """Yield each image with its split and what was seen of it, in order."""
    with _mapper(processes) as mapper:
        for split in splits:
            for start in range(0, len(split.paths), BLOCK):
                block = split.paths[start : start + BLOCK]
                sizes = split.sizes[start : start + BLOCK] if split.sizes else repeat(None, len(block))
                digested = repeats.candidates(split, start, len(block))
                answers = mapper(partial(examine, fast=fast), block, sizes, digested)
                for path, seen in zip(block, answers, strict=True):
                    yield split, path, seen


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


def examine(path: ImageFile, size: tuple[int, int] | None = None, digested: bool = False, fast: bool = False) -> Seen:
    """Return what is wrong with an image, or nothing, and whether it is flat.

    `size` is what its annotation says, (width, height); where `digested`, the digest of its bytes is returned, too.
    """
    try:
        proof = None if fast else prove(path)
        if size and (problem := size_problem(path, size)):
            return Seen(problem)
        if proof is None:
            read_size(path)
    except DataError as error:
        return Seen(str(error))
    return Seen("", bool(proof and proof.is_flat), _digest(path) if digested else b"")


def _digest(path: ImageFile) -> bytes:
    """Return a digest of an image's bytes, or of its pixels where it was never encoded."""
    content = path.read_bytes() if isinstance(path, Path) else path.content()
    return hashlib.blake2b(content if isinstance(content, bytes) else content.tobytes(), digest_size=16).digest()
