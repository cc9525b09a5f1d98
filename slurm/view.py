"""What Slurm says about a suite's jobs, asked seldom: answers are kept in the suite's root for some seconds.

However many people watch, and in however many windows, each of the two questions (what is queued, what has ended) is
asked at most once in PATIENCE seconds, so Slurm hears from a suite at most once in half of that. What is kept is always
of the whole suite, whoever asked and whatever for.
"""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, read_json
from twinbench.protocols.typed import as_typed
from twinbench.slurm import scheduler
from twinbench.slurm.ledger import Ledger
from twinbench.slurm.scheduler import Accounted, Queued, SchedulerError

PATIENCE = 20.0  # seconds
FILE = ".slurm-view.json"
MOST_BYTES = 50_000_000  # 200 or so for each job of a suite
UNKNOWN = Accounted("", "", "")  # of a job that accounting does not know, or not yet


@dataclass
class View:
    """Slurm's word, by its ids. A problem says why there is none, or only an old one."""

    queue: dict[str, Queued] = field(default_factory=dict)
    history: dict[str, Accounted] = field(default_factory=dict)  # of jobs that were asked for
    queue_asked: float = 0.0  # seconds since 1970
    history_asked: float = 0.0
    problem: str = ""


def look(root: Path, ledger: Ledger, unsettled: Sequence[str], suite_name: str) -> View:
    """Return what Slurm knows of the `unsettled` jobs of the suite, from the file of the last look if it is fresh."""
    view = _read(root / FILE)
    if not unsettled or not scheduler.has_slurm():
        return view
    now, changed = time.time(), False
    try:
        if now - view.queue_asked >= PATIENCE:
            view.queue_asked, view.problem, changed = now, "", True
            queue = scheduler.queue(ledger.users)
            ledger.adopt(queue, suite_name)
            view.queue = {entry.slurm_id: entry for entry in queue if entry.name in ledger.batches}
        latest = ledger.latest()
        submitted = [latest[name] for name in unsettled if name in latest]
        vanished = {
            slurm_id: batch.slurm_name
            for batch, slurm_id in submitted
            if slurm_id not in view.queue and not view.history.get(slurm_id, UNKNOWN).state
        }
        if vanished and now - view.history_asked >= PATIENCE:
            view.history_asked, changed = now, True
            ended = _ended(scheduler.history(vanished, set(vanished.values())))
            view.history |= {slurm_id: ended.get(slurm_id, UNKNOWN) for slurm_id in vanished}
    except SchedulerError as error:
        view.problem = str(error)
    if changed:
        _write(root / FILE, view)
    return view


def seconds_since_asked(root: Path) -> float:
    """Return how long ago somebody asked Slurm for the queue."""
    return time.time() - _read(root / FILE).queue_asked


def note_asked(root: Path, queue: Sequence[Queued]) -> None:
    """Keep the answer of somebody who had to ask; what has ended is told anew, but not sooner than otherwise."""
    view = View({entry.slurm_id: entry for entry in queue}, queue_asked=time.time())
    _write(root / FILE, view)


def forget(root: Path) -> None:
    """Let the next look ask Slurm again: something was just cancelled."""
    (root / FILE).unlink(missing_ok=True)


def _ended(found: dict[str, Accounted]) -> dict[str, Accounted]:
    """Leave out what accounting still believes to run."""
    return {slurm_id: entry for slurm_id, entry in found.items() if entry.state not in scheduler.ALIVE}


def _read(path: Path) -> View:
    """Return the last look, or an empty one."""
    try:
        found: dict[str, Any] = read_json(path, at_most=MOST_BYTES)
        found["queue"] = {key: as_typed(Queued, entry, FILE) for key, entry in found["queue"].items()}
        found["history"] = {key: as_typed(Accounted, entry, FILE) for key, entry in found["history"].items()}
        return as_typed(View, found, FILE)
    except (TextError, TypeError, KeyError, AttributeError):
        return View()


def _write(path: Path, view: View) -> None:
    """Keep a look for others. Where that can't be (a colleague's folder, a full disk), Slurm is asked once more."""
    with contextlib.suppress(OSError), replacing(path) as beside:
        beside.write_text(json.dumps(asdict(view)))
