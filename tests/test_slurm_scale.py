"""A suite of thousands: plans and shows its state in seconds, and asks Slurm seldom however many people watch."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import twinbench
from slurm.batches import plan_batches
from slurm.graph import build_jobs
from slurm.ledger import Ledger
from slurm.suite import read_suite

ROOT = Path(__file__).parent.parent
PROTOCOLS = ("imagenet-knn", "demo-imagenet-knn", "demo-imagenet-linear", "demo-imagenet-1pct")


def write_suite(folder, methods, seeds, cluster="{gpus_per_node: 8}"):
    (folder / "data").mkdir(exist_ok=True)
    rows = "".join(f"  m{index}: {{checkpoint: random}}\n" for index in range(methods))
    columns = "".join(f"  {name}: {{seeds: {seeds}}}\n" for name in PROTOCOLS)
    file = folder / "suite.yaml"
    file.write_text(
        f"name: many\nroot: out\nmethods:\n{rows}protocols:\n{columns}data: {{imagenet: data}}\ncluster: {cluster}\n"
    )
    return file


def seconds(command):
    start = time.monotonic()
    run = subprocess.run([sys.executable, "-m", "twinbench", *command], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return time.monotonic() - start, run.stdout


def test_two_thousand_trials_plan_and_show_their_state_in_two_seconds(tmp_path):
    file = write_suite(tmp_path, methods=50, seeds=10)
    for job in build_jobs(read_suite(file))[::2]:
        job.out.mkdir(parents=True)
        (job.out / "job.json").write_text(json.dumps({"state": "failed", "identity": "", "argv": [], "reason": "x"}))
    measured = {action: min(seconds(["suite", *action, str(file)])[0] for _ in range(2)) for action in ACTIONS}
    # 2 s on a free core; the bound leaves room for a machine that is busy with other tests
    assert max(measured.values()) < 4, measured


ACTIONS = (("plan", "--local"), ("status",))


def test_twenty_thousand_trials_stay_below_a_gigabyte(tmp_path):
    file = write_suite(tmp_path, methods=500, seeds=10)
    code = (
        "import twinbench\n"
        f"twinbench.main(['suite', 'plan', '--local', {str(file)!r}])\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"  # kB, of this program alone
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout.startswith("many: 20000 jobs: 20000 waiting")
    assert int(run.stdout.split()[-1]) < 1_000_000  # kB


@pytest.mark.parametrize(("bound", "methods"), [(0, 3), (4, 3), (5, 3), (2, 7), (16, 2)])
def test_max_running_holds_over_all_arrays_together(tmp_path, bound, methods):
    options = f"{{max_running: {bound}, gpus_per_node: 8}}"
    suite = read_suite(write_suite(tmp_path, methods, seeds=30, cluster=options))
    # one array for each distinct need: give every method its own, as backbones do
    jobs = [replace(job, needs=(job.name.split("/")[0],)) for job in build_jobs(suite)]
    plans = plan_batches(suite, jobs, largest_array=50)
    assert sum(len(plan.jobs) for plan in plans) == len(jobs)
    assert max(len(plan.jobs) for plan in plans) <= 50
    if not bound:
        assert all(plan.at_once == 0 and plan.after is None for plan in plans)
        return
    # arrays that wait for one another never run together: the most at once is the sum over the first of each chain
    assert all(plan.at_once >= 1 for plan in plans)
    chains = {}
    for number, plan in enumerate(plans):
        head = number if plan.after is None else chains[plan.after][0]
        chains[number] = (head, plan.at_once)
    widest = {head: max(width for other, width in chains.values() if other == head) for head, _ in chains.values()}
    assert sum(widest.values()) <= bound


FAKE = """#!/bin/sh
date +%s.%N >>"$FAKE_CALLS"
[ "$(basename "$0")" = squeue ] && echo "7|$FAKE_NAME|PENDING|(Priority)"
exit 0
"""


def test_a_watching_user_asks_slurm_at_most_once_in_ten_seconds(tmp_path, monkeypatch, capsys):
    file = write_suite(tmp_path, methods=1, seeds=1)
    jobs = build_jobs(read_suite(file))
    ledger = Ledger(tmp_path / "out")
    batch = ledger.confirm(ledger.announce("many", [jobs[0].name]), "7")
    ledger.confirm(ledger.announce("many", [jobs[1].name]), "8")  # not in the queue any more: accounting is asked too
    for program in ("squeue", "sacct", "sbatch"):
        path = tmp_path / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(FAKE)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_NAME", batch.slurm_name)
    clock = [1000.0]
    monkeypatch.setattr("slurm.view.time.time", lambda: clock[0])
    for _ in range(60):  # a minute of somebody pressing return every second
        assert twinbench.main(["suite", "status", str(file)]) == 0
        clock[0] += 1
    assert "queued   Priority" in capsys.readouterr().out
    assert len((tmp_path / "calls").read_text().splitlines()) <= 60 / 10
