"""A suite of twenty thousand trials: CPU seconds and memory of each command, as whole processes.

500 methods x 4 protocols x 10 seeds, half of them and then all of them finished, each with a result and a record as the
rooms and the runner write them; Slurm is a set of scripts that answer at once. Seconds are of a machine like CI's.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import typical_result
from twinbench.suite.graph import build_jobs
from twinbench.suite.job import Job
from twinbench.suite.record import Record
from twinbench.suite.suite import read_suite

METHODS, SEEDS = 500, 10
PROTOCOLS = ("demo-imagenet-10pct", "demo-imagenet-knn", "demo-imagenet-linear", "demo-imagenet-1pct")
LISTS = "1percent.txt", "10percent.txt"
CLASSES = 10  # of the demo's data, which a plan checks
MOST_SECONDS = {"plan": 2.0, "status": 2.0, "report": 10.0, "run": 60.0, "cancel": 5.0}
FIRST_SECONDS = 6.0  # of a look at ten thousand results that nobody has read before
MOST_GB = 1.0
# A cluster of one partition, where everything waits; what sbatch was given stands in $FAKE/queue
PROGRAMS = {
    "sinfo": "echo 'main*|7-00:00:00|100|gpu:8'",
    "scontrol": "echo 'MaxArraySize = 1001'",
    "sbatch": """
case "$*" in *--test-only*) exit 0;; esac
for script; do :; done
name=$(sed -n 's/^#SBATCH --job-name=//p' "$script")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
id=$(($(wc -l <"$FAKE/queue") + 1))
elements="$id"
[ -n "$last" ] && elements=$(seq -f "${id}_%.0f" 0 "$last")
for element in $elements; do echo "$element|$name|PENDING|vision|normal|(Priority)"; done >>"$FAKE/queue"
echo "Submitted batch job $id" """,
    "squeue": 'cat "$FAKE/queue"',
    "sacct": "exit 0",
    "scancel": ': >"$FAKE/queue"',
    "srun": "exit 0",
}


def write_suite(folder: Path, methods: int = METHODS) -> Path:
    """Write the suite's file and the data that a plan asks for."""
    for number in range(CLASSES):
        for image in (f"train/c{number}/c{number}_1.JPEG", f"val/c{number}/{number}.JPEG"):
            (folder / "data" / image).parent.mkdir(parents=True)
            (folder / "data" / image).touch()
    for name in LISTS:
        (folder / "data" / name).write_text("".join(f"c{number}_1.JPEG\n" for number in range(CLASSES)))
    rows = "".join(f"  m{number}: {{checkpoint: random}}\n" for number in range(methods))
    columns = "".join(f"  {name}: {{seeds: {SEEDS}, partial: true}}\n" for name in PROTOCOLS)
    file = folder / "suite.yaml"
    file.write_text(f"name: many\nroot: out\nmethods:\n{rows}protocols:\n{columns}data: {{imagenet: data}}\n")
    return file


def write_cluster(folder: Path) -> dict[str, str]:
    """Write the scripts that stand for Slurm, and return the environment in which they are found."""
    (folder / "bin").mkdir()
    (folder / "queue").touch()
    for name, body in PROGRAMS.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    return {**os.environ, "FAKE": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


def finish(jobs: Sequence[Job]) -> None:
    """Write a result and a record for each of some trials. Their own `write` would wait for the disk."""
    for number, job in enumerate(jobs):
        method, _, seed = job.name.split("/")
        assert job.protocol
        result = typical_result(job.protocol, method, int(seed[4:]), 40 + number % 500 / 10, f"{method:>064}")
        result = dataclasses.replace(result, data_sha256=job.parts()["data"])
        record = Record("done", job.identity, job.argv, started=1e9, ended=1e9 + 600, gpus=1, spent_seconds=600.0)
        job.out.mkdir(parents=True)
        (job.out / "result.json").write_text(json.dumps(vars(result)))
        (job.out / "job.json").write_text(json.dumps(vars(record)))


def measured(words: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return the CPU seconds and the most memory, in GB, of a command and its children."""
    command = [sys.executable, "-m", "twinbench", "suite", *words]
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}: {text[-2000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def main() -> bool:
    """Print what each command takes; return whether one takes more than it may."""
    missed = False

    def show(what: str, words: Sequence[str], first: bool = False) -> None:
        nonlocal missed
        seconds, gigabytes = measured(words, environment)
        bound = FIRST_SECONDS if first else MOST_SECONDS[words[0]]
        missed |= seconds > bound or gigabytes > MOST_GB
        print(f"  {what:34} {seconds:6.2f} s (target {bound:g})   {gigabytes:5.2f} GB (target {MOST_GB:g})", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = str(write_suite(folder))
        environment = write_cluster(folder)
        *trials, _ = build_jobs(read_suite(Path(file)))
        print(f"suites: {len(trials)} trials")
        show("plan, nothing begun", ["plan", file])
        show("run, all submitted", ["run", file])
        show("status, all queued", ["status", file])
        show("cancel", ["cancel", file])
        finish(trials[::2])
        show("status, half finished, first look", ["status", file], first=True)
        show("plan, half finished", ["plan", file])
        show("run, the other half submitted", ["run", file])
        show("cancel", ["cancel", file])
        finish(trials[1::2])
        show("report, all finished", ["report", file])
        show("plan, all finished", ["plan", file])
        show("status, all finished", ["status", file])
    return missed
