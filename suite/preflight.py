"""Every reason why a suite could not run, found before anything is started; the launcher adds its own."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from twinbench.data.source import FORMS, Source
from twinbench.protocols.house import UserError
from twinbench.report.provenance import code
from twinbench.runtime.duration import disk_space
from twinbench.suite.backbone import PRODUCT
from twinbench.suite.estimate import disk_bytes, passing_bytes
from twinbench.suite.expected import data_of
from twinbench.suite.here import LocalLauncher
from twinbench.suite.job import Job
from twinbench.suite.launcher import Launcher
from twinbench.suite.proofs import require_found, require_offers, sizes
from twinbench.suite.series import describe
from twinbench.suite.suite import Suite, SuiteError


def require_sound(suite: Suite, jobs: Sequence[Job], launcher: Launcher) -> None:
    """Raise SuiteError with every problem, one line for all."""
    found = problems(suite, jobs, launcher)
    if found:
        here = isinstance(launcher, LocalLauncher) or "--local" in found[-1]
        begun, hint = ("started", "") if here else ("queued", " (--local runs it on this machine)")
        raise SuiteError(f"{suite.file}: nothing was {begun}: {'; '.join(found)}{hint}")


def problems(suite: Suite, jobs: Sequence[Job], launcher: Launcher) -> list[str]:
    """Return what would keep the suite from running, each with what to do."""
    missing = [job for job in jobs if not job.is_there()]
    found = [
        *root_problems(suite),
        *_checkpoints(_part(suite, missing, points=False)),
        *_data(suite, missing),
    ]
    if suite.cluster.check_disk and (short := _disk(suite, missing)):  # after the proofs, which tell sizes
        found.append(f"{short}; make room, or say cluster: {{check_disk: false}} to try it all the same")
    return found + launcher.problems(suite, jobs)


def remarks(suite: Suite, missing: Sequence[Job], finished: Sequence[Job], launcher: Launcher) -> list[str]:
    """Return what may surprise, but forbids nothing."""
    found = [describe(each.common.name, each.files) for each in suite.series]
    found += _checkpoints(_part(suite, missing, points=True))
    found += _untold(suite, finished)
    found += _trainings(missing)
    if code()["dirty"] == "True":
        found.append("the checkout has changes that are not committed; results will say so")
    if not suite.cluster.check_disk and (short := _disk(suite, missing)):
        found.append(short)
    return found + launcher.remarks(suite)


def existing(path: Path) -> Path:
    """Return the nearest folder above `path` that exists, or `path` itself."""
    while not path.exists():
        path = path.parent
    return path


def root_problems(suite: Suite) -> Iterator[str]:
    """Yield what is wrong with the folder everything is written to."""
    place = existing(suite.root)
    if not place.is_dir():
        yield f"root: {place} is a file; choose a folder, which need not be there yet"
    elif not os.access(place, os.W_OK):
        yield f"{place} is not writable; choose a root on a disk that you and all nodes can write to"


def _disk(suite: Suite, missing: Sequence[Job]) -> str:
    """Say that there is too little room even if the jobs run one after the other; nothing if there is enough."""
    place = existing(suite.root)
    left = sum(disk_bytes(missing, sizes(suite)).values())
    needed, free = left + max(map(passing_bytes, missing), default=0), shutil.disk_usage(place).free
    if needed <= free:
        return ""
    return f"{place} has {disk_space(free)} free, but the missing jobs write about {disk_space(needed)}"


def _data(suite: Suite, missing: Sequence[Job]) -> Iterator[str]:
    """Yield the data that a worker of a missing job would refuse, in its words, each once.

    What takes a library that is not here is left to the workers: login nodes have no torch.
    """
    told: set[str] = set()
    for name, source, read in data_of(suite, {job.name for job in missing}):
        if not _is_readable_here(source):
            continue
        try:
            read(source)
        except (UserError, OSError) as error:
            if str(error) not in told:
                told.add(str(error))
                yield f"data.{name}: {error}"


def _untold(suite: Suite, finished: Sequence[Job]) -> Iterator[str]:
    """Yield the data of finished jobs that cannot be read: nobody can tell whether they are what was measured on."""
    for name, source, read in data_of(suite, {job.name for job in finished}, checked=False):
        try:
            read(source)
        except (UserError, OSError) as error:
            yield f"data.{name}: {error}; what was measured on it stays as it is, whatever it holds now"


def _trainings(missing: Sequence[Job]) -> Iterator[str]:
    """Yield the protocols whose trials are many trainings, which their number of trials hides."""
    found: dict[tuple[str, int], set[str]] = {}
    for job in missing:
        if job.protocol and job.protocol.recipe.trainings > 1:
            family, _, data = job.protocol.name.partition("@")
            found.setdefault((family, job.protocol.recipe.trainings), set()).add(data)
    for (family, trainings), sets in found.items():
        on = f" on each of {len(sets)} data sets" if len(sets) > 1 else ""
        yield (
            f"{family}: a trial is {trainings} trainings, one after the other{on}; `gpus: N` in its entry has N GPUs "
            "share each of them"
        )


def _is_readable_here(source: Source) -> bool:
    """Say whether the library that a form of data needs, if any, is installed."""
    library = "" if source.is_folder else FORMS[source.form].library
    return not library or find_spec(library) is not None


def _part(suite: Suite, missing: Sequence[Job], *, points: bool) -> Suite:
    """Return the suite with those methods alone for which something is missing: of them the points of its series, a
    bad one of which is a bad cell and no more, or the others."""
    needed = {job.name.partition("/")[0] for job in missing}
    methods = tuple(method for method in suite.methods if bool(method.series) == points and method.name in needed)
    return replace(suite, methods=methods)


def _checkpoints(suite: Suite) -> Iterator[str]:
    """Yield the checkpoints that cannot be had, hold no whole backbone, or one that lacks what a protocol takes."""
    for method in suite.methods:
        if (suite.root / method.name / "backbone" / PRODUCT).exists():
            continue
        protocols = [entry.protocol for entry in suite.measurements if method.wants(entry.protocol)]
        try:
            if method.file:
                require_offers(method, protocols)
            else:
                require_found(method)
        except UserError as error:
            yield f"methods.{method.name}: {error}"
