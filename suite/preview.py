"""What `suite plan` shows: the graph, what is done, what the rest may cost, and every problem found."""

import json
import sys
from collections.abc import Sequence

from twinbench.suite.estimate import Estimate, estimate
from twinbench.suite.graph import Job
from twinbench.suite.launcher import Launcher, cluster_launcher
from twinbench.suite.preflight import problems, remarks
from twinbench.suite.show import grouped, stale_line
from twinbench.suite.status import JobStatus, counts, describe_counts, suite_status
from twinbench.suite.suite import Suite


def print_plan(suite: Suite, jobs: Sequence[Job], launcher: Launcher, *, as_json: bool, scripts: bool) -> int:
    """Print the plan; return 2 if the suite could not run as it stands."""
    statuses, _ = suite_status(suite, jobs)
    costs = estimate(jobs)
    wrong = problems(suite, jobs, launcher)
    if as_json:
        print(json.dumps(_as_json(suite, statuses, costs, wrong), indent=1))
    else:
        print("\n".join(_lines(suite, statuses, costs)))
        for remark in remarks(suite, launcher):
            print(f"note: {remark}")
    if scripts:
        print("\n".join(cluster_launcher().scripts(suite, jobs)))
    for problem in wrong:
        print(f"twinbench suite: {problem}", file=sys.stderr)
    return 2 if wrong else 0


def _lines(suite: Suite, statuses: Sequence[JobStatus], costs: dict[str, Estimate]) -> list[str]:
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
            words.append(f"{_hours(left, costs):8.1f} GPU-h  {_megabytes(left, costs):7.0f} MB  ({basis})  {needs}")
        lines.append("  " + "  ".join(words).rstrip())
    left = _left(statuses)
    total = f"{_hours(left, costs):.1f} GPU-hours at most and about {_megabytes(left, costs) / 1000:.1f} GB"
    lines.append(f"  missing: {len(left)} jobs, {total}")
    stale = stale_line(suite, statuses)
    if stale:
        lines.append(f"  {stale}")
    return lines


def _left(statuses: Sequence[JobStatus]) -> list[JobStatus]:
    """Return the jobs that a run would start."""
    return [status for status in statuses if status.state not in ("done", "stale")]


def _hours(statuses: Sequence[JobStatus], costs: dict[str, Estimate]) -> float:
    """Add up GPU-hours."""
    return sum(costs[status.job.name].gpu_hours for status in statuses)


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
        figures = {"gpu_hours_planned": round(cost.gpu_hours, 3), "disk_bytes": cost.disk_bytes, "basis": cost.basis}
        jobs.append({**status.as_json(), **figures})
    return {
        "name": suite.name,
        "root": str(suite.root),
        "counts": counts(statuses),
        "problems": list(wrong),
        "jobs": jobs,
    }
