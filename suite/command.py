"""Methods x protocols x seeds from one YAML file; run again to resume.

Examples:
    twinbench suite validate suite.yaml       every mistake in the file at once; reads no data, asks no scheduler
    twinbench suite plan suite.yaml           every job, what is done, what the rest may cost, and what is wrong
    twinbench suite run suite.yaml            run what is missing (on Slurm where it is), then write the table
    twinbench suite run suite.yaml --watch    go on as checkpoints of a running pretraining appear
    twinbench suite run suite.yaml --again    move aside what was made of something else than the file says now, first
    twinbench suite run suite.yaml TRIAL --again      measure it anew; a method, or method/protocol, means all of its
    twinbench suite status suite.yaml         where each trial stands, and why; --watch follows
    twinbench suite logs suite.yaml TRIAL     what a trial said, as in: logs suite.yaml random/voc07-svm/seed0
    twinbench suite cancel suite.yaml         stop what runs and what waits; `run` goes on from there
    twinbench suite cancel suite.yaml random/voc07-svm    ... of these trials only
    twinbench suite report suite.yaml         write the table again
"""

import argparse
import json
import sys
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from twinbench.suite import show
from twinbench.suite.graph import build_jobs
from twinbench.suite.here import LocalLauncher
from twinbench.suite.job import Job
from twinbench.suite.launcher import Launcher, cluster_launcher, refuse_if_active
from twinbench.suite.lock import only_runner
from twinbench.suite.measured import whole_results
from twinbench.suite.naming import find_job, jobs_named, with_needs
from twinbench.suite.record import LOG
from twinbench.suite.series import describe
from twinbench.suite.standing import count_causes
from twinbench.suite.status import UNEXPLAINED, JobStatus, counts, suite_status
from twinbench.suite.suite import Suite, SuiteError, read_suite, take_checkpoints

PATIENCE = 30.0  # seconds; a job of the suite that submits others holds it for so long


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `twinbench suite` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    added = {
        name: actions.add_parser(name, help=line, description=line, allow_abbrev=False)
        for name, line in (
            ("validate", "every mistake in the file and in the places that it names, in a second"),
            ("plan", "every job, what is done, what the rest may cost, and what is wrong"),
            ("run", "run what is missing, then write the table"),
            ("status", "where each trial stands, and why"),
            ("logs", "what a trial said"),
            ("cancel", "stop what runs and what waits"),
            ("report", "write the table again from what is there"),
        )
    }
    for action in added.values():
        action.add_argument("suite", type=Path, metavar="SUITE.yaml")
    for name in ("validate", "plan", "status"):
        added[name].add_argument("--json", action="store_true", help="for programs")
    for name in ("plan", "run"):
        added[name].add_argument("--local", action="store_true", help="on this machine, even where Slurm is")
    added["plan"].add_argument("--scripts", action="store_true", help="the sbatch text of each batch too")
    added["run"].add_argument(
        "--again",
        action="store_true",
        help="first move aside what was made of something else, and each named TRIAL",
    )
    added["run"].add_argument(
        "--watch", action="store_true", help="look for new files of `checkpoints` each minute, until Ctrl-C or `until`"
    )
    added["run"].add_argument("--parallel", type=positive, default=0, metavar="N", help="jobs at once here, at most")
    added["status"].add_argument("--watch", action="store_true", help="until all has ended")
    some = "only these, as `status` names them: a method, method/protocol or method/protocol/seed0"
    for name in ("run", "cancel"):
        added[name].add_argument("trials", metavar="TRIAL", nargs="*", default=[], help=some)
    added["logs"].add_argument("trial", metavar="TRIAL", help="as `status` names it: method/protocol/seed0")
    added["logs"].add_argument("-f", "--follow", action="store_true", help="go on as the log grows")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked of a suite."""
    if arguments.action == "validate":
        from twinbench.suite.validate import print_mistakes

        return print_mistakes(arguments.suite, as_json=arguments.json)
    suite = read_suite(arguments.suite)
    jobs = build_jobs(suite)
    match arguments.action:
        case "plan":
            from twinbench.suite.preview import print_plan

            launcher = _launcher(arguments.local)
            return print_plan(suite, jobs, launcher, as_json=arguments.json, scripts=arguments.scripts)
        case "run":
            return _run(suite, jobs, arguments)
        case "status":
            return _status(suite, jobs, arguments)
        case "logs":
            return _logs(suite, jobs, arguments.trial, arguments.follow)
        case "cancel":
            named = jobs_named(suite, jobs, arguments.trials)
            if named and all(job.done() for job in named):
                raise SuiteError(
                    f"{suite.file}: all of {' '.join(arguments.trials)} is done; there is nothing to cancel"
                )
            return _cancel(suite, [job.name for job in named if not job.done()])
        case _:
            return _report(suite, jobs)


def _run(suite: Suite, jobs: Sequence[Job], arguments: argparse.Namespace) -> int:
    """Start what is missing, all or of what is named, once or as checkpoints appear."""
    from twinbench.suite.watch import watch

    named = jobs_named(suite, jobs, arguments.trials)
    if arguments.watch and named:
        raise SuiteError(f"{suite.file}: --watch follows the whole suite; leave out {' '.join(arguments.trials)}")
    launcher = _launcher(arguments.local)
    again = arguments.again
    if not arguments.watch:
        for each in suite.series:
            print(describe(each.common.name, each.files), file=sys.stderr)
    if not isinstance(launcher, LocalLauncher):
        submit = partial(_submit, launcher=launcher, again=again, named=named)
        return watch(arguments.suite, submit) if arguments.watch else submit(suite, jobs, with_needs(jobs, named))
    if not arguments.watch:
        return run_locally(suite, jobs, arguments.parallel, again=again, named=named)
    with only_runner(suite.root):  # held while it sleeps, too: `cancel` finds it
        return watch(arguments.suite, partial(_run_here, parallel=arguments.parallel, again=again))


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


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


def _launcher(local: bool) -> Launcher:
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
    from twinbench.suite.finish import report_of
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
        return _report(suite, jobs)
    what = "nothing to submit: all is queued"
    if submitted.jobs:
        what = f"{submitted.jobs} jobs in {submitted.batches} batches submitted"
    print(f"{suite.name}: {what}; see: twinbench suite status {suite.file} --watch")
    return 0


def _status(suite: Suite, jobs: Sequence[Job], arguments: argparse.Namespace) -> int:
    """Print where everything stands, once or until all has ended."""
    if arguments.json:
        print(json.dumps(_as_json(suite, *suite_status(suite, jobs)), indent=1))
        return 0

    def screen() -> tuple[list[str], bool]:
        statuses, problem = suite_status(suite, jobs)
        # a table that waits and is nobody's job comes with the next `run` or `report`
        moving = any(
            status.state in ("running", "queued") or (status.state == "waiting" and status.job.kind != "report")
            for status in statuses
        )
        return show.status_lines(suite, statuses, problem), not moving

    if arguments.watch:
        show.watch(screen)
    else:
        print("\n".join(screen()[0]))
    return 0


def _as_json(suite: Suite, statuses: Sequence[JobStatus], problem: str) -> dict[str, object]:
    """Return a suite and its jobs for programs."""
    jobs = [status.as_json() for status in statuses]
    return {
        "name": suite.name,
        "root": str(suite.root),
        "counts": counts(statuses),
        "gpu_hours": round(sum(status.gpu_hours for status in statuses), 3),
        "problem": problem,
        "jobs": jobs,
    }


def _logs(suite: Suite, jobs: Sequence[Job], name: str, follow: bool) -> int:
    """Print a job's log, after what was said before its worker began."""
    job = find_job(suite, jobs, name)
    own = job.out / LOG

    def logs() -> list[Path]:
        return [*cluster_launcher().logs(suite, job.name), *([own] if own.exists() else [])]

    def ended() -> bool:
        return not follow or suite_status(suite, [job])[0][0].state not in ("running", "queued", "waiting")

    if not logs():
        raise SuiteError(f"{own}: no such file; {name} has not been started")
    show.follow(logs, ended)
    return 0


def _cancel(suite: Suite, names: Sequence[str]) -> int:
    """Stop the suite's jobs, or those named, on the cluster and in a local runner on this machine."""
    cancelled = cluster_launcher().cancel(suite, names)
    told = LocalLauncher().cancel(suite, names)
    did: list[str] = []
    if cancelled:
        did.append(f"{cancelled} jobs cancelled")
    if told:
        did.append("the run on this machine is told to stop" + (f" {told} jobs" if names else ""))
    if not did:
        did.append("nothing of it runs or waits")
    print(f"{suite.name}: {', and '.join(did)}; `run` goes on from what is finished")
    return 0


@whole_results()
def _report(suite: Suite, jobs: Sequence[Job]) -> int:
    """Write down why trials are missing, then the table, and print where."""
    from twinbench.suite.finish import settle, write_reports

    # what a watcher saw some seconds ago may be older than the last job's end
    statuses, _ = suite_status(suite, jobs, fresh=True)
    if any(status.reason.endswith(UNEXPLAINED) for status in statuses):
        time.sleep(cluster_launcher().lag_seconds)
        statuses, _ = suite_status(suite, jobs, fresh=True)
    settle(statuses)
    stale = [status.causes for status in statuses if status.state == "stale"]
    if stale:
        print(f"{suite.name}: {len(stale)} stale jobs stay out of the table ({count_causes(stale)})", file=sys.stderr)
    print("\n".join(map(str, write_reports(suite, jobs))))
    return 0
