"""Slurm as a suite's launcher: what `suite/launcher.py` asks for, from the files of this room."""

from collections.abc import Collection, Sequence
from pathlib import Path

from twinbench.slurm import preflight, scheduler
from twinbench.slurm.batches import plan_batches
from twinbench.slurm.launch import active_jobs, cancel_all, submit_missing
from twinbench.slurm.ledger import FOLDER, TOP_UP_LOG, Ledger
from twinbench.slurm.queued import was_submitted
from twinbench.slurm.view import View as SlurmView
from twinbench.slurm.view import forget, look
from twinbench.suite.job import Job
from twinbench.suite.launcher import Seen, Submission, View
from twinbench.suite.missing import missing_jobs
from twinbench.suite.record import last_line
from twinbench.suite.suite import Suite

MEANINGS = {
    # how accounting's word for a job's end begins -> what it means where there is no result
    "TIMEOUT": "out of time and not requeued",
    "OUT_OF_ME": "killed for memory: raise cluster.mem_gb_per_gpu",
    "NODE_FAIL": "its node died",
    "CANCELLED": "cancelled",
    "PREEMPTED": "preempted and not requeued",
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "missed its deadline",
}


class SlurmLauncher:
    """Submits through submitit; what was submitted stands in the suite's ledger."""

    name = "Slurm"
    lag_seconds = scheduler.LAG_SECONDS

    def available(self) -> bool:
        """Say whether jobs can be submitted from here."""
        return scheduler.has_slurm()

    def about(self) -> list[str]:
        """Return Slurm's version and its partitions; SchedulerError where it does not answer."""
        (version, *_) = scheduler.ask("sbatch", "--version")
        return [version, *(partition.words for name, partition in scheduler.partitions().items() if name)]

    def problems(self, suite: Suite, jobs: Sequence[Job]) -> list[str]:
        """Return what the cluster does not offer."""
        return preflight.problems(suite, jobs)

    def remarks(self, suite: Suite) -> list[str]:
        """Return what may surprise on this cluster."""
        return preflight.remarks(suite)

    def scripts(self, suite: Suite, jobs: Sequence[Job]) -> list[str]:
        """Return what sbatch would get for each batch; ids of jobs that are not queued yet stand as names."""
        from twinbench.slurm.sbatch import script

        found: list[str] = []
        for plan in plan_batches([job for job in missing_jobs(jobs) if job.kind != "report"]):
            head, *others = plan.jobs
            terms = [f"afterok:<{need}>" for need in plan.needs]
            terms += [f"afterany:<{name}>" for name in head.after]
            more = f" and {len(others)} more" if others else ""
            text = script(suite, plan, Path(suite.root / "code" / "SNAPSHOT"), f"{suite.name}.BATCH", ",".join(terms))
            found.append(f"# --- {head.name}{more}\n{text}")
        return found

    def submit(self, suite: Suite, jobs: Sequence[Job]) -> Submission:
        """Submit what is missing, and the report after it."""
        batches = submit_missing(suite, jobs)
        return Submission(sum(len(batch.jobs) for batch in batches), len(batches))

    def look(self, suite: Suite, names: Sequence[str], *, fresh: bool = False) -> View:
        """Return what Slurm says of jobs, from the file of the last look if that is fresh enough."""
        if not was_submitted(suite.root):
            return View()
        if fresh:
            forget(suite.root)
        ledger = Ledger(suite.root)
        said = look(suite.root, ledger, names, suite.name)
        latest = ledger.latest()
        jobs: dict[str, Seen] = {}
        for name in names:
            if name in latest:
                batch, slurm_id = latest[name]
                jobs[name] = _seen(said, slurm_id, batch.log(suite.root, slurm_id))
        notes = (ledger.problem, _top_up_problem(ledger), _left(ledger))
        return View(jobs, said.problem, tuple(filter(None, notes)))

    def active(self, suite: Suite) -> dict[str, str]:
        """Return Slurm's ids of the suite's jobs in the queue, by name."""
        return active_jobs(suite)

    def cancel(self, suite: Suite, names: Collection[str] = ()) -> int:
        """Cancel the suite's jobs in the queue, or those named."""
        return cancel_all(suite, names)

    def logs(self, suite: Suite, name: str) -> list[Path]:
        """Return what Slurm's output of a job's submissions is in, the last one last."""
        if not was_submitted(suite.root):
            return []
        batches = [batch for batch in Ledger(suite.root).batches.values() if batch.slurm_id and name in batch.jobs]
        found = [batch.log(suite.root, batch.element(name)) for batch in batches]
        return [log for log in found if log.exists()]


def _left(ledger: Ledger) -> str:
    """Say how many jobs there was no room for yet."""
    if not ledger.open or not ledger.left:
        return ""
    return f"{ledger.left} jobs wait for room (max_running, or a limit of the site); those that end submit them"


def _top_up_problem(ledger: Ledger) -> str:
    """Say that a job of the present round could not submit what follows; empty where all could."""
    log = ledger.root / FOLDER / TOP_UP_LOG
    try:
        if log.stat().st_mtime < ledger.began:
            return ""
    except OSError:
        return ""
    return f"a job could not submit what follows ({last_line(log)}; log: {log}); `twinbench suite run` submits it"


def _seen(said: SlurmView, slurm_id: str, log: Path) -> Seen:
    """Return what Slurm says of one job: its queue first, then its accounting."""
    queued = said.queue.get(slurm_id)
    if queued and queued.state == "PENDING":
        reason = queued.reason.strip("()")
        if reason in scheduler.NEVER:
            return Seen("never", f"never starts: {scheduler.NEVER[reason]} ({reason})", slurm_id, log)
        return Seen("queued", scheduler.HELD.get(reason, reason), slurm_id, log)
    if queued:
        return Seen("running", queued.reason, slurm_id, log)
    ended = said.history.get(slurm_id)
    if ended and ended.state:
        return Seen("ended", f"{_meaning(ended.state)} ({ended.state} {ended.code})", slurm_id, log)
    return Seen("lost" if ended and not said.problem else "unknown", "", slurm_id, log)


def _meaning(state: str) -> str:
    """Say what a final state of accounting means for a job without a result."""
    for start, meaning in MEANINGS.items():
        if state.startswith(start):
            return meaning
    return "ended without a result"
