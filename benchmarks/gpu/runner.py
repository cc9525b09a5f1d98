"""Each module in a process of its own, with a time limit of its own: the crash of one loses no other's figures."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.figures import Figure

ROOT = Path(__file__).resolve().parent.parent.parent
BUDGET = 480  # seconds for all of them
QUOTED = 160  # letters of an error


@dataclass(frozen=True)
class Benchmark:
    """A module that measures, and the seconds that it may take, the start of Python and CUDA included."""

    module: str
    seconds: float


# In the order of what a short loan of a card must not miss. A test adds up the limits.
BENCHMARKS = {
    "pretraining": Benchmark("benchmarks.gpu.pretraining", 135),
    "svm": Benchmark("benchmarks.gpu.svm", 60),
    "extraction": Benchmark("benchmarks.gpu.extraction", 60),
    "detection": Benchmark("benchmarks.gpu.detection", 100),
    "loss": Benchmark("benchmarks.gpu.loss", 25),
    "inat": Benchmark("benchmarks.gpu.inat", 60),
    "lowshot": Benchmark("benchmarks.gpu.lowshot", 40),
}


@dataclass(frozen=True)
class Outcome:
    """What one module gave, and why it gave no more."""

    figures: list[Figure]
    machine: dict[str, Any]  # see child.machine; empty where the module did not come so far
    seconds: float
    failure: str = ""  # one line; nothing where the module came to its end
    interrupted: bool = False  # by the user, or by what started all this

    @property
    def missed(self) -> list[Figure]:
        """The figures that do not reach their targets."""
        return [figure for figure in self.figures if figure.missed]


def run_all(benchmarks: Mapping[str, Benchmark], device: str) -> dict[str, Outcome]:
    """Run modules one after the other; those after an interruption are left out."""
    outcomes: dict[str, Outcome] = {}
    for name, benchmark in benchmarks.items():
        print(f"{name}, at most {benchmark.seconds:g} s", flush=True)
        outcomes[name] = outcome = run(benchmark, device)
        if outcome.failure:
            print(f"{name}: {outcome.failure}", file=sys.stderr, flush=True)
        if outcome.interrupted:
            break
    return outcomes


def run(benchmark: Benchmark, device: str) -> Outcome:
    """Measure one module on `device`; nothing of it is left when this returns."""
    with tempfile.TemporaryDirectory() as folder:
        figures, errors = Path(folder, "figures"), Path(folder, "errors")
        began = time.monotonic()
        with open(errors, "w") as told:
            command = [sys.executable, "-m", "benchmarks.gpu.child", benchmark.module, str(figures), device]
            # A session of its own: its loader processes can be ended with it.
            child = subprocess.Popen(command, cwd=ROOT, stderr=told, stdin=subprocess.DEVNULL, start_new_session=True)
            failure, interrupted = _ended(child, benchmark.seconds)
        seconds = time.monotonic() - began
        said = errors.read_text(errors="replace")
        if failure and said:
            print(said, file=sys.stderr, flush=True)
        if failure == CRASHED:
            failure = f"{_exit(child.returncode)}: {_last_line(said)}"
        machine, found = _read(figures)
    return Outcome(found, machine, seconds, failure, interrupted)


CRASHED = "crashed"


def _ended(child: subprocess.Popen[bytes], seconds: float) -> tuple[str, bool]:
    """Wait for the end of `child`, or bring it about; return why it is no good end, and whether we were interrupted."""
    try:
        code = child.wait(timeout=seconds)
        return (CRASHED if code else ""), False
    except subprocess.TimeoutExpired:
        return f"cut at its limit of {seconds:g} s", False
    except KeyboardInterrupt:
        return "interrupted", True
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _exit(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _last_line(text: str) -> str:
    """Return the last line of an error's text, which names the error."""
    lines = text.strip().splitlines()
    return lines[-1].strip()[:QUOTED] if lines else "it said nothing"


def _read(path: Path) -> tuple[dict[str, Any], list[Figure]]:
    """Return the machine and the figures in a child's file; the last line may be half a one."""
    text = path.read_text() if path.exists() else ""
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    if not whole:
        return {}, []
    machine, *figures = map(json.loads, whole)
    return machine, [Figure(**figure) for figure in figures]
