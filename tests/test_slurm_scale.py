"""A suite of thousands: plans and shows its state in seconds, and asks Slurm seldom however many people watch."""

import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import twinbench
from twinbench.slurm.batches import plan_batches
from twinbench.slurm.ledger import Ledger
from twinbench.suite.graph import Job, build_jobs
from twinbench.suite.suite import read_suite

ROOT = Path(__file__).parent.parent
PROTOCOLS = ("demo-imagenet-10pct", "demo-imagenet-knn", "demo-imagenet-linear", "demo-imagenet-1pct")


def write_suite(folder, methods, seeds, cluster="{gpus_per_node: 8}"):
    # A plan asks what is there.
    for name in ("train/cat/cat_1.JPEG", "val/cat/1.JPEG", "1percent.txt", "10percent.txt"):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).write_text("cat_1.JPEG\n")
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
    assert run.stdout.startswith("many: 20001 jobs: 20001 waiting")
    assert int(run.stdout.split()[-1]) < 1_000_000  # kB


@pytest.mark.parametrize("queued", [0, 1, 9])
@pytest.mark.parametrize(("bound", "methods"), [(0, 3), (1, 3), (4, 3), (5, 3), (2, 7), (16, 2)])
def test_max_running_holds_over_all_batches_together(tmp_path, bound, methods, queued):
    options = f"{{max_running: {bound}, gpus_per_node: 8}}"
    suite = read_suite(write_suite(tmp_path, methods, seeds=5, cluster=options))
    trials = [
        replace(job, needs=(f"{method}/backbone",)) if (method := job.name.split("/")[0]) != "m0" else job
        for job in build_jobs(suite)[:-1]
    ]
    backbones = [Job(name, "convert", (), tmp_path) for name in {job.needs[0]: 0 for job in trials if job.needs}]
    plans = plan_batches(suite, [*backbones, *trials], largest_array=12, queued=queued)
    assert sorted(job.name for plan in plans for job in plan.jobs) == sorted(j.name for j in [*backbones, *trials])
    assert max(len(plan.jobs) for plan in plans) <= 12
    at_once, ran = simulate(plans, queued)
    assert ran == len(backbones) + len(trials) + queued
    if bound:
        assert at_once <= max(bound, queued)
    else:
        assert all(plan.at_once == 0 and plan.after is None for plan in plans)


def simulate(plans, queued):
    """Run plans as Slurm would, jobs of random lengths beside `queued` running ones; return the most jobs at once, and
    how many ran."""
    chance = random.Random(0)
    waiting = {number: list(plan.jobs) for number, plan in enumerate(plans)}
    running = [(chance.random(), -1, "") for _ in range(queued)]  # when it ends, whose it is, its name
    now, done, most = 0.0, [], 0

    def may_start(number, plan):
        mine = [owner for _, owner, _ in running]
        if plan.after_queued and -1 in mine or not set(plan.needs) <= set(done):
            return False
        return plan.after is None or not waiting[plan.after] and plan.after not in mine

    while running or any(waiting.values()):
        for number, plan in enumerate(plans):
            while waiting[number] and may_start(number, plan):
                if plan.at_once and [owner for _, owner, _ in running].count(number) >= plan.at_once:
                    break
                running.append((now + chance.random(), number, waiting[number].pop().name))
        most = max(most, len(running))
        assert running, "jobs wait for each other"
        now, _, name = min(running)
        running.remove(min(running))
        done.append(name)
    return most, len(done)


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
    monkeypatch.setattr("twinbench.slurm.view.time.time", lambda: clock[0])
    for _ in range(60):  # a minute of somebody pressing return every second
        assert twinbench.main(["suite", "status", str(file)]) == 0
        clock[0] += 1
    assert "queued   Priority" in capsys.readouterr().out
    assert len((tmp_path / "calls").read_text().splitlines()) <= 60 / 10
