"""Which Slurm job does which of the suite's jobs: `jobs.jsonl` in the suite's root, only ever appended to.

A batch (one sbatch, perhaps an array) is announced before it is submitted and confirmed after. If the submitting
process dies in between, Slurm itself is asked for the batch, by its job name, which no other batch has.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinbench.runtime.progress import JsonLog, read_log

FILE = "jobs.jsonl"


@dataclass(frozen=True)
class Batch:
    """One submission: the suite's jobs in it, in the order of the array's elements."""

    slurm_name: str
    jobs: tuple[str, ...]
    slurm_id: str = ""  # empty: announced only

    def element(self, job: str) -> str:
        """Return Slurm's id of one of the jobs."""
        return self.slurm_id if len(self.jobs) == 1 else f"{self.slurm_id}_{self.jobs.index(job)}"


class Ledger:
    """The batches of a suite."""

    def __init__(self, root: Path):
        """Read what was submitted before."""
        self._log = JsonLog(root / FILE)
        self.batches: dict[str, Batch] = {}
        for line in read_log(root / FILE) if (root / FILE).exists() else ():
            self._take(line["batch"], line.get("jobs"), line.get("id", ""))

    def announce(self, suite_name: str, jobs: Sequence[str]) -> Batch:
        """Write down that `jobs` are about to be submitted together; return the batch with its unique name."""
        name = f"{suite_name}.{uuid.uuid4().hex[:8]}"
        self._log.write(batch=name, jobs=list(jobs))
        return self._take(name, jobs, "")

    def confirm(self, batch: Batch, slurm_id: str) -> Batch:
        """Write down the id that Slurm gave to a batch."""
        self._log.write(batch=batch.slurm_name, id=slurm_id)
        return self._take(batch.slurm_name, None, slurm_id)

    def adopt(self, ids: dict[str, str]) -> None:
        """Confirm batches that were only announced, where `ids` (name -> id, as Slurm knows them) has them."""
        for batch in [batch for batch in self.batches.values() if not batch.slurm_id]:
            if batch.slurm_name in ids:
                self.confirm(batch, ids[batch.slurm_name])

    def latest(self) -> dict[str, tuple[Batch, str]]:
        """Return, for each job that was ever submitted, its last batch and Slurm's id of it in there."""
        found: dict[str, tuple[Batch, str]] = {}
        for batch in self.batches.values():
            if batch.slurm_id:
                array = len(batch.jobs) > 1
                found.update(
                    (job, (batch, f"{batch.slurm_id}_{index}" if array else batch.slurm_id))
                    for index, job in enumerate(batch.jobs)
                )
        return found

    def _take(self, name: str, jobs: Iterable[str] | None, slurm_id: str) -> Batch:
        """Keep what one line says."""
        before = self.batches.get(name, Batch(name, ()))
        batch = Batch(name, before.jobs if jobs is None else tuple(jobs), slurm_id or before.slurm_id)
        self.batches[name] = batch
        return batch
