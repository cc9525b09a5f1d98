"""A suite on Slurm: what is missing becomes batches with dependencies, submitted through submitit.

Backbones are jobs of their own; the trials of a method are arrays that wait for its backbone; a last job writes the
table. Files are the truth and the queue only a hint, so running this again submits what is missing and no more.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from twinbench.slurm import scheduler
from twinbench.slurm.batches import Plan, plan_batches
from twinbench.slurm.ledger import Batch, Ledger
from twinbench.slurm.snapshot import take_snapshot
from twinbench.slurm.view import forget
from twinbench.suite.graph import Job
from twinbench.suite.missing import missing_jobs
from twinbench.suite.resolved import write_resolved
from twinbench.suite.suite import Suite

REPORT = "report"  # the ledger's name of the job that writes the table


def submit_missing(suite: Suite, jobs: Sequence[Job]) -> list[Batch]:
    """Submit every job that is neither done nor in the queue, and the report after them; return the new batches."""
    from twinbench.slurm.sbatch import submit_report, submit_trials

    ledger = Ledger(suite.root)
    active = active_jobs(ledger)
    old_report = active.pop(REPORT, None)
    missing = [job for job in missing_jobs(jobs, active) if job.kind != "report"]  # which has a submission of its own
    if not missing and (old_report or not active):
        return []
    forget(suite.root)
    code = take_snapshot(suite.root / "code")
    submitted: list[Batch] = []
    largest_array = int(scheduler.settings().get("MaxArraySize", "1001")) - 1
    queued = _whole(active)
    for plan in plan_batches(suite, missing, largest_array, len(active)):
        dependency = _dependency(plan, active, submitted, queued)
        batch = ledger.announce(suite.name, [job.name for job in plan.jobs])
        submitted.append(ledger.confirm(batch, submit_trials(suite, plan, code, batch.slurm_name, dependency)))
        active.update((job.name, submitted[-1].element(job.name)) for job in plan.jobs)
    if old_report:
        scheduler.cancel([old_report])
    batch = ledger.announce(suite.name, [REPORT])
    slurm_id = submit_report(suite, write_resolved(suite), code, batch.slurm_name, f"afterany:{_whole(active)}")
    return [*submitted, ledger.confirm(batch, slurm_id)]


def top_up(root: Path) -> None:
    """Submit what had no room in the queue before; called by each job of the suite when it has ended."""


def active_jobs(ledger: Ledger) -> dict[str, str]:
    """Return Slurm's ids of the suite's jobs that are in the queue, by name; forgotten submissions are found again."""
    queued = scheduler.queue(ledger.batches)
    ledger.adopt({entry.name: entry.slurm_id.partition("_")[0] for entry in queued})
    alive = {entry.slurm_id for entry in queued if entry.reason != "(DependencyNeverSatisfied)"}
    active: dict[str, str] = {}
    for name, (_, slurm_id) in ledger.latest().items():
        if slurm_id in alive:
            active[name] = slurm_id
    return active


def cancel_all(suite: Suite, names: Collection[str] = ()) -> int:
    """Cancel the suite's jobs in the queue, or those `names`, dependents first; return how many."""
    ledger = Ledger(suite.root)
    if not ledger.batches:
        return 0
    active = {name: slurm_id for name, slurm_id in active_jobs(ledger).items() if not names or name in names}
    forget(suite.root)
    scheduler.cancel(list(reversed(active.values())))
    return len(active)


def _dependency(plan: Plan, active: Mapping[str, str], submitted: Sequence[Batch], queued: str) -> str:
    """Return sbatch's dependency of a plan. Only jobs that are in the queue count: to Slurm, an unknown id is a
    fulfilled one."""
    terms = [f"afterok:{active[need]}" for need in plan.needs if need in active]
    terms += [f"afterany:{active[name]}" for name in plan.jobs[0].after if name in active]
    if plan.after is not None:
        terms.append(f"afterany:{submitted[plan.after].slurm_id}")
    if plan.after_queued:
        terms.append(f"afterany:{queued}")
    return ",".join(terms)


def _whole(active: Mapping[str, str]) -> str:
    """Return the ids of jobs as a dependency takes them, an array once for all its elements."""
    return ":".join(sorted({slurm_id.partition("_")[0] for slurm_id in active.values()}))
