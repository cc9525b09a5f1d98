"""A suite for people's eyes: the plan, the state of every job, and a screen that follows it."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twinbench.protocols.house import coloured
from twinbench.suite.standing import UNTOLD, count_causes
from twinbench.suite.status import JobStatus, State, describe_counts
from twinbench.suite.suite import Suite

COLOURS: dict[State, str] = {
    "done": "green",
    "running": "cyan",
    "queued": "blue",
    "waiting": "blue",
    "failed": "red",
    "blocked": "red",
    "stale": "yellow",
}
WATCH_SECONDS = 5.0  # between two looks at the files; a cluster is asked more seldom


def grouped(statuses: Sequence[JobStatus]) -> dict[tuple[str, str], list[JobStatus]]:
    """Return the jobs by method and step (a protocol, `pretrain` or `backbone`; the report has none)."""
    groups: dict[tuple[str, str], list[JobStatus]] = {}
    for status in statuses:
        method, step, *_ = *status.job.name.split("/"), ""
        groups.setdefault((method, step), []).append(status)
    return groups


def status_lines(suite: Suite, statuses: Sequence[JobStatus], problem: str = "") -> list[str]:
    """Return one screen: counts, then a line for each job that is not done, and one for each finished group."""
    spent = sum(status.gpu_hours for status in statuses)
    cost = f"; {spent:.1f} GPU-hours spent" if spent else ""
    lines = [f"{suite.name}: {describe_counts(statuses)}{cost}; root {suite.root}"]
    for warning in (problem, stale_line(suite, statuses), untold_line(suite, statuses)):
        if warning:
            lines.append(f"  ! {warning}")
    width = max((len(status.job.name) for status in statuses), default=0)
    for (method, step), members in grouped(statuses).items():
        finished = all(status.state == "done" for status in members)
        if finished and len(members) > 1:
            group = f"{method}/{step}"
            done = coloured(f"{'done':7}", COLOURS["done"], sys.stdout)
            lines.append(f"  {group:{width}}  {done}  all {len(members)}")
        else:
            lines += [_job_line(status, width) for status in members]
    return lines


def stale_line(suite: Suite, statuses: Sequence[JobStatus]) -> str:
    """Say what to do about jobs that were made of something else than the suite says now; nothing if there are none."""
    stale = [status.causes for status in statuses if status.state == "stale"]
    if not stale:
        return ""
    again = f"`twinbench suite run {suite.file} --again` makes them anew"
    return f"stale: {len(stale)} jobs, made of something else than the suite says now ({count_causes(stale)}); {again}"


def untold_line(suite: Suite, statuses: Sequence[JobStatus]) -> str:
    """Count the finished trials whose data cannot be read now; nothing if there are none."""
    untold = [status for status in statuses if status.state == "done" and status.reason == UNTOLD]
    if not untold:
        return ""
    return f"{len(untold)} finished trials: {UNTOLD}; see: twinbench suite plan {suite.file}"


def _job_line(status: JobStatus, width: int) -> str:
    """Return one job's line."""
    words: list[str] = []
    if status.advance:
        words.append(str(status.advance))
    if status.reason:
        words.append(status.reason)
    if status.record and status.record.starts > 1 and status.job.kind != "report":
        words.append(f"started {status.record.starts} times")
    if status.job_id and status.state != "done":
        words.append(f"job {status.job_id}")
    state = coloured(f"{status.state:7}", COLOURS[status.state], sys.stdout)
    return f"  {status.job.name:{width}}  {state}  {'; '.join(words)}".rstrip()


def watch(screen: Callable[[], tuple[list[str], bool]]) -> None:
    """Show the lines of `screen` again and again, until it says that all has ended."""
    while True:
        lines, ended = screen()
        clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
        print(clear + "\n".join(lines), flush=True)
        if ended:
            return
        time.sleep(WATCH_SECONDS)


def follow(logs: Callable[[], Sequence[Path]], ended: Callable[[], bool]) -> None:
    """Print logs, each below its name where there are several, and what is added to them, until Ctrl-C, or until
    their job has ended."""
    read: dict[Path, int] = {}
    shown = None
    while True:
        last = ended()
        found = logs()
        for log in found:
            with log.open(errors="replace") as file:
                file.seek(read.get(log, 0))
                while text := file.read(65536):
                    if log != shown and len(found) > 1:
                        print(f"==> {log} <==")
                    shown = log
                    sys.stdout.write(text)
                read[log] = file.tell()
        sys.stdout.flush()
        if last:
            return
        time.sleep(1.0)
