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
from collections.abc import Sequence
from pathlib import Path

from twinbench.suite import show
from twinbench.suite.graph import build_jobs
from twinbench.suite.here import LocalLauncher
from twinbench.suite.job import Job
from twinbench.suite.launcher import cluster_launcher
from twinbench.suite.naming import find_job, jobs_named
from twinbench.suite.record import LOG
from twinbench.suite.start import launcher_for, start
from twinbench.suite.status import JobStatus, counts, suite_status
from twinbench.suite.suite import Suite, SuiteError, read_suite


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

            return print_plan(
                suite, jobs, launcher_for(arguments.local), as_json=arguments.json, scripts=arguments.scripts
            )
        case "run":
            return start(
                suite,
                jobs,
                arguments.trials,
                local=arguments.local,
                parallel=arguments.parallel,
                again=arguments.again,
                watching=arguments.watch,
            )
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
            from twinbench.suite.finish import print_report

            return print_report(suite, jobs)


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


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
