"""A suite on Slurm: what is missing becomes batches with dependencies, submitted through submitit.

Backbones are jobs of their own; the trials of a method are arrays that wait for its backbone; a last job, the steward,
writes the table. Files are the truth and the queue only a hint, so running this again submits what is missing and no
more.

Where there is no room for all (`max_running`, or a limit of the site), jobs that end submit what follows, and so does
the steward, who also gives jobs another try that ended for a cause which one may cure. No login process is needed.
"""

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from twinbench.report.provenance import code_root
from twinbench.slurm import scheduler
from twinbench.slurm.batches import Plan, choose, plan_batches
from twinbench.slurm.ledger import FOLDER, Batch, Ledger, new_batch
from twinbench.slurm.limits import Room, read_limits
from twinbench.slurm.retry import Try, cause_of, next_try
from twinbench.slurm.scheduler import Accounted, Queued, QueueFull, SchedulerError
from twinbench.slurm.snapshot import take_snapshot
from twinbench.slurm.view import forget, note_asked, seconds_since_asked
from twinbench.suite.graph import REPORT, Job, build_jobs
from twinbench.suite.lock import only_runner
from twinbench.suite.missing import missing_jobs
from twinbench.suite.record import read_record
from twinbench.suite.resolved import FILE, write_resolved
from twinbench.suite.suite import Suite, SuiteError, read_suite, take_checkpoints

ASK_SECONDS = 10.0  # between two questions of jobs that end
LOOK_SECONDS = 600.0  # after so long a job that ends looks around, though it knows of nothing to do
TURN_SECONDS = 120.0  # that a steward, or who cancels, waits for another's submission to end
LATER = "now+600"  # when a steward looks again that found no room for anything


@dataclass
class State:
    """The suite on Slurm, as a submission finds it."""

    ledger: Ledger
    queue: list[Queued]  # all of the user's jobs
    active: dict[str, str] = field(default_factory=dict)  # Slurm's ids of the suite's jobs that wait or run, by name
    stuck: dict[str, Queued] = field(default_factory=dict)  # those that no waiting will start


def submit_missing(suite: Suite, jobs: Sequence[Job]) -> list[Batch]:
    """Begin a round: submit those of `jobs` that are neither done nor in the queue, and the steward after them.

    Return the new batches. With a part of the suite's jobs (one without the report) the round is about that part.
    """
    state = _look(suite)
    _clear(state, state.stuck)
    missing = _missing(jobs, state.active)
    if not missing and (REPORT in state.active or not state.active):
        return []
    whole = any(job.kind == "report" for job in jobs)
    state.ledger.begin(() if whole else [job.name for job in jobs], state.active)
    write_resolved(suite)
    code = take_snapshot(suite.root / "code")
    return _submit(suite, code, state, missing, missing, {})


def top_up(root: Path) -> None:
    """Submit what there is room for now that this job has ended; for the last act of a job of the suite in `root`."""
    ledger, ending = Ledger(root), own_id()
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
    state = _look(suite)
    ledger = state.ledger
    if not ledger.open:
        return False
    state.active = {name: slurm_id for name, slurm_id in state.active.items() if slurm_id != ending}
    for name in [name for name, slurm_id in state.active.items() if _has_ended(suite.root / name, slurm_id)]:
        del state.active[name]
    missing = _missing(build_jobs(suite), state.active)
    wanted = [
        job for job in missing if job.name not in ledger.cancelled and (not ledger.only or job.name in ledger.only)
    ]
    tries = _tries(state, wanted)
    due = [job for job in wanted if job.name in tries or not _submissions(ledger, job.name)]
    coming = {*state.active, *(job.name for job in due)}
    hopeless = {job.name for job in missing} - coming
    due = [job for job in due if not hopeless.intersection(job.needs)]
    _clear(state, {job.name: state.stuck[job.name] for job in due if job.name in state.stuck})
    return bool((due or state.active) and _submit(suite, code_root(), state, due, missing, tries))


def cancel_all(suite: Suite, names: Collection[str] = ()) -> int:
    """Cancel the suite's jobs in the queue, or those named, dependents first, and submit no more; return how many."""
    if not (suite.root / FOLDER).exists():
        return 0
    with turn(suite.root):
        state = _look(suite)
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
    return _look(suite).active if (suite.root / FOLDER).exists() else {}


def own_id() -> str:
    """Return Slurm's id of the job that this process belongs to, as squeue writes it; empty outside of one."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID", "")


@contextmanager
def turn(root: Path):
    """Hold the suite for the length of the block, after whoever holds it now; SuiteError if that takes too long."""
    end = time.monotonic() + TURN_SECONDS
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(only_runner(root))
                break
            except SuiteError:
                if time.monotonic() > end:
                    raise
                time.sleep(1.0)
        yield


def _look(suite: Suite) -> State:
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


def _missing(jobs: Sequence[Job], active: Collection[str]) -> list[Job]:
    """Return the jobs that are neither done nor active, but for the report: the steward writes it."""
    return [job for job in missing_jobs(jobs, active) if job.kind != "report"]


def _clear(state: State, stuck: Mapping[str, Queued]) -> None:
    """Take jobs out of the queue that would never start."""
    if stuck:
        scheduler.cancel([entry.slurm_id for entry in stuck.values()])
        gone = {entry.slurm_id for entry in stuck.values()}
        state.queue = [entry for entry in state.queue if entry.slurm_id not in gone]


def _tries(state: State, jobs: Sequence[Job]) -> dict[str, Try]:
    """Return how those of `jobs` that this round has submitted before are tried once more, where they are."""
    latest, found = state.ledger.latest(), {}
    before = {job.name: _submissions(state.ledger, job.name) for job in jobs}
    ended = {name: latest[name] for name, batches in before.items() if batches}
    history = _history(ended.values())
    for job in jobs:
        if job.name not in ended:
            continue
        batch, slurm_id = ended[job.name]
        told = history.get(slurm_id)
        held = job.name in state.stuck and state.stuck[job.name].reason.strip("()") == scheduler.LAUNCH_FAILED
        cause = "node" if held else cause_of(job, batch, slurm_id, told)
        nodes = scheduler.last_nodes(slurm_id) if cause == "node" else ()
        again = next_try(job, before[job.name], cause, nodes, told.memory if told else "") if cause else None
        if again:
            found[job.name] = again
    return found


def _history(ended: Iterable[tuple[Batch, str]]) -> dict[str, Accounted]:
    """Return what accounting says of jobs; nothing where there is none, or none just now."""
    names = {slurm_id: batch.slurm_name for batch, slurm_id in ended}
    try:
        return scheduler.history(names, set(names.values())) if names else {}
    except SchedulerError:
        return {}


def _submissions(ledger: Ledger, name: str) -> list[Batch]:
    """Return the batches of this round that a job was submitted in."""
    batches = (ledger.batches[batch.slurm_name] for batch in ledger.round.get(name, ()))
    return [batch for batch in batches if batch.slurm_id]


def _ended_of_a_cause(ledger: Ledger, ending: str) -> bool:
    """Say whether the job `ending` has failed for a cause that may be worth another try."""
    name = next((name for name, (_, slurm_id) in ledger.latest().items() if slurm_id == ending), "")
    record = read_record(ledger.root / name) if name else None
    return bool(record and record.state == "failed" and record.cause)


def _has_ended(out: Path, slurm_id: str) -> bool:
    """Say whether a job has written down its end, though Slurm may still be clearing up after it."""
    record = read_record(out)
    return bool(record and record.job_id == slurm_id and record.state in ("done", "failed"))


def _submit(
    suite: Suite, code: Path, state: State, due: Sequence[Job], missing: Sequence[Job], tries: Mapping[str, Try]
) -> list[Batch]:
    """Submit those of the jobs `due` that there is room for, and the steward after them; return the new batches."""
    take_checkpoints(suite)
    ledger, active = state.ledger, state.active
    limits = read_limits()
    room = Room(limits, state.queue)
    submitted: list[Batch] = []
    steward = active.pop(REPORT, "")
    if not steward:  # before the others: a full queue must have a place for it
        try:
            submitted.append(_submit_steward(suite, code, ledger))
        except QueueFull:
            ledger.leave(max(1, len(due)))  # a job that ends will try again
            raise
        steward = submitted[0].slurm_id
        room.take(suite.report)
    if own_id() not in {entry.slurm_id for entry in state.queue}:  # else there is a place when this job has ended
        room.take(suite.report)  # for the steward that a steward submits before it ends
    most = suite.cluster.max_running - len(active) if suite.cluster.max_running else math.inf
    chosen = choose(due, {job.name for job in missing}, active, most, room.take)
    adjusted = [tries[job.name].adjusted(job) if job.name in tries else job for job in chosen]
    started = _submit_all(suite, code, state, adjusted, limits.array, tries)
    ledger.leave(len(due) - sum(len(batch.jobs) for batch in started))
    submitted = [*started, *submitted]
    after = f"afterany:{_whole(active)}"
    if active and not _waits(steward, after):
        submitted.append(_submit_steward(suite, code, ledger, after))
    new = [Queued(slurm_id, batch.slurm_name, "PENDING", "") for batch in submitted for _, slurm_id in batch.elements]
    note_asked(suite.root, [*(entry for entry in state.queue if entry.name in ledger.batches), *new])
    return submitted


def _submit_all(
    suite: Suite, code: Path, state: State, jobs: Sequence[Job], array: int, tries: Mapping[str, Try]
) -> list[Batch]:
    """Submit jobs until Slurm takes no more; return the batches."""
    from twinbench.slurm.sbatch import submit_trials

    ledger, active = state.ledger, state.active
    plans = deque(plan_batches(jobs, array, lambda job: tries.get(job.name)))
    submitted: list[Batch] = []
    while plans:
        plan = plans.popleft()
        again = tries.get(plan.jobs[0].name, Try(""))
        batch = new_batch(suite.name, [job.name for job in plan.jobs], again.cause, again.exclude, again.mem_gb)
        ledger.announce(batch)
        try:
            slurm_id = submit_trials(suite, plan, code, batch.slurm_name, _dependency(plan, active))
        except QueueFull:  # a limit that nobody told us of; half of it may fit
            middle = len(plan.jobs) // 2
            if not middle:
                break
            plans.extendleft([Plan(plan.jobs[middle:], plan.needs), Plan(plan.jobs[:middle], plan.needs)])
            continue
        submitted.append(ledger.confirm(batch, slurm_id))
        active.update(submitted[-1].elements)
    return submitted


def _submit_steward(suite: Suite, code: Path, ledger: Ledger, after: str = "") -> Batch:
    """Submit the job that looks after the suite when the others have ended, and return its batch.

    Without `after` it is told later what it waits for; or finds no room for anything, and looks again LATER.
    """
    from twinbench.slurm.sbatch import submit_report

    batch = new_batch(suite.name, [REPORT])
    ledger.announce(batch)
    begin = "" if after else LATER
    return ledger.confirm(batch, submit_report(suite, suite.root / FILE, code, batch.slurm_name, after, begin))


def _waits(steward: str, after: str) -> bool:
    """Have the steward wait for all of the suite's jobs; say whether it does."""
    try:
        scheduler.wait_for(steward, after)
        return True
    except SchedulerError:
        return False  # it has started: it will not see what was submitted just now


def _dependency(plan: Plan, active: Mapping[str, str]) -> str:
    """Return sbatch's dependency of a plan. Only jobs that are in the queue count: to Slurm, an unknown id is a
    fulfilled one."""
    terms = [f"afterok:{active[need]}" for need in plan.needs if need in active]
    terms += [f"afterany:{active[name]}" for name in plan.jobs[0].after if name in active]
    return ",".join(terms)


def _whole(active: Mapping[str, str]) -> str:
    """Return the ids of jobs as a dependency takes them, an array once for all its elements."""
    return ":".join(sorted({slurm_id.partition("_")[0] for slurm_id in active.values()}))
