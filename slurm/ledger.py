"""Which Slurm job does which of the suite's jobs: `jobs.jsonl` in the suite's root, only ever appended to.

A *round* begins with `twinbench suite run` and goes on by itself: jobs that end submit what there was no room for, and
what is worth another try. A batch (one sbatch, perhaps an array) is announced before it is submitted and confirmed
after. If the submitting process dies in between, Slurm itself is asked for the batch, by its job name, which no other
batch has. If the announcement's line is lost, too, what is in the batch stands in its own folder.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twinbench.protocols.house import replacing
from twinbench.protocols.text import TextError, read_json
from twinbench.runtime.progress import JsonLog, read_log
from twinbench.slurm.scheduler import Queued

FILE = "jobs.jsonl"
FOLDER = "slurm"  # below the suite's root: a folder of each batch
MEMBERS = "jobs.json"  # in a batch's folder: the suite's jobs in it
TOP_UP_LOG = "top-up.log"  # in FOLDER: why jobs that ended could not submit others


@dataclass(frozen=True)
class Batch:
    """One submission: the suite's jobs in it, in the order of the array's elements."""

    slurm_name: str
    jobs: tuple[str, ...]
    slurm_id: str = ""  # empty: announced only
    cause: str = ""  # why its jobs are tried once more, see retry.py
    exclude: tuple[str, ...] = ()  # nodes that it keeps off
    mem_gb: int = 0  # what it asks for each process; 0: as the suite says

    @property
    def elements(self) -> list[tuple[str, str]]:
        """The jobs with Slurm's ids of them."""
        if len(self.jobs) == 1:
            return [(self.jobs[0], self.slurm_id)]
        return [(job, f"{self.slurm_id}_{index}") for index, job in enumerate(self.jobs)]

    def log(self, root: Path, slurm_id: str) -> Path:
        """Return the file below a suite's `root` of what one of its jobs has said, its worker apart."""
        return root / FOLDER / self.slurm_name / f"{slurm_id}_0_log.out"

    def element(self, job: str) -> str:
        """Return Slurm's id of one of the jobs."""
        return dict(self.elements)[job]


class Ledger:
    """The batches of a suite, and what of them belongs to the present round."""

    def __init__(self, root: Path):
        """Read what was submitted before."""
        self.root = root
        self._log = JsonLog(root / FILE, durable=True)
        self.batches: dict[str, Batch] = {}
        self.round: dict[str, list[Batch]] = {}  # the batches of this round that a job is in
        self.only: frozenset[str] = frozenset()  # the jobs that this round is about; none: all
        self.cancelled: set[str] = set()  # jobs that this round leaves alone from now on
        self.open = False  # jobs that end may submit more
        self.left = 0  # jobs that there was no room for yet
        self.began = 0.0  # seconds since 1970
        self.users = {str(os.getuid())}  # who has submitted, and whoever asks
        self.damaged: list[int] = []  # numbers of lines that are none
        for line in read_log(root / FILE, self.damaged) if (root / FILE).exists() else ():
            self._take(line)

    @property
    def problem(self) -> str:
        """What to tell of damaged lines; empty if there are none."""
        if not self.damaged:
            return ""
        lines = ", ".join(map(str, self.damaged[:5])) + (" and more" if len(self.damaged) > 5 else "")
        return f"{self.root / FILE}: passed over what is no line of it ({lines}); Slurm is asked by the jobs' names"

    def begin(self, only: Iterable[str], active: Iterable[str]) -> None:
        """Write down that a round begins, about the jobs `only` (none: all); what is `active` goes on in it."""
        latest = self.latest()
        kept = {latest[name][0].slurm_name for name in active}
        self._write(run=uuid.uuid4().hex[:8], only=sorted(only), kept=sorted(kept))

    def cancel(self, names: Iterable[str] = ()) -> None:
        """Write down that nothing more is to be submitted of the named jobs, or of all."""
        self._write(cancel=sorted(names))

    def leave(self, count: int) -> None:
        """Write down for how many jobs there was no room."""
        if count != self.left:
            self._write(left=count)

    def announce(self, batch: Batch) -> None:
        """Write down that a batch is about to be submitted: in its folder, too, where the suite's own file may tear."""
        with replacing(self.root / FOLDER / batch.slurm_name / MEMBERS) as beside:
            beside.write_text(json.dumps(_told(batch)) + "\n")
        self._write(**_told(batch), user=str(os.getuid()))

    def confirm(self, batch: Batch, slurm_id: str) -> Batch:
        """Write down the id that Slurm gave to a batch, and return it with that."""
        self._write(batch=batch.slurm_name, id=slurm_id)
        return self.batches[batch.slurm_name]

    def adopt(self, queue: Iterable[Queued], suite_name: str) -> None:
        """Confirm batches of which Slurm knows more than this file: by their names, those in the `queue`."""
        for name, slurm_id in {entry.name: entry.slurm_id.partition("_")[0] for entry in queue}.items():
            known = self.batches.get(name)
            if known and known.jobs and known.slurm_id:
                continue
            if not known or not known.jobs:
                if not name.startswith(f"{suite_name}."):
                    continue
                try:
                    self._adopt(read_json(self.root / FOLDER / name / MEMBERS))
                except (TextError, TypeError):
                    continue  # another suite of this name
            self._adopt({"batch": name, "id": slurm_id})

    def wants(self, name: str) -> bool:
        """Say whether the round is about a job, as far as it is missing."""
        return name not in self.cancelled and (not self.only or name in self.only or name in self.round)

    def latest(self) -> dict[str, tuple[Batch, str]]:
        """Return, for each job that was ever submitted, its last batch and Slurm's id of it in there."""
        confirmed = (batch for batch in self.batches.values() if batch.slurm_id)
        return {job: (batch, slurm_id) for batch in confirmed for job, slurm_id in batch.elements}

    def _adopt(self, line: dict[str, Any]) -> None:
        """Take a line in, and append it where that can be done: a colleague may only look."""
        self._take(line)
        with contextlib.suppress(OSError):
            self._log.write(**line)

    def _write(self, **line: Any) -> None:
        """Append a line, and take it in."""
        self._log.write(**line)
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        """Keep what one line says; of a line that is none of ours, nothing."""
        match line:
            case {"run": str()}:
                kept = set(map(str, line.get("kept") or ()))
                going_on = {
                    job: [each for each in found if each.slurm_name in kept] for job, found in self.round.items()
                }
                self.round = {job: found for job, found in going_on.items() if found}
                self.cancelled, self.left, self.open = set(), 0, True
                at = line.get("time")
                self.began = float(at) if isinstance(at, int | float) else time.time()  # of a line of right now: none
                self.only = frozenset(map(str, line.get("only") or ()))
            case {"cancel": list(names)}:
                self.cancelled.update(map(str, names))
                self.open = self.open and bool(names)
            case {"left": int(count)}:
                self.left = count
            case {"batch": str(name), "jobs": list(jobs)}:
                told = {"cause": str(line.get("cause", "")), "exclude": tuple(map(str, line.get("exclude") or ()))}
                batch = Batch(name, tuple(map(str, jobs)), mem_gb=int(line.get("mem_gb") or 0), **told)
                self.batches[name] = batch
                self.users.update(filter(None, [str(line.get("user", ""))]))
                for job in batch.jobs:
                    self.round.setdefault(job, []).append(batch)
            case {"batch": str(name), "id": str(slurm_id)}:
                before = self.batches.get(name, Batch(name, ()))
                self.batches[name] = replace(before, slurm_id=slurm_id)
            case _:
                pass


def new_batch(
    suite_name: str, jobs: Sequence[str], cause: str = "", exclude: Sequence[str] = (), mem_gb: int = 0
) -> Batch:
    """Return a batch with a name that no other has."""
    return Batch(f"{suite_name}.{uuid.uuid4().hex[:8]}", tuple(jobs), "", cause, tuple(exclude), mem_gb)


def _told(batch: Batch) -> dict[str, Any]:
    """Return a batch as a line."""
    told: dict[str, Any] = {"batch": batch.slurm_name, "jobs": list(batch.jobs)}
    more = {"cause": batch.cause, "exclude": list(batch.exclude), "mem_gb": batch.mem_gb}
    return told | {key: value for key, value in more.items() if value}
