"""`suite run --watch`: the checkpoints of a running pretraining, measured as they appear, and the table written again.

What was started once is not started again by the loop: a checkpoint that failed its proof is told and stays failed,
unless its file changes.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twinbench.protocols.house import UserError
from twinbench.suite.graph import build_jobs
from twinbench.suite.job import Job
from twinbench.suite.series import describe, settled, stamp
from twinbench.suite.status import suite_status
from twinbench.suite.suite import Suite, SuiteError, read_suite

LOOK_SECONDS = 60.0  # an epoch takes longer
MOVING = ("running", "queued", "waiting")

# Starts those of some jobs of a suite that are missing, and returns an exit code.
Start = Callable[[Suite, Sequence[Job], Sequence[Job]], int]
Key = tuple[str, object]  # a job, and the state of its checkpoint


def watch(file: Path, start: Start) -> int:
    """Start what is missing and what appears, until the last number of each series is there and all has ended.

    Return the worst exit code; SuiteError for a suite without `checkpoints`. After the first round nothing ends it: a
    scheduler or a disk that does not answer for a while is told, and asked again.
    """
    suite = read_suite(file)
    if not suite.series:
        raise SuiteError(f"{file}: --watch: no method has `checkpoints`; give one a glob, or leave --watch out")
    given: set[Key] = set()
    code = _round(suite, given, start)
    told = problem = ""
    while not _complete(suite):
        words = problem or "\n".join(describe(each.common.name, each.files) for each in suite.series)
        if words != told:
            print(f"{words}\nwatching; Ctrl-C ends it", file=sys.stderr)
        told, problem = words, ""
        time.sleep(LOOK_SECONDS)
        try:
            suite = read_suite(file)
            code = max(code, _round(suite, given, start))
        except (UserError, OSError) as error:
            problem = f"twinbench suite: {error}"
    return code


def _round(suite: Suite, given: set[Key], start: Start) -> int:
    """Start the jobs that were not given before, or with another state of their checkpoint; return the exit code.

    With them go those that still wait or run, so that a launcher that takes the jobs in waves forgets none.
    """
    jobs = build_jobs(suite)
    files = {method.name: method.file for method in suite.methods if method.series and method.file}
    stamps = {name: stamp(file) for name, file in files.items()}
    changing = {name for name, file in files.items() if file.exists() and not settled(file)}
    keys: dict[str, Key] = {}
    for job in jobs:
        method = job.name.partition("/")[0]
        if method not in changing:
            keys[job.name] = job.name, stamps.get(method)
    new = {name for name, key in keys.items() if key not in given}
    if not new:
        return 0
    some = jobs
    if given:
        new |= {status.job.name for status in suite_status(suite, jobs)[0] if status.state in MOVING} & keys.keys()
        some = [job for job in jobs if job.name in new and job.kind != "report"]
    code = start(suite, jobs, some)
    given.update(keys[name] for name in new)
    return code


def _complete(suite: Suite) -> bool:
    """Say whether each series has come to the last number that it expects, and nothing of the suite waits or runs."""
    for each in suite.series:
        numbers = [int(name.rpartition("@")[2]) for name in each.files.checkpoints]
        if not each.until or each.until > max(numbers, default=0) or each.files.growing:
            return False
    statuses, _ = suite_status(suite, build_jobs(suite))
    return not any(status.state in MOVING and status.job.kind != "report" for status in statuses)
