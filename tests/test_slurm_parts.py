"""The parts of a launch that need no Slurm: snapshot, ledger, answers of Slurm's programs, scripts, estimates."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from twinbench.report.provenance import code_root
from twinbench.slurm import scheduler
from twinbench.slurm.batches import Plan
from twinbench.slurm.launch import write_resolved
from twinbench.slurm.ledger import Ledger
from twinbench.slurm.sbatch import setup_lines
from twinbench.slurm.scheduler import SchedulerError, expand, minutes_of
from twinbench.slurm.snapshot import SnapshotError, require_code, take_snapshot
from twinbench.suite.advance import advance, duration
from twinbench.suite.estimate import estimate
from twinbench.suite.graph import Job, build_jobs
from twinbench.suite.record import begin, end
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


def test_the_ledger_survives_a_kill_between_sbatch_and_its_answer(tmp_path):
    ledger = Ledger(tmp_path)
    sure = ledger.confirm(ledger.announce("s", ["a", "b"]), "17")
    lost = ledger.announce("s", ["c"])
    again = Ledger(tmp_path)
    assert again.latest() == {"a": (sure, "17_0"), "b": (sure, "17_1")}
    again.adopt({lost.slurm_name: "18", "another.suite": "19"})
    assert Ledger(tmp_path).latest()["c"][1] == "18"
    assert sure.slurm_name != Ledger(tmp_path).announce("s", ["a"]).slurm_name


def test_the_suite_that_a_report_job_reads_is_the_one_that_was_submitted(tmp_path):
    for name in ("voc", "in", "out"):
        (tmp_path / name).mkdir()
    for name in ("theirs.pth", "low.npz", "list.txt"):
        (tmp_path / name).write_text("n1_1.JPEG")
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\ndata: {voc: voc, imagenet: in}\ncluster: {minutes: 9, setup: ['a, b']}\n"
        "methods: {a: {checkpoint: theirs.pth}, b: {pretrain: {recipe: demo, set: {epochs: 2, projector: [8, 8]}}}}\n"
        "protocols: {voc07-svm-lowshot: {targets: low.npz, partial: true}, imagenet-1pct: {list: list.txt, gpus: 2}}\n"
    )
    suite = read_suite(tmp_path / "suite.yaml")
    read_again = read_suite(write_resolved(suite))
    assert replace(read_again, file=suite.file) == suite


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


def test_the_script_asks_for_what_the_suite_says(suite, monkeypatch):
    from submitit.slurm.slurm import SlurmExecutor

    from twinbench.slurm.sbatch import script

    monkeypatch.setattr(SlurmExecutor, "affinity", classmethod(lambda _: 1))  # as if srun were here
    text = script(suite, Plan(tuple(build_jobs(suite)), (), at_once=2), Path("/code"), "s.1234", "afterok:7")
    for line in (
        "#SBATCH --account=vision",
        "#SBATCH --array=0-3%2",
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
    import subprocess

    lines = setup_lines(suite.cluster, Path("/a b/$HOME"))[1:]
    lines = [line for line in lines if not line.startswith("module")]
    shell = subprocess.run(
        ["bash", "-uc", "\n".join(["SLURM_CPUS_PER_TASK=1", *lines, 'echo "$GREETING|$PYTHONPATH"'])],
        capture_output=True, text=True, env={"PYTHONPATH": "old"},
    )  # fmt: skip
    assert shell.stdout == "a 'b' $(c)|/a b/$HOME:old\n"


def test_estimates_rest_on_finished_trials_and_else_on_the_limit(suite):
    jobs = build_jobs(suite)
    assert estimate(jobs)[jobs[0].name].gpu_hours == 16 * 1.5
    assert estimate(jobs)[jobs[0].name].basis == "limit of 90 min"
    for job, spent in zip(jobs, (3600, 7200, 5400), strict=False):
        record = begin(job.out, job.identity, job.argv)
        end(job.out, record.__class__(**{**vars(record), "started": record.started - spent}), "done")
        job.product.write_text("{}")
    found = estimate(jobs)[jobs[3].name]
    assert found.gpu_hours == pytest.approx(16 * 1.5, rel=0.01) and found.basis == "median of 3 finished"


def test_features_that_trials_share_take_room_once(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\nmethods: {a: {checkpoint: random}, b: {checkpoint: random}}\n"
        "protocols: {voc07-svm: {}, voc07-svm-gap: {seeds: 2}, voc07-svm-pcl: {}}\ndata: {voc: data}\n"
    )
    trials = build_jobs(read_suite(tmp_path / "suite.yaml"))
    images = 5011 + 4952
    large, small, own = 4 * images * 8192, 4 * images * 2048, 2_000_000  # res5-avg6 is 2 x 2 x 2048
    assert [cost.disk_bytes - own for cost in estimate(trials).values()] == [large, large, small, 0, small, 0, 0, 0]


def test_svms_that_count_classes_save_no_network(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\nmethods: {a: {checkpoint: random}}\nprotocols: {inat18-svm: {}}\ndata: {inat: data}\n"
    )
    (cost,) = estimate(build_jobs(read_suite(tmp_path / "suite.yaml"))).values()
    assert cost.disk_bytes - 4 * (437_513 + 24_426) * 2048 == 2_000_000


def write_log(path, *points):
    path.write_text("".join(json.dumps({"epoch": epoch, "time": at}) + "\n" for epoch, at in points) + '{"ep')


def test_progress_and_time_left_come_from_the_log_and_survive_a_restart(tmp_path):
    log = tmp_path / "log.jsonl"
    assert advance(log, "epoch", 10) is None
    write_log(log, (1, 100.0), (2, 110.0), (4, 130.0))
    found = advance(log, "epoch", 10)
    assert found and (found.done, found.seconds_left) == (4, 60.0)
    assert str(found) == "epoch 4/10, 60 s left"
    write_log(log, (1, 100.0), (4, 130.0), (3, 1000.0), (5, 1040.0))
    found = advance(log, "epoch", 10)
    assert found and (found.done, found.seconds_left) == (5, 100.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 s"), (89, "89 s"), (720, "12 min"), (12_600, "3.5 h"), (181_440, "2.1 d")]
)
def test_durations_say_their_unit(seconds, words):
    assert duration(seconds) == words


def test_a_job_takes_as_many_slots_as_it_has_processes(tmp_path):
    from twinbench.suite.local import Machine

    machine = Machine(("0", "1", "2"), 8)
    wide = [Job("j", "trial", (), tmp_path, "", gpus=gpus) for gpus in (0, 1, 2, 8)]
    assert [machine.slots_for(job) for job in wide] == [1, 1, 2, 3]
    assert machine.slots_for(Job("p", "pretrain", (), tmp_path, "", gpus=1)) == 3
