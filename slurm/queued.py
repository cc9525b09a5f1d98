"""What Slurm has of a suite in its queue, as a submission finds it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from twinbench.slurm import scheduler
from twinbench.slurm.ledger import FOLDER, MEMBERS, Batch, Ledger
from twinbench.slurm.scheduler import Queued
from twinbench.slurm.view import note_asked
from twinbench.suite.record import read_end
from twinbench.suite.suite import Suite


@dataclass
class State:
    """The suite on Slurm, as a submission finds it."""

    ledger: Ledger
    queue: list[Queued]  # all of the user's jobs
    active: dict[str, str] = field(default_factory=dict)  # Slurm's ids of the suite's jobs that wait or run, by name
    stuck: dict[str, Queued] = field(default_factory=dict)  # those that no waiting will start

    def leave_out(self, ending: str, root: Path) -> None:
        """Count the job `ending`, and those that have written down their end, as gone: Slurm may still clear up."""
        for name, slurm_id in list(self.active.items()):
            if slurm_id == ending or read_end(root / name, slurm_id):
                del self.active[name]

    def take_out(self, names: Iterable[str]) -> None:
        """Cancel those of the named jobs that would never start."""
        gone = {self.stuck.pop(name).slurm_id for name in names if name in self.stuck}
        if gone:
            scheduler.cancel(sorted(gone))
            self.queue = [entry for entry in self.queue if entry.slurm_id not in gone]

    def submissions(self, name: str) -> list[Batch]:
        """Return the batches of the present round that a job was submitted in."""
        batches = (self.ledger.batches[batch.slurm_name] for batch in self.ledger.round.get(name, ()))
        return [batch for batch in batches if batch.slurm_id]


def was_submitted(root: Path) -> bool:
    """Say whether anything of the suite in `root` was ever submitted."""
    return any((root / FOLDER).glob(f"*/{MEMBERS}"))


def ask_queue(suite: Suite) -> State:
    """Ask Slurm what it has of the suite; forgotten submissions are found again."""
    ledger = Ledger(suite.root)
    queue = scheduler.queue(ledger.users)
    ledger.adopt(queue, suite.name)
    own = {entry.slurm_id: entry for entry in queue if entry.name in ledger.batches}
    note_asked(suite.root, list(own.values()))
    state = State(ledger, queue)
    for name, (_, slurm_id) in ledger.latest().items():
        if slurm_id in own and own[slurm_id].reason.strip("()") in scheduler.NEVER:
            state.stuck[name] = own[slurm_id]
        elif slurm_id in own:
            state.active[name] = slurm_id
    return state
