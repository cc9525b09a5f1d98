"""The parts of a launch that need no Slurm: snapshot, ledger, answers of Slurm's programs, scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinbench.report.provenance import code_root
from twinbench.slurm import scheduler
from twinbench.slurm.batches import Plan
from twinbench.slurm.ledger import Ledger, new_batch
from twinbench.slurm.parameters import setup_lines
from twinbench.slurm.scheduler import Queued, SchedulerError, expand, minutes_of
from twinbench.slurm.snapshot import SnapshotError, require_code, take_snapshot
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import read_suite

ROOT = Path(__file__).parent.parent


def test_a_snapshot_holds_what_the_wheel_holds_and_equal_code_is_copied_once(tmp_path):
    first = take_snapshot(tmp_path)
    assert {path.name for path in first.iterdir()} == {"twinbench", "snapshot.json"}
    assert not (first / "twinbench/suite").is_symlink()
    assert (first / "twinbench/suite/suite.py").read_bytes() == (ROOT / "suite/suite.py").read_bytes()
    assert not list(first.rglob("__pycache__"))
    assert "commit" in json.loads((first / "snapshot.json").read_text())
    assert take_snapshot(tmp_path) == first
    (first / "snapshot.json").unlink()  # as a kill half-way would leave it
    (first / "twinbench/suite/suite.py").unlink()
    assert (take_snapshot(tmp_path) / "twinbench/suite/suite.py").exists()


def test_a_job_refuses_code_from_elsewhere(tmp_path):
    require_code(code_root())
    with pytest.raises(SnapshotError, match=f"submitted with the code in {tmp_path}, but {ROOT} was found first"):
        require_code(tmp_path)


def test_a_job_refuses_a_room_outside_its_own_snapshot(tmp_path, monkeypatch):
    snapshot, elsewhere = take_snapshot(tmp_path / "code"), tmp_path / "elsewhere"
    monkeypatch.setattr("twinbench.slurm.snapshot.code_root", lambda: snapshot)
    require_code(snapshot)
    (snapshot / "twinbench/transfer").rename(elsewhere)
    (snapshot / "twinbench/transfer").symlink_to(elsewhere)
    with pytest.raises(SnapshotError, match=f"the code in {snapshot}, but its room transfer lies in {tmp_path};"):
        require_code(snapshot)


def test_a_jobs_worker_runs_the_snapshots_rooms_and_no_others(tmp_path):
    """From a folder with rooms of the same names, and beside another twinbench that comes first for whoever stands
    there."""
    snapshot = take_snapshot(tmp_path / "code")
    for name in ("transfer", "twinbench", "report"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    code = (
        "import subprocess, sys\n"
        "from twinbench.suite.child import worker_environment\n"
        "tell = 'import twinbench.transfer.command as room; print(room.__file__)'\n"
        f"subprocess.run([sys.executable, '-c', tell], cwd={str(tmp_path)!r}, env=worker_environment(1), check=True)"
    )
    environment = {**os.environ, "PYTHONPATH": str(snapshot), "PYTHONSAFEPATH": "1"}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == str(snapshot / "twinbench/transfer/command.py"), run.stderr


def test_the_ledger_survives_a_kill_between_sbatch_and_its_answer(tmp_path):
    ledger = Ledger(tmp_path)
    sure, lost = new_batch("s", ["a", "b"]), new_batch("s", ["c"])
    for batch in (sure, lost):
        ledger.announce(batch)
    sure = ledger.confirm(sure, "17")
    again = Ledger(tmp_path)
    assert again.latest() == {"a": (sure, "17_0"), "b": (sure, "17_1")}
    again.adopt([Queued("18", lost.slurm_name, "PENDING", ""), Queued("19", "s.another", "PENDING", "")], "s")
    assert Ledger(tmp_path).latest()["c"][1] == "18"
    assert "s.another" not in again.batches
    assert sure.slurm_name != new_batch("s", ["a"]).slurm_name


@pytest.mark.parametrize(
    ("text", "ids"),
    [("17", ["17"]), ("17_3", ["17_3"]), ("17_[2-4,7%2]", ["17_2", "17_3", "17_4", "17_7"]), ("17_[5]", ["17_5"])],
)
def test_array_ids_are_expanded(text, ids):
    assert expand(text) == ids


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("30:00", 30), ("1-00:00:00", 1440), ("2-3", 3060), ("1:30:30", 90.5), ("infinite", float("inf"))],
)
def test_slurms_times_are_minutes(text, minutes):
    assert minutes_of(text) == minutes


def test_a_missing_or_refusing_program_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SchedulerError, match="squeue: no such program here; run this on a login node"):
        scheduler.queue(["x"])
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: no\nanswer' >&2\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    with pytest.raises(SchedulerError, match="squeue: slurm_load_jobs error: no / answer"):
        scheduler.queue(["x"])


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: a folder\nmethods: {random: {checkpoint: random}}\n"
        "protocols: {imagenet-knn: {seeds: 4, gpus: 16}}\ndata: {imagenet: data}\n"
        "cluster: {gpus_per_node: 8, cpus_per_gpu: 3, mem_gb_per_gpu: 10, minutes: 90, max_running: 2,\n"
        "  account: vision,\n"
        "  container: apptainer exec img.sif, setup: [module load x], environment: {GREETING: \"a 'b' $(c)\"}}\n"
    )
    return read_suite(tmp_path / "suite.yaml")


def test_the_script_asks_for_what_the_suite_says(suite):
    from twinbench.slurm.sbatch import script

    text = script(suite, Plan(tuple(build_jobs(suite)[:-1]), ()), Path("/code"), "s.1234", "afterok:7")
    for line in (
        "#SBATCH --account=vision",
        "#SBATCH --array=0-3%4",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --dependency=afterok:7",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --job-name=s.1234",
        "#SBATCH --kill-on-invalid-dep=yes",
        "#SBATCH --mem=80GB",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@180",
        "#SBATCH --time=90",
        f"#SBATCH --chdir='{suite.root}'",
        "module load x",
    ):
        assert line in text.splitlines(), line
    assert "--kill-on-bad-exit=1 apptainer exec img.sif " in text
    assert "export PYTHONPATH=/code${PYTHONPATH:+:$PYTHONPATH}" in text


def test_what_stands_in_the_suite_reaches_the_shell_as_it_is(suite):
    lines = setup_lines(suite.cluster, Path("/a b/$HOME"))[1:]
    lines = [line for line in lines if not line.startswith("module")]
    shell = subprocess.run(
        ["bash", "-uc", "\n".join(["SLURM_CPUS_PER_TASK=1", *lines, 'echo "$GREETING|$PYTHONPATH"'])],
        capture_output=True, text=True, env={"PYTHONPATH": "old"},
    )  # fmt: skip
    assert shell.stdout == "a 'b' $(c)|/a b/$HOME:old\n"
