"""A worker process and its watcher: how it is started, signalled, and how its end is told."""

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from twinbench.report.provenance import code_root
from twinbench.suite import record as records


def bounded_threads(share: int) -> int:
    """Return how many threads a job may use of its `share` of the cores: no more than the user's own OMP_NUM_THREADS.

    On a machine that others use too, a 1 that became a 2 made the demo take 40 minutes instead of 11.
    """
    own = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # `4,2`: of nested regions
    return min(share, int(own)) if own.isdecimal() and int(own) else share


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a job: this very code, safe from folders called `data` where the user stands."""
    root = str(code_root())
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": str(threads),
        "TWINBENCH_PARENT": str(os.getpid()),
    }


def start_logged(
    argv: Sequence[str], out: Path, environment: dict[str, str], name: str = records.LOG
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, in the folder `out`, its output appended to the log called `name`."""
    with (out / name).open("ab") as log:
        log.write(f"\n$ {shlex.join(argv)}\n".encode())
        log.flush()
        return subprocess.Popen(
            argv,
            cwd=out,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def failure_reason(out: Path, code: int, product: str) -> str:
    """Say in one line why a job failed: what its end means, then its own last word, or where it left none."""
    log = out / records.LOG
    if code == 0:
        meaning = f"ended without an error but left no {product}"
    elif code < 0:
        name = signal.Signals(-code).name
        hint = " (memory may have run out)" if -code == signal.SIGKILL else ""
        return f"killed by {name}{hint}; log: {log}"
    else:
        meaning = f"exit code {code}"
    last = records.last_line(log)
    return f"{meaning}: {last}" if last else f"{meaning}, without a word; log: {log}"


def is_alive(pid: int) -> bool:
    """Say whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a child and to what it has started."""
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return  # it has ended by itself
