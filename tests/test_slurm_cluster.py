"""Suites on a real Slurm of two nodes (tests/cluster.sh), with small workers in place of the rooms'.

The workers are put into the code snapshot that the jobs run; everything else is what a user's suite goes through. The
`faults` of a trial are files beside its data, so that a second run finds the world mended.
"""

import json
import os
import re
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

import twinbench
from protocols.catalogue import find_protocol
from slurm import launch, preflight, scheduler, view
from slurm.graph import build_jobs
from slurm.ledger import Ledger
from slurm.record import read_record
from slurm.snapshot import take_snapshot
from slurm.status import suite_status
from slurm.suite import SuiteError, read_suite

SCRIPT = Path(__file__).parent / "cluster.sh"
PROTOCOL = "demo-imagenet-1pct"

# What stands in for transfer/command.py and pretrain/command.py: counts steps in a file, resumes from it, and does
# what a file DATA/<method>.<seed> says at step 3. Its metric is a function of every step, taken once.
WORKER = """
import json, os, signal, sys, time
from pathlib import Path
from protocols.catalogue import find_protocol
from protocols.house import replacing
from report.trial import Trial

def add_arguments(parser):
    for name in ("words",):
        parser.add_argument(name, nargs="*")
    for name in ("--method", "--recipe", "--seed", "--workers"):
        parser.add_argument(name)
    parser.add_argument("--set", action="append")

def run(arguments):
    out, data = Path(arguments.words[-1]), Path(arguments.words[-2])
    place = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")]
    (out / f"place{place[0]}").write_text(" ".join(place))
    if place[0] not in ("", "0"):
        return 0
    fault = data / f"{arguments.method or 'train'}.{arguments.seed}"
    pace, steps = map(float, (data / "pace").read_text().split())
    state = json.loads((out / "state").read_text()) if (out / "state").exists() else {"step": 0, "sum": 0, "starts": 0}
    state["starts"] += 1
    while state["step"] < steps:
        time.sleep(pace)
        state["step"] += 1
        state["sum"] += state["step"] * (1 + int(arguments.seed))
        with replacing(out / "state") as beside:
            beside.write_text(json.dumps(state))
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps({"epoch": state["step"], "time": time.time()}) + "\\n")
        if state["step"] == 3 and fault.exists():
            word = fault.read_text()
            if word == "fail":
                print("no such image: 17.jpg")
                return 1
            if word == "fill":
                with open(out / "filler", "wb", buffering=0) as filler:
                    while True:
                        filler.write(bytes(1 << 16))
            if word == "memory":
                hog = bytearray(1500 << 20)
                for at in range(0, len(hog), 4096):
                    hog[at] = 1
                time.sleep(60)
    if arguments.method is None:
        (out / "resnet50.pth").write_text("weights")
        return 0
    protocol = find_protocol(arguments.words[0])
    trial = Trial(protocol, arguments.method, int(arguments.seed), "0" * 64, "cpu", out)
    trial.finish({protocol.metric: state["sum"] / 10}, {"train": 30, "test": 500}, details=state)
    return 0
"""


@pytest.fixture(scope="module")
def cluster():
    """Bring the cluster up for this file, or skip: loudly where CI should have installed it."""
    up = subprocess.run([SCRIPT, "up"], capture_output=True, text=True)
    if up.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have Slurm: {up.stderr}")
        pytest.skip(up.stderr.strip() or "tests/cluster.sh could not start Slurm")
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = up.stdout.strip()
    yield
    if before is None:
        del os.environ["SLURM_CONF"]
    if not os.environ.get("KEEP_CLUSTER"):
        subprocess.run([SCRIPT, "down"], check=True)


def service(action, name):
    subprocess.run([SCRIPT, action, name], check=True)


class Site:
    """A suite on the cluster."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.root = folder, folder / "out"
        (folder / "data").mkdir()
        monkeypatch.setattr(launch, "take_snapshot", self.snapshot)
        monkeypatch.setattr(view, "PATIENCE", 0.0)
        monkeypatch.setattr(preflight, "_checkpoints", lambda _: ())
        self.pace(0.05, 6)

    def snapshot(self, into):
        code = take_snapshot(into)
        for room in ("transfer", "pretrain"):
            (code / room / "command.py").write_text(textwrap.dedent(WORKER))
        return code

    def pace(self, seconds, steps):
        (self.folder / "data/pace").write_text(f"{seconds} {steps}")

    def fault(self, name, word):
        path = self.folder / "data" / name
        path.write_text(word) if word else path.unlink()

    def write(self, methods="{random: {checkpoint: random}}", seeds=2, cluster="", name="site"):
        file = self.folder / "suite.yaml"
        file.write_text(
            f"name: {name}\nroot: out\nmethods: {methods}\nprotocols: {{{PROTOCOL}: {{seeds: {seeds}}}}}\n"
            f"data: {{imagenet: data}}\n"
            f"cluster: {{gpus_per_node: 1, cpus_per_gpu: 1, minutes: 20, signal_delay_s: 30, {cluster}}}\n"
        )
        return file

    def run(self):
        return twinbench.main(["suite", "run", str(self.folder / "suite.yaml")])

    def statuses(self):
        suite = read_suite(self.folder / "suite.yaml")
        found, self.problem = suite_status(suite, build_jobs(suite))
        return {status.job.name: status for status in found}

    def states(self):
        return {name: status.state for name, status in self.statuses().items()}

    def wait(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.statuses()
            time.sleep(0.5)

    def settled(self):
        return not {"running", "queued", "waiting"} & set(self.states().values()) and not self.queued()

    def queued(self):
        return scheduler.queue(Ledger(self.root).batches)

    def result(self, seed, method="random"):
        return json.loads((self.root / method / PROTOCOL / f"seed{seed}" / "result.json").read_text())

    def result_exists(self, seed):
        return (self.root / "random" / PROTOCOL / f"seed{seed}" / "result.json").exists()

    def value(self, seed, steps=6):
        """Return what the worker measures if no step is lost or done twice."""
        return (1 + seed) * steps * (steps + 1) / 2 / 10


@pytest.fixture
def site(tmp_path, monkeypatch, cluster):
    place = Site(tmp_path, monkeypatch)
    yield place
    left = [entry.slurm_id for entry in place.queued()] if Ledger(place.root).batches else []
    if left:
        scheduler.cancel(left)


def test_a_suite_runs_from_pretraining_to_table_and_is_skipped_the_second_time(site, capsys):
    file = site.write("{mine: {pretrain: {recipe: demo}}, random: {checkpoint: random}}", seeds=3)
    assert site.run() == 0
    assert "7 jobs" not in capsys.readouterr().out  # the report is one more
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}
    for method in ("mine", "random"):
        assert [site.result(seed, method)["metrics"]["top1"] for seed in range(3)] == [site.value(s) for s in range(3)]
    assert "4.2 ±2.1 (3)" in (site.root / "report.txt").read_text()  # 2.1, 4.2, 6.3
    batches = Ledger(site.root).batches
    assert [len(batch.jobs) for batch in batches.values()] == [1, 3, 3, 1]  # pretrain, two arrays, report
    record = read_record(site.root / "mine" / PROTOCOL / "seed1")
    assert (
        record
        and record.gpus == 1
        and record.job_id
        == next(
            batch.element(f"mine/{PROTOCOL}/seed1")
            for batch in batches.values()
            if f"mine/{PROTOCOL}/seed1" in batch.jobs
        )
    )
    code = json.loads((site.root / "mine" / PROTOCOL / "seed0/result.json").read_text())["code"]
    assert code["root"].startswith(str(site.root / "code"))
    assert twinbench.main(["suite", "run", str(file)]) == 0
    assert len(Ledger(site.root).batches) == 4


def test_a_failure_is_told_its_dependents_are_blocked_and_only_they_run_again(site):
    site.write("{mine: {pretrain: {recipe: demo}}, random: {checkpoint: random}}", seeds=2)
    site.fault("train.0", "fail")
    site.fault("random.1", "fail")
    assert site.run() == 0
    site.wait(site.settled)
    seen = site.statuses()
    assert seen["mine/pretrain"].reason == "exit code 1: no such image: 17.jpg"
    for seed in (0, 1):
        blocked = seen[f"mine/{PROTOCOL}/seed{seed}"]
        assert blocked.state == "blocked" and "mine/pretrain failed" in blocked.reason
    assert seen[f"random/{PROTOCOL}/seed0"].state == "done"
    assert "mine/pretrain failed: exit code 1: no such image" in (site.root / "report.txt").read_text()
    first = site.result(0)
    site.fault("train.0", "")
    site.fault("random.1", "")
    assert site.run() == 0
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}
    assert site.result(0) == first
    assert site.result(1)["metrics"]["top1"] == site.value(1)


def started(site, name=f"random/{PROTOCOL}/seed0"):
    """Wait until a job has taken a step; return its status."""
    site.wait(lambda: (site.root / name / "log.jsonl").exists())
    return site.statuses()[name]


def test_a_job_requeued_by_hand_resumes_and_is_not_submitted_again(site):
    site.pace(0.4, 20)
    site.write(seeds=1)
    assert site.run() == 0
    status = started(site)
    epochs = find_protocol(PROTOCOL).recipe.epochs
    assert status.state == "running" and status.advance and status.advance.total == epochs
    subprocess.run(["scontrol", "requeue", status.slurm_id], check=True)
    assert site.run() == 0
    assert len(Ledger(site.root).batches) == 2
    site.wait(site.settled, 90)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=20)
    assert site.result(0)["details"]["starts"] == 2


def test_a_job_whose_node_dies_resumes_elsewhere_to_the_same_number(site):
    site.pace(0.4, 20)
    site.write(seeds=1)
    assert site.run() == 0
    node = started(site).reason
    service("kill", node)
    try:
        site.wait(lambda: site.result_exists(0), 90)
    finally:
        service("start", node)
    site.wait(site.settled, 90)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=20)
    assert site.result(0)["details"]["starts"] == 2


@pytest.mark.parametrize("blow", ["preempt", "warn"])
def test_a_preempted_job_gives_way_and_resumes(site, blow):
    site.pace(0.5, 24)
    site.write(seeds=1, cluster="partition: low")
    assert site.run() == 0
    name = f"random/{PROTOCOL}/seed0"
    site.wait(lambda: (site.root / name / "log.jsonl").exists())
    if blow == "preempt":
        asked = ("--partition=high", "--nodes=2", "--gpus-per-node=4", "--output=/dev/null", "--wrap=sleep 3")
        subprocess.run(["sbatch", *asked], check=True, capture_output=True)
    else:
        slurm_id = site.statuses()[name].slurm_id
        subprocess.run(["scancel", "--signal=USR2", slurm_id], check=True)
    site.wait(lambda: (record := read_record(site.root / name)) is not None and record.state == "stopped")
    assert "Slurm starts it again" in (read_record(site.root / name) or pytest.fail()).reason
    site.wait(site.settled, 90)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=24)
    assert site.result(0)["details"]["starts"] == 2


def test_what_only_slurm_knows_is_told(site):
    site.pace(0.3, 12)
    site.write(seeds=3, cluster="mem_gb_per_gpu: 1")
    site.fault("random.0", "memory")
    assert site.run() == 0
    names = [f"random/{PROTOCOL}/seed{seed}" for seed in range(3)]
    site.wait(lambda: (site.root / names[1] / "log.jsonl").exists())
    subprocess.run(["scancel", site.statuses()[names[1]].slurm_id], check=True)
    site.wait(site.settled, 60)
    seen = site.statuses()
    assert [seen[name].state for name in names] == ["failed", "failed", "done"]
    assert seen[names[0]].reason.startswith("killed for memory: raise cluster.mem_gb_per_gpu")
    assert seen[names[1]].reason.startswith("cancelled")
    table = (site.root / "report.txt").read_text()
    assert "seed 0: failed" in table and "seed 1: failed: cancelled" in table


def test_a_pretraining_over_two_nodes_is_one_group_of_processes(site):
    site.write("{mine: {pretrain: {recipe: demo}}}", seeds=1, cluster="nodes: 2")
    assert site.run() == 0
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}
    places = [(site.root / "mine/pretrain" / f"place{rank}").read_text().split() for rank in (0, 1)]
    assert [place[:4] for place in places] == [["0", "2", "0", "n1"], ["1", "2", "0", "n1"]]
    assert places[0][4] == places[1][4]
    record = read_record(site.root / "mine/pretrain")
    assert record and record.gpus == 2


@pytest.fixture
def small_disk(tmp_path):
    """Make the suite's root a disk of 48 MB."""
    root = tmp_path / "out"
    root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", root], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield root
    subprocess.run(["umount", "--lazy", root], check=True)


def test_a_disk_that_fills_up_costs_one_run_and_no_result(small_disk, site):
    site.write(seeds=2)
    site.fault("random.0", "fill")
    assert site.run() == 0
    site.wait(site.settled, 90)
    filler = small_disk / "random" / PROTOCOL / "seed0/filler"
    assert filler.stat().st_size > 40_000_000
    assert site.states()[f"random/{PROTOCOL}/seed0"] == "failed"
    filler.unlink()
    site.fault("random.0", "")
    assert site.run() == 0
    site.wait(site.settled, 90)
    assert [site.result(seed)["metrics"]["top1"] for seed in (0, 1)] == [site.value(0), site.value(1)]


def test_too_small_a_disk_and_a_read_only_one_are_refused(small_disk, site, capsys):
    site.write(seeds=3)
    assert site.run() == 2
    assert "GB free, but the missing jobs write about" in capsys.readouterr().err
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert site.run() == 2
    assert "out is not writable; choose a root on a disk" in capsys.readouterr().err


@pytest.mark.skipif("TWINBENCH_SLOW" not in os.environ, reason="takes three minutes; set TWINBENCH_SLOW=1")
def test_a_job_out_of_time_is_warned_and_goes_on_in_a_second_run(site):
    site.pace(1.0, 130)
    site.write(seeds=1, cluster="partition: low").write_text(
        (site.folder / "suite.yaml").read_text().replace("minutes: 20", "minutes: 2")
    )
    assert site.run() == 0
    site.wait(site.settled, 300)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=130)
    assert site.result(0)["details"]["starts"] >= 2


def test_accounting_and_controller_may_be_away(site):
    site.pace(0.3, 20)
    site.write(seeds=1)
    assert site.run() == 0
    name = f"random/{PROTOCOL}/seed0"
    site.wait(lambda: (site.root / name / "log.jsonl").exists())
    service("kill", "slurmctld")
    service("kill", "slurmdbd")
    try:
        status = site.statuses()[name]
        assert status.state == "running" and "follows is from files" in site.problem
        site.wait(lambda: (site.root / name / "result.json").exists())
        assert site.states()[name] == "done"
    finally:
        service("start", "slurmdbd")
        service("start", "slurmctld")
    test = ["sbatch", "--test-only", "--gpus-per-node=1", "--wrap=true"]  # until the nodes have told what they have
    site.wait(lambda: subprocess.run(test, capture_output=True).returncode == 0, 30)
    assert site.result(0)["details"]["starts"] == 1


def test_cancel_stops_all_and_run_goes_on(site):
    site.pace(0.3, 20)
    file = site.write("{mine: {pretrain: {recipe: demo}}}", seeds=2)
    assert site.run() == 0
    site.wait(lambda: (site.root / "mine/pretrain/log.jsonl").exists())
    with pytest.raises(SuiteError, match="4 jobs of this suite are on Slurm"):
        launch.refuse_if_queued(read_suite(file))
    assert twinbench.main(["suite", "cancel", str(file)]) == 0
    site.wait(lambda: not site.queued())
    site.pace(0.05, 20)
    assert site.run() == 0
    site.wait(site.settled)
    assert site.result(1, "mine")["metrics"]["top1"] == site.value(1, steps=20)


def test_a_submission_that_was_killed_half_way_is_found_again(site, monkeypatch):
    site.pace(0.3, 10)
    site.write(seeds=2)
    confirm = Ledger.confirm
    monkeypatch.setattr(Ledger, "confirm", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert site.run() == 130
    monkeypatch.setattr(Ledger, "confirm", confirm)
    assert len(site.queued()) == 2
    assert site.run() == 0
    assert [len(batch.jobs) for batch in Ledger(site.root).batches.values()] == [2, 1]  # the array, and now the report
    site.wait(site.settled)
    assert site.result(1)["details"]["starts"] == 1


def test_two_thousand_trials_are_submitted_in_a_minute(site):
    methods = ", ".join(f"m{index}: {{checkpoint: random}}" for index in range(50))
    file = site.write(f"{{{methods}}}", seeds=40, cluster="max_running: 1")
    start = time.monotonic()
    assert site.run() == 0
    assert time.monotonic() - start < 60
    assert [len(batch.jobs) for batch in Ledger(site.root).batches.values()] == [1000, 1000, 1]
    start = time.monotonic()
    assert set(site.states().values()) <= {"queued", "running", "done"}
    assert time.monotonic() - start < 10  # 2 s when free; Slurm itself is asked within
    assert twinbench.main(["suite", "cancel", str(file)]) == 0
    site.wait(lambda: not site.queued())


@pytest.mark.parametrize(
    ("cluster_options", "words"),
    [
        ("partition: nope", "there is no partition 'nope' here; there are: high, low, main, short"),
        ("partition: short, minutes: 60", "asks for 60 minutes, but partition short allows 30"),
        ("gpus_per_node: 9", "gpus_per_node is 9, but a node of partition main has 4"),
        ("nodes: 3", "asks for 3 nodes, but partition main has 2"),
        ("minutes: 1", "leave no time to work beside a warning"),
        ("constraint: a100", "sbatch: .*Invalid feature specification"),
    ],
)
def test_what_slurm_would_refuse_or_never_start_is_said_before(site, cluster_options, words, capsys):
    options = {"gpus_per_node": "1", "minutes": "20"} | dict(o.split(": ") for o in cluster_options.split(", "))
    site.write(seeds=1).write_text(
        (site.folder / "suite.yaml").read_text().split("cluster:")[0]
        + f"cluster: {{signal_delay_s: 30, {', '.join(f'{key}: {value}' for key, value in options.items())}}}\n"
    )
    assert site.run() == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line
    assert not site.queued()
