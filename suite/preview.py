"""What `suite plan` shows: the graph, what is done, what the rest may cost, and every problem found."""

import json
import sys
from collections.abc import Sequence

from twinbench.runtime.duration import disk_space, duration
from twinbench.suite.estimate import Estimate, estimate
from twinbench.suite.here import LocalLauncher
from twinbench.suite.job import Job
from twinbench.suite.launcher import Launcher, cluster_launcher
from twinbench.suite.local import Machine, this_machine
from twinbench.suite.preflight import problems, remarks
from twinbench.suite.proofs import sizes
from twinbench.suite.show import grouped, stale_line
from twinbench.suite.status import JobStatus, counts, describe_counts, suite_status
from twinbench.suite.suite import Suite


def print_plan(suite: Suite, jobs: Sequence[Job], launcher: Launcher, *, as_json: bool, scripts: bool) -> int:
    """Print the plan; return 2 if the suite could not run as it stands."""
    statuses, _ = suite_status(suite, jobs)
    wrong = problems(suite, jobs, launcher)  # before the costs: what it proves has a size
    machine = this_machine(suite.cluster.max_running) if isinstance(launcher, LocalLauncher) else None
    finished = [status for status in statuses if status.state in ("done", "stale")]
    spent = {
        status.job.name: status.record.spent_seconds
        for status in finished
        if status.record and status.record.spent_seconds
    }
    costs = estimate(jobs, machine, sizes(suite), spent)
    if as_json:
        print(json.dumps(_as_json(suite, statuses, costs, wrong), indent=1))
    else:
        print("\n".join(_lines(suite, statuses, costs, machine)))
        missing = [status.job for status in _left(statuses)]
        for remark in remarks(suite, missing, [status.job for status in finished], launcher):
            print(f"note: {remark}")
    if scripts:
        print("\n".join(cluster_launcher().scripts(suite, jobs)))
    for problem in wrong:
        print(f"twinbench suite: {problem}", file=sys.stderr)
    return 2 if wrong else 0


def _lines(
    suite: Suite, statuses: Sequence[JobStatus], costs: dict[str, Estimate], machine: Machine | None
) -> list[str]:
    """Return one line for the jobs of a method and step, and one for all of them."""
    groups = grouped(statuses)
    widths = [max((len(key[column]) for key in groups), default=0) for column in (0, 1)]
    lines = [f"{suite.name}: {describe_counts(statuses)}; root {suite.root}"]
    for (method, step), members in groups.items():
        found = counts(members)
        done = f"{found['done']}/{len(members)} done"
        words = [f"{method:{widths[0]}}", f"{step:{widths[1]}}", f"{done:>12}"]
        if found["stale"]:
            words.append(f"{found['stale']} stale")
        left = _left(members)
        if left:
            before = [*members[0].job.needs, *members[0].job.after]
            if members[0].job.kind == "report":
                before = ["all trials"]
            needs = f"after {' and '.join(before)}" if before else ""
            basis = costs[left[0].job.name].basis
            time = _time(left, costs, machine)
            words.append(f"{time:>14}  {_megabytes(left, costs):7.0f} MB  ({basis})  {needs}")
        lines.append("  " + "  ".join(words).rstrip())
    left = _left(statuses)
    lines.append(f"  missing: {len(left)} jobs, {_total(left, costs, machine)}" if left else "  missing: nothing")
    stale = stale_line(suite, statuses)
    if stale:
        lines.append(f"  {stale}")
    return lines


def _left(statuses: Sequence[JobStatus]) -> list[JobStatus]:
    """Return the jobs that a run would start."""
    return [status for status in statuses if status.state not in ("done", "stale")]


def _total(left: Sequence[JobStatus], costs: dict[str, Estimate], machine: Machine | None) -> str:
    """Say what all that is missing may take."""
    disk = f"about {disk_space(1e6 * _megabytes(left, costs))}"
    untold = sum(costs[status.job.name].hours is None for status in left)
    time = _time(left, costs, machine)
    if untold and not any(costs[status.job.name].hours for status in left):
        return f"nothing tells how long {untold} of them take; {disk}"
    beside = f" beside {untold} of which nothing tells how long they take" if untold else ""
    if machine and not machine.has_gpus:
        return f"about {time} of this machine{beside}; {disk}"
    bound = " at most" if any(costs[status.job.name].is_limit for status in left) else ""
    return f"{time.replace('GPU-h', 'GPU-hours')}{bound}{beside} and {disk}"


def _time(statuses: Sequence[JobStatus], costs: dict[str, Estimate], machine: Machine | None) -> str:
    """Add up GPU-hours; on a machine without GPUs, where there are none, the time that it is busy."""
    known = [cost for status in statuses if (cost := costs[status.job.name]).hours is not None]
    if not known and statuses:
        return "? "
    if machine and not machine.has_gpus:
        return duration(3600 * sum(cost.share * (cost.hours or 0.0) for cost in known))
    return f"{sum(cost.gpu_hours for cost in known):.1f} GPU-h"


def _megabytes(statuses: Sequence[JobStatus], costs: dict[str, Estimate]) -> float:
    """Add up disk space, in MB."""
    return sum(costs[status.job.name].disk_bytes for status in statuses) / 1e6


def _as_json(
    suite: Suite, statuses: Sequence[JobStatus], costs: dict[str, Estimate], wrong: Sequence[str]
) -> dict[str, object]:
    """Return the plan for programs."""
    jobs: list[dict[str, object]] = []
    for status in statuses:
        cost = costs[status.job.name]
        hours = None if cost.hours is None else round(cost.hours, 4)
        figures = {"hours_planned": hours, "gpu_hours_planned": round(cost.gpu_hours, 3)}
        figures |= {"disk_bytes": cost.disk_bytes, "basis": cost.basis}
        jobs.append({**status.as_json(), **figures})
    return {
        "name": suite.name,
        "root": str(suite.root),
        "counts": counts(statuses),
        "problems": list(wrong),
        "jobs": jobs,
    }
