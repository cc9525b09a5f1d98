"""Every reason why a suite could not run, found before anything is started; the launcher adds its own."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from twinbench.data.source import FORMS
from twinbench.protocols.house import UserError
from twinbench.report.provenance import code
from twinbench.suite.estimate import disk_bytes
from twinbench.suite.expected import data_of
from twinbench.suite.graph import Job
from twinbench.suite.launcher import Launcher
from twinbench.suite.series import describe
from twinbench.suite.suite import Suite, SuiteError


def require_sound(suite: Suite, jobs: Sequence[Job], launcher: Launcher) -> None:
    """Raise SuiteError with every problem, one line for all."""
    found = problems(suite, jobs, launcher)
    if found:
        hint = "" if "--local" in found[-1] else " (--local runs it on this machine)"
        raise SuiteError(f"{suite.file}: nothing was queued: {'; '.join(found)}{hint}")


def problems(suite: Suite, jobs: Sequence[Job], launcher: Launcher) -> list[str]:
    """Return what would keep the suite from running, each with what to do."""
    return [
        *_root(suite, jobs),
        *_checkpoints(_part(suite, points=False)),
        *_data(suite, jobs),
        *launcher.problems(suite, jobs),
    ]


def remarks(suite: Suite, launcher: Launcher) -> list[str]:
    """Return what may surprise, but forbids nothing."""
    found = [describe(each.common.name, each.files) for each in suite.series]
    found += _checkpoints(_part(suite, points=True))
    if code()["dirty"] == "True":
        found.append("the checkout has changes that are not committed; results will say so")
    return found + launcher.remarks(suite)


def existing(path: Path) -> Path:
    """Return the nearest folder above `path` that exists, or `path` itself."""
    while not path.exists():
        path = path.parent
    return path


def _root(suite: Suite, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield what is wrong with the folder everything is written to."""
    place = existing(suite.root)
    if not os.access(place, os.W_OK):
        yield f"{place} is not writable; choose a root on a disk that you and all nodes can write to"
        return
    disk, free = disk_bytes(jobs), shutil.disk_usage(place).free
    needed = sum(disk[job.name] for job in jobs if not job.product.exists())
    if needed > free:
        yield f"{place} has {free / 1e9:.1f} GB free, but the missing jobs write about {needed / 1e9:.1f} GB; make room"


def _data(suite: Suite, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield the data that a worker of a missing job would refuse, in the words of its reader, each once.

    What takes a library that is not here is left to the workers: login nodes have no torch.
    """
    missing = {job.name for job in jobs if not job.product.exists()}
    told: set[str] = set()
    for name, source, read in data_of(suite, missing):
        library = "" if source.is_folder else FORMS[source.form].library
        if library and not find_spec(library):
            continue
        try:
            read(source)
        except (UserError, OSError) as error:
            if str(error) not in told:
                told.add(str(error))
                yield f"data.{name}: {error}"


def _part(suite: Suite, *, points: bool) -> Suite:
    """Return the suite with the points of its series alone, a bad one of which is a bad cell and no more, or without
    them."""
    return replace(suite, methods=tuple(method for method in suite.methods if bool(method.series) == points))


def _checkpoints(suite: Suite) -> Iterator[str]:
    """Yield the checkpoints that hold no whole backbone, or one that lacks what a protocol takes."""
    for method in suite.methods:
        if not method.file:
            continue
        made = suite.root / method.name / "backbone" / "resnet50.pth"
        if made.exists():
            continue
        from twinbench.convert.finding.find import Wanted
        from twinbench.convert.opening import open_backbone

        try:
            backbone = open_backbone(
                method.checkpoint, convention=method.input or None, wanted=Wanted(method.layout or None)
            )
            for protocol in (entry.protocol for entry in suite.measurements if method.wants(entry.protocol)):
                backbone.require(protocol.recipe.takes, protocol.name)
        except UserError as error:
            yield f"methods.{method.name}: {error}"
