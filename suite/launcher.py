"""The seam between a suite and what starts its jobs: a cluster's scheduler (`slurm/`), or this machine (`here.py`).

Files are the truth: a launcher starts jobs and says what it knows of those that the files leave open, no more. Another
scheduler is one file with one class that has the methods of `Launcher`; CLUSTER names it by import path, because it
stands on the suite and not below it.
"""

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from twinbench.suite.job import Job
from twinbench.suite.record import Record
from twinbench.suite.suite import Suite, SuiteError

CLUSTER = "twinbench.slurm.launcher:SlurmLauncher"

# queued, running; never: queued, but no waiting will start it; ended; lost: has gone, and nothing says why, or not yet;
# unknown: the launcher could not be asked
Known = Literal["queued", "running", "never", "ended", "lost", "unknown"]


@dataclass(frozen=True)
class Seen:
    """What a launcher knows of one job."""

    state: Known
    reason: str = ""  # why it waits, where it runs, how it ended
    job_id: str = ""  # the launcher's own
    log: Path | None = None  # what was said before the worker began; may not be there


@dataclass(frozen=True)
class View:
    """What a launcher knows of a suite's jobs, by their names; a job that it was never given is left out."""

    jobs: Mapping[str, Seen] = field(default_factory=dict)
    problem: str = ""  # why it could not be asked
    notes: tuple[str, ...] = ()  # what else people should know


@dataclass(frozen=True)
class Submission:
    """What a launcher was given. One that waits for its jobs says how those that did not succeed have ended."""

    jobs: int = 0
    batches: int = 0
    failed: Mapping[str, Record] = field(default_factory=dict)


class Launcher(Protocol):
    """What a suite asks of whoever starts its jobs."""

    name: str  # as messages say it
    lag_seconds: float  # how long the reason of a job's end may be late

    def available(self) -> bool:
        """Say whether jobs can be started from here."""
        ...

    def about(self) -> list[str]:
        """Return its version and what it offers, a line each, for bug reports; UserError where it does not answer."""
        ...

    def problems(self, suite: Suite, jobs: Sequence[Job]) -> list[str]:
        """Return what would keep the jobs from running, each with what to do."""
        ...

    def remarks(self, suite: Suite) -> list[str]:
        """Return what may surprise, but forbids nothing."""
        ...

    def scripts(self, suite: Suite, jobs: Sequence[Job]) -> list[str]:
        """Return the text of each submission that the missing of `jobs` would be."""
        ...

    def submit(self, suite: Suite, jobs: Sequence[Job]) -> Submission:
        """Start every one of `jobs`, which may be a part of the suite's, that is neither done nor started already."""
        ...

    def look(self, suite: Suite, names: Sequence[str], *, fresh: bool = False) -> View:
        """Return what is known of the named jobs; an answer may be some seconds old unless a `fresh` one is asked."""
        ...

    def active(self, suite: Suite) -> dict[str, str]:
        """Return the launcher's ids of the suite's jobs that wait or run, by name."""
        ...

    def cancel(self, suite: Suite, names: Collection[str] = ()) -> int:
        """Stop what waits and what runs, of the named jobs or, without names, of all; return how many."""
        ...

    def logs(self, suite: Suite, name: str) -> list[Path]:
        """Return the files that hold what was said of a job outside of its own folder, the oldest first: before its
        worker began, and by the scheduler."""
        ...


def cluster_launcher() -> Launcher:
    """Return the launcher for the cluster, whether or not there is one."""
    module, _, name = CLUSTER.partition(":")
    return getattr(importlib.import_module(module), name)()


def refuse_if_active(suite: Suite, names: Collection[str] = ()) -> None:
    """Raise SuiteError if jobs of the suite, or those of them named, are on the cluster, which a run here would measure
    twice, or move aside."""
    launcher = cluster_launcher()
    active = launcher.active(suite) if launcher.available() else {}
    active = [name for name in active if not names or name in names]
    if active:
        raise SuiteError(
            f"{suite.root}: {len(active)} jobs of this suite are on {launcher.name}; wait for them, or cancel them "
            f"with: twinbench suite cancel {suite.file}"
        )
