"""What `suite run` does: what is missing is started, on this machine or the cluster, after every check."""

import sys
from collections.abc import Collection, Sequence
from functools import partial

from twinbench.suite.here import LocalLauncher
from twinbench.suite.job import Job
from twinbench.suite.launcher import Launcher, cluster_launcher, refuse_if_active
from twinbench.suite.lock import only_runner
from twinbench.suite.naming import jobs_named, with_needs
from twinbench.suite.series import describe
from twinbench.suite.suite import Suite, SuiteError, take_checkpoints
from twinbench.suite.watch import watch

PATIENCE = 30.0  # seconds; a job of the suite that submits others holds it for so long


def start(
    suite: Suite,
    jobs: Sequence[Job],
    names: Sequence[str],
    *,
    local: bool = False,
    parallel: int = 0,
    again: bool = False,
    watching: bool = False,
) -> int:
    """Start what is missing, all or of the trials of these names, once or as checkpoints appear."""
    named = jobs_named(suite, jobs, names)
    if watching and named:
        raise SuiteError(f"{suite.file}: --watch follows the whole suite; leave out {' '.join(names)}")
    launcher = launcher_for(local)
    if not watching:
        for each in suite.series:
            print(describe(each.common.name, each.files), file=sys.stderr)
    if not isinstance(launcher, LocalLauncher):
        submit = partial(_submit, launcher=launcher, again=again, named=named)
        return watch(suite.file, submit) if watching else submit(suite, jobs, with_needs(jobs, named))
    if not watching:
        return run_locally(suite, jobs, parallel, again=again, named=named)
    with only_runner(suite.root):  # held while it sleeps, too: `cancel` finds it
        return watch(suite.file, partial(_run_here, parallel=parallel, again=again))


def run_locally(
    suite: Suite, jobs: Sequence[Job], parallel: int = 0, *, again: bool = False, named: Sequence[Job] = ()
) -> int:
    """Run what is missing on this machine, or of the `named` jobs, and write the table; return 1 if a job failed."""
    with only_runner(suite.root):
        return _run_here(suite, jobs, with_needs(jobs, named), parallel=parallel, again=again, named=named)


def _run_here(
    suite: Suite, jobs: Sequence[Job], some: Sequence[Job], *, parallel: int, again: bool, named: Sequence[Job] = ()
) -> int:
    """Run what is missing of `some` jobs and write the table, under the suite's lock; return 1 if a job failed."""
    from twinbench.suite.finish import run_report
    from twinbench.suite.preflight import require_sound

    launcher = LocalLauncher(parallel)
    require_sound(suite, jobs, launcher)
    refuse_if_active(suite)
    _set_aside(suite, some if named else jobs, named, again)
    take_checkpoints(suite)
    failed = launcher.submit(suite, [job for job in some if job.kind != "report"]).failed
    trials = [job for job in jobs if job.kind == "trial"]
    started = any((job.out / "job.json").exists() or job.product.exists() for job in trials)
    if started:
        print(f"table: {', '.join(map(str, run_report(suite, jobs)))}", file=sys.stderr)
    for name, record in failed.items():
        log = suite.root / name / "job.log"
        hint = "" if record.state == "blocked" or str(log) in record.reason else f"; log: {log}"
        print(f"twinbench suite: {name} {record.state}: {record.reason}{hint}", file=sys.stderr)
    return 1 if failed else 0


def launcher_for(local: bool) -> Launcher:
    """Return what a suite's jobs are started by: the cluster where there is one, else this machine, which is told
    where nobody asked for it."""
    cluster = cluster_launcher()
    if not local and cluster.available():
        return cluster
    if not local:
        print("no Slurm (sbatch) here: this machine does it", file=sys.stderr)
    return LocalLauncher()


def _set_aside(
    suite: Suite, jobs: Sequence[Job], named: Sequence[Job], again: bool, active: Collection[str] = ()
) -> None:
    """Refuse finished work that was made of something else than the suite says now, or, if `again`, move it aside, and
    trials that are named, too.

    A result that nobody can read is moved aside without asking, unless its job is at work.
    """
    from twinbench.suite.again import FOLDER, damaged_jobs, move_aside, refresh_records, refuse_stale, superseded_jobs

    refresh_records(jobs)
    aside = damaged_jobs(jobs)
    if again:
        aside += [*superseded_jobs(jobs), *(job for job in named if job.kind == "trial")]
    else:
        refuse_stale(suite, jobs)
    names = {job.name for job in aside if job.name not in active}
    moved = move_aside(suite, [job for job in jobs if job.name in names])
    if moved:
        print(f"{suite.name}: {len(moved)} jobs moved below {suite.root / FOLDER}", file=sys.stderr)


def _submit(
    suite: Suite,
    jobs: Sequence[Job],
    some: Sequence[Job],
    *,
    launcher: Launcher,
    again: bool = False,
    named: Sequence[Job] = (),
) -> int:
    """Submit what is missing of `some` jobs, after every check; write the table at once if all is done."""
    from twinbench.suite.finish import print_report, report_of
    from twinbench.suite.preflight import require_sound

    require_sound(suite, some if named else jobs, launcher)
    with only_runner(suite.root, PATIENCE):
        if again:
            refuse_if_active(suite, [job.name for job in some] if named else ())
        checked = some if named else jobs
        active = launcher.active(suite) if any(job.standing().problem for job in checked) else {}
        _set_aside(suite, checked, named, again, active)
        take_checkpoints(suite)
        report = report_of(jobs)
        if not report.done():
            # else its job, which may be of as many results, takes it for its own
            report.product.unlink(missing_ok=True)
        submitted = launcher.submit(suite, some)
    if not submitted.jobs and all(job.done() for job in jobs if job.kind == "trial"):
        return print_report(suite, jobs)
    what = "nothing to submit: all is queued"
    if submitted.jobs:
        what = f"{submitted.jobs} jobs in {submitted.batches} batches submitted"
    print(f"{suite.name}: {what}; see: twinbench suite status {suite.file} --watch")
    return 0
