"""A real Slurm of two nodes (tests/cluster.sh) and suites on it, with small workers in place of the rooms'.

The workers are put into the code snapshot that the jobs run; everything else is what a user's suite goes through. The
`faults` of a trial are files beside its data, so that a second run finds the world mended.
"""

import json
import os
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

import twinbench
from twinbench.slurm import launch, scheduler, view
from twinbench.slurm.ledger import Ledger
from twinbench.slurm.snapshot import take_snapshot
from twinbench.suite import preflight
from twinbench.suite.graph import build_jobs
from twinbench.suite.record import read_record
from twinbench.suite.status import suite_status
from twinbench.suite.suite import read_suite

SCRIPT = Path(__file__).parent.parent / "cluster.sh"
NOT_HERE = 3  # the script's exit code where Slurm is not installed, or may not be started
PROTOCOL = "demo-imagenet-1pct"

# What stands in for transfer/command.py and pretrain/command.py: counts steps in a file, resumes from it, and does
# what a file DATA/<method>.<seed> says at step 3. Its metric is a function of every step, taken once.
WORKER = """
import json, os, signal, sys, time
from pathlib import Path
from twinbench.data.identity import identify
from twinbench.protocols.catalogue import find_protocol
from twinbench.protocols.house import replacing
from twinbench.protocols.identity import data_identity
from twinbench.report.trial import Trial, TrialBackbone, TrialData

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
            while word == "hold" and fault.exists():  # until the test lets go: no race against a busy machine
                time.sleep(0.1)
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
    backbone = TrialBackbone("0" * 64, "resnet50", {"mean": [0], "std": [1], "order": "rgb", "scale": 1})
    splits = identify(protocol.data_set.layout, data, fraction=protocol.data_set.subset)
    data = TrialData(protocol.data_set.name, data_identity(splits))
    trial = Trial(protocol, arguments.method, int(arguments.seed), backbone, data, "cpu", out)
    trial.finish({protocol.metric: state["sum"] / 10}, {"train": 30, "test": 500}, details=state)
    return 0
"""


# What stands in for convert/inspect.py: the nodes' half a gigabyte has no room for torch.
INSPECT = """
import json
from twinbench.protocols.identity import backbone_identity

CONVENTION = {"mean": [0], "std": [1], "order": "rgb", "scale": 1}

def add_arguments(parser):
    parser.add_argument("file")
    parser.add_argument("--json", action="store_true")

def run(arguments):
    identity = backbone_identity("0" * 64, "resnet50", CONVENTION)
    told = {"identity": identity, "sha256": "0" * 64, "architecture": "resnet50", "convention": "rgb"}
    print(json.dumps(told | {"layout": "plain", "width": 1, "tensors": 318}))
    return 0
"""


class Site:
    """A suite on the cluster."""

    protocol = PROTOCOL

    def __init__(self, folder, monkeypatch):
        self.folder, self.root = folder, folder / "out"
        for split in ("train", "val"):  # an image each, which no worker here opens
            (folder / "data" / split / "cat").mkdir(parents=True)
            (folder / "data" / split / "cat" / "cat_1.JPEG").touch()
        (folder / "data" / "1percent.txt").write_text("cat_1.JPEG\n")
        monkeypatch.setattr(launch, "take_snapshot", self.snapshot)
        monkeypatch.setattr(view, "PATIENCE", 0.0)
        monkeypatch.setattr(preflight, "_checkpoints", lambda _: ())
        monkeypatch.setattr("twinbench.suite.expected.require_fit", lambda *_, **__: None)  # of one image a split
        self.pace(0.05, 6)

    def snapshot(self, into):
        code = take_snapshot(into)
        for room in ("transfer", "pretrain"):
            (code / "twinbench" / room / "command.py").write_text(textwrap.dedent(WORKER))
        (code / "twinbench/convert/inspect.py").write_text(INSPECT)
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

    def wait(self, condition, seconds=120, pause=0.5):
        """Wait for what takes some seconds on a free machine, and may take many on a busy one."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.states(), self.queued())
            time.sleep(pause)

    def settled(self):
        return not {"running", "queued", "waiting"} & set(self.states().values()) and not self.queued()

    def trial(self, seed, method="random"):
        """Return a trial's name, which is its folder below the root."""
        return f"{method}/{PROTOCOL}/seed{seed}"

    def record(self, seed):
        return read_record(self.root / self.trial(seed))

    def started(self, name):
        """Wait until a job has taken a step; return its status."""
        self.wait(lambda: (self.root / name / "log.jsonl").exists())
        return self.statuses()[name]

    def queued(self):
        ledger = Ledger(self.root)
        return [entry for entry in scheduler.queue(ledger.users) if entry.name in ledger.batches]

    def result(self, seed, method="random"):
        return json.loads((self.root / self.trial(seed, method) / "result.json").read_text())

    def result_exists(self, seed):
        return (self.root / self.trial(seed) / "result.json").exists()

    def value(self, seed, steps=6):
        """Return what the worker measures if no step is lost or done twice."""
        return (1 + seed) * steps * (steps + 1) / 2 / 10

    def controller_has_saved(self):
        """Say whether Slurm's controller has written down the first trial's start; one killed before forgets jobs."""
        saved = Path(os.environ["SLURM_CONF"]).parent / "state/job_state"
        return saved.exists() and saved.stat().st_mtime > self.record(0).started

    @staticmethod
    def service(action, name):
        """Kill or start a service of the cluster."""
        subprocess.run([SCRIPT, action, name], check=True)

    @staticmethod
    def preempt_without_warning():
        """Make the cluster one where a preempted job gets SIGTERM only, and no signal of its own before."""
        bring_up(CLUSTER_PREEMPTION="term")


def absent(reason):
    """Skip a test for what this machine lacks; CI has it, or fails."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this test, but {reason}")
    pytest.skip(reason)


def bring_up(**settings):
    """Start what of the cluster is not up, and return its SLURM_CONF once everything answers."""
    up = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, env={**os.environ, **settings})
    if up.returncode == NOT_HERE:
        absent(up.stderr.strip())
    if up.returncode:
        pytest.fail(up.stderr)
    return up.stdout.strip()


@pytest.fixture(scope="session")
def cluster():
    """Bring the cluster up once for all tests, and take it down after them (not with KEEP_CLUSTER)."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", bring_up())
            yield
    finally:
        if not os.environ.get("KEEP_CLUSTER"):
            subprocess.run([SCRIPT, "down"], check=True)


@pytest.fixture
def site(tmp_path, monkeypatch, cluster):
    """A suite's folder, on a cluster that is whole and idle, whatever the test before did to it."""
    bring_up()
    place = Site(tmp_path, monkeypatch)
    subprocess.run(["scancel", "--user=root"], check=True)
    place.wait(lambda: not scheduler.ask("squeue", "--noheader"))
    return place


@pytest.fixture
def small_disk(tmp_path):
    """Make the suite's root a disk of 48 MB."""
    root = tmp_path / "out"
    root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", root], capture_output=True).returncode:
        absent("mounting a small disk is not allowed here")
    yield root
    subprocess.run(["umount", "--lazy", root], check=True)
