"""A suite on Slurm: what is missing becomes batches with dependencies, submitted through submitit.

Backbones are jobs of their own; the trials of a method are arrays that wait for its backbone; a last job, the steward,
writes the table. Files are the truth and the queue only a hint, so running this again submits what is missing and no
more.

Where there is no room for all (`max_running`, or a limit of the site), jobs that end submit what follows, and so does
the steward, who also gives jobs another try that ended for a cause which one may cure. No login process is needed.
"""

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from twinbench.report.provenance import code_root
from twinbench.slurm import scheduler
from twinbench.slurm.ledger import Batch, Ledger
from twinbench.slurm.queued import ask_queue, was_submitted
from twinbench.slurm.retry import find_tries
from twinbench.slurm.snapshot import take_snapshot
from twinbench.slurm.view import forget, seconds_since_asked
from twinbench.slurm.wave import renew, submit_wave
from twinbench.suite.graph import build_jobs
from twinbench.suite.job import REPORT, Job
from twinbench.suite.lock import only_runner
from twinbench.suite.missing import missing_jobs
from twinbench.suite.record import read_end
from twinbench.suite.resolved import FILE, write_resolved
from twinbench.suite.suite import Suite, SuiteError, read_suite, take_checkpoints

ASK_SECONDS = 10.0  # between two questions of jobs that end
LOOK_SECONDS = 600.0  # after so long a job that ends looks around, though it knows of nothing to do
TURN_SECONDS = 120.0  # that a steward, or who cancels, waits for another's submission to end


def submit_missing(suite: Suite, jobs: Sequence[Job]) -> list[Batch]:
    """Begin a round: submit those of `jobs` that are neither done nor in the queue, and the steward after them.

    Return the new batches. With a part of the suite's jobs (one without the report) the round is about that part.
    """
    state = ask_queue(suite)
    state.take_out(list(state.stuck))
    missing = _missing(jobs, state.active)
    if not missing and not state.active:
        return []
    if not missing and REPORT in state.active:
        renew(state)
        return []
    whole = any(job.kind == "report" for job in jobs)
    state.ledger.begin(() if whole else [job.name for job in jobs], state.active)
    write_resolved(suite)
    code = take_snapshot(suite.root / "code")
    return submit_wave(suite, code, state, missing, missing, {})


def top_up(root: Path) -> None:
    """Submit what there is room for now that this job has ended; for the last act of a job of the suite in `root`."""
    ledger, ending = Ledger(root), scheduler.own_id()
    due = ledger.left or _ended_of_a_cause(ledger, ending) or seconds_since_asked(root) > LOOK_SECONDS
    if not due or not ledger.open:
        return
    try:
        with only_runner(root):
            time.sleep(max(0.0, ASK_SECONDS - seconds_since_asked(root)))
            go_on(read_suite(root / FILE), ending)
    except SuiteError:
        return  # whoever is at it sees this job's end, or the steward will


def go_on(suite: Suite, ending: str) -> bool:
    """Go on with the round of a suite, from within its job `ending`; return whether anything of it is left to do.

    What was submitted in this round is submitted once more only if it ended for a cause that another try may cure.
    """
    state = ask_queue(suite)
    ledger = state.ledger
    if not ledger.open:
        return False
    state.leave_out(ending, suite.root)
    missing = _missing(build_jobs(suite), state.active)
    wanted = [job for job in missing if ledger.wants(job.name)]
    tries = find_tries(state, wanted)
    due = [job for job in wanted if job.name in tries or not state.submissions(job.name)]
    hopeless = {job.name for job in missing} - {*state.active, *(job.name for job in due)}
    due = [job for job in due if not hopeless.intersection(job.needs)]
    state.take_out([job.name for job in due])
    take_checkpoints(suite)  # of files that are new since the round began
    return bool((due or state.active) and submit_wave(suite, code_root(), state, due, missing, tries))


def cancel_all(suite: Suite, names: Collection[str] = ()) -> int:
    """Cancel the suite's jobs in the queue, or those named, dependents first, and submit no more; return how many."""
    if not was_submitted(suite.root):
        return 0
    with only_runner(suite.root, patience=TURN_SECONDS):
        state = ask_queue(suite)
        state.ledger.cancel(names)
        found = {**state.active, **{name: entry.slurm_id for name, entry in state.stuck.items()}}
        found = {name: slurm_id for name, slurm_id in found.items() if not names or name in names}
        ids = list(reversed(found.values()))
        # an array as one, if it goes as a whole
        scheduler.cancel(ids if names else list(dict.fromkeys(slurm_id.partition("_")[0] for slurm_id in ids)))
        forget(suite.root)
    return len(found)


def active_jobs(suite: Suite) -> dict[str, str]:
    """Return Slurm's ids of the suite's jobs that wait or run, by name."""
    return ask_queue(suite).active if was_submitted(suite.root) else {}


def _missing(jobs: Sequence[Job], active: Collection[str]) -> list[Job]:
    """Return the jobs that are neither done nor active, but for the report: the steward writes it."""
    return [job for job in missing_jobs(jobs, active) if job.kind != "report"]


def _ended_of_a_cause(ledger: Ledger, ending: str) -> bool:
    """Say whether the job `ending` has failed for a cause that may be worth another try."""
    name = next((name for name, (_, slurm_id) in ledger.latest().items() if slurm_id == ending), "")
    record = read_end(ledger.root / name, ending) if name else None
    return bool(record and record.cause)
