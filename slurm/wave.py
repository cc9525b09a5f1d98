"""A wave: those jobs of a suite that there is room for on Slurm, submitted together, and the steward after them."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from twinbench.slurm import scheduler
from twinbench.slurm.batches import Plan, choose, plan_batches
from twinbench.slurm.ledger import Batch, Ledger, new_batch
from twinbench.slurm.limits import Room, read_limits
from twinbench.slurm.queued import State
from twinbench.slurm.retry import Try
from twinbench.slurm.scheduler import Queued, QueueFull, SchedulerError
from twinbench.slurm.view import note_asked
from twinbench.suite.job import REPORT, Job
from twinbench.suite.resolved import FILE
from twinbench.suite.suite import Suite

LATER = "now+600"  # when a steward looks again that found no room for anything


def submit_wave(
    suite: Suite, code: Path, state: State, due: Sequence[Job], missing: Sequence[Job], tries: Mapping[str, Try]
) -> list[Batch]:
    """Submit those of the jobs `due` that there is room for, and the steward after them; return the new batches."""
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
    queued = {entry.slurm_id for entry in state.queue}
    if scheduler.own_id() not in queued:  # else there is a place when this job has ended
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


def renew(state: State) -> None:
    """Have a steward in the queue wait for all of the suite's jobs: its submission may have ended before it said so."""
    steward = state.active[REPORT]
    others = {name: slurm_id for name, slurm_id in state.active.items() if name != REPORT}
    if others:
        _waits(steward, f"afterany:{_whole(others)}")


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
