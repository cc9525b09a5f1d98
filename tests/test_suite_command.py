"""`twinbench suite` as a user meets it: plan, status and logs from files, and run's exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

import twinbench
from twinbench.protocols.catalogue import find_protocol
from twinbench.report.result import Result, read_results
from twinbench.suite import local, record
from twinbench.suite.demo import SUITE, prepare, quick_suite
from twinbench.suite.finish import write_reports
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import SuiteError, read_suite

ROOT = Path(__file__).parent.parent
TEXT = """
name: small
root: out
methods:
  a: {pretrain: {recipe: demo}}
  random: {checkpoint: random}
protocols:
  demo-imagenet-knn: {seeds: 2, partial: true}
data: {imagenet: .}
"""


@pytest.fixture
def suite_file(tmp_path):
    (tmp_path / "suite.yaml").write_text(TEXT)
    for split in ("train", "val"):
        for number in range(10):  # classes of an image each, which no worker here opens
            (tmp_path / split / f"class{number}").mkdir(parents=True)
            (tmp_path / split / f"class{number}" / "1.png").touch()
    return tmp_path / "suite.yaml"


def jobs_of(file):
    return {job.name: job for job in build_jobs(read_suite(file))}


def measure(job, value):
    protocol = find_protocol("demo-imagenet-knn")
    method, _, seed = job.name.split("/")
    Result(
        protocol=protocol.name, version=protocol.version, fingerprint=protocol.fingerprint, method=method,
        seed=int(seed.removeprefix("seed")), metrics={protocol.metric: value}, headline=protocol.metric,
        backbone_sha256=method * 8, images={"train": 3000, "test": 500},
        images_expected={"train": 3000, "test": 500},
    ).write(job.out)  # fmt: skip


def states(file, capsys):
    assert twinbench.main(["suite", "status", str(file), "--json"]) == 0
    return {job["name"]: (job["state"], job["reason"]) for job in json.loads(capsys.readouterr().out)["jobs"]}


def test_plan_counts_what_is_done_by_method_and_protocol(suite_file, capsys):
    measure(jobs_of(suite_file)["random/demo-imagenet-knn/seed1"], 12.0)
    assert twinbench.main(["suite", "plan", str(suite_file), "--local"]) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith("small: 6 jobs: 1 done, 5 waiting; root ")
    assert [row.split()[:4] for row in rows[:3]] == [
        ["a", "pretrain", "0/1", "done"],
        ["a", "demo-imagenet-knn", "0/2", "done"],
        ["random", "demo-imagenet-knn", "1/2", "done"],
    ]
    assert "after a/pretrain" in rows[1]
    assert " ".join(rows[3].split()) == "report 0/1 done 0 s 1 MB (some seconds) after all trials"
    assert rows[4].startswith("  missing: 5 jobs")


def test_status_tells_running_failed_blocked_and_interrupted_apart(suite_file, capsys):
    jobs = jobs_of(suite_file)
    train = jobs["a/pretrain"]
    record.end(train.out, record.begin(train.out, train.identity, train.argv), "failed", 1, "exit code 1: no room")
    record.begin(jobs["random/demo-imagenet-knn/seed0"].out, "", ())
    gone = jobs["random/demo-imagenet-knn/seed1"]
    record.begin(gone.out, "", ())
    found = json.loads((gone.out / "job.json").read_text()) | {"pid": 2**22 + 1}  # above Linux's largest
    (gone.out / "job.json").write_text(json.dumps(found))
    seen = states(suite_file, capsys)
    assert seen["a/pretrain"] == ("failed", "exit code 1: no room")
    assert seen["a/demo-imagenet-knn/seed0"] == ("blocked", "a/pretrain failed: exit code 1: no room")
    assert seen["random/demo-imagenet-knn/seed0"][0] == "running"
    assert seen["random/demo-imagenet-knn/seed1"] == ("waiting", "was interrupted, resumes with the next run")


def test_plan_and_run_say_what_to_do_where_slurms_programs_find_no_cluster(suite_file, capsys, monkeypatch):
    for program in ("sbatch", "sinfo", "scontrol"):
        path = suite_file.parent / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\necho 'error: DNS SRV lookup failed\nfatal: no configuration source' >&2\nexit 1\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{suite_file.parent / 'bin'}:/usr/bin:/bin")
    for action in ("plan", "run"):
        assert twinbench.main(["suite", action, str(suite_file)]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert "no cluster answers (sinfo: error: DNS SRV lookup failed / fatal: no configuration source)" in line
        assert "add --local to use this machine" in line
    assert twinbench.main(["suite", "plan", str(suite_file), "--local"]) == 0


def test_logs_prints_a_trials_log_or_says_why_not(suite_file, capsys):
    job = jobs_of(suite_file)["a/pretrain"]
    assert twinbench.main(["suite", "logs", str(suite_file), "a/pretrain"]) == 2
    assert "a/pretrain has not been started" in capsys.readouterr().err
    job.out.mkdir(parents=True)
    (job.out / "job.log").write_text("epoch 1\n")
    assert twinbench.main(["suite", "logs", str(suite_file), "a/pretrain"]) == 0
    assert capsys.readouterr().out == "epoch 1\n"
    assert twinbench.main(["suite", "logs", str(suite_file), "a/pretrian"]) == 2
    assert "unknown trial 'a/pretrian'. Did you mean 'a/pretrain'?" in capsys.readouterr().err


def test_watch_and_follow_end_when_nothing_moves_any_more(suite_file, capsys, monkeypatch):
    jobs = jobs_of(suite_file)
    trials = [job for job in jobs.values() if job.kind == "trial"]
    last = trials.pop()
    for job in trials:
        measure(job, 1.0)
    train = jobs["a/pretrain"]
    train.out.mkdir(parents=True)
    record.end(train.out, record.begin(train.out, train.identity, train.argv), "done")
    train.product.write_text("weights")
    record.begin(last.out, last.identity, last.argv)
    (last.out / "job.log").write_text("epoch 1\n")
    naps = []

    def nap(seconds):
        naps.append(seconds)
        with (last.out / "job.log").open("a") as log:
            log.write("epoch 2\n")
        measure(last, 2.0)
        write_reports(read_suite(suite_file), list(jobs.values()))

    monkeypatch.setattr("twinbench.suite.show.time.sleep", nap)
    assert twinbench.main(["suite", "logs", str(suite_file), last.name, "--follow"]) == 0
    assert capsys.readouterr().out == "epoch 1\nepoch 2\n"
    (last.out / "result.json").unlink()
    assert twinbench.main(["suite", "status", str(suite_file), "--watch"]) == 0
    screens = capsys.readouterr().out
    assert "4 done, 1 running, 1 waiting" in screens  # the table that was of both is of one now
    assert f"6 jobs: 6 done; root {suite_file.parent}/out" in screens
    assert f"done     table: {suite_file.parent}/out/report.txt" in screens
    assert len(naps) == 2


def test_a_suite_without_results_has_no_table_to_write(suite_file, capsys):
    assert twinbench.main(["suite", "report", str(suite_file)]) == 2
    assert "out" in capsys.readouterr().err


def test_run_writes_the_table_and_names_each_failure_with_its_log(suite_file, capsys, monkeypatch):
    def command(job, _processes, _threads):
        if job.kind == "pretrain":
            return ["sh", "-c", "echo no such image; exit 1"]
        measure(job, 12.0 + int(job.name[-1]))
        return ["true"]

    monkeypatch.setattr(local, "worker_command", command)
    assert twinbench.main(["suite", "run", str(suite_file), "--local", "--parallel", "1"]) == 1
    root = suite_file.parent / "out"
    complaints = [line for line in capsys.readouterr().err.splitlines() if line.startswith("twinbench suite: ")]
    assert complaints == [
        f"twinbench suite: a/pretrain failed: exit code 1: no such image; log: {root}/a/pretrain/job.log",
        *(
            f"twinbench suite: a/demo-imagenet-knn/seed{seed} blocked: a/pretrain failed: exit code 1: no such image"
            for seed in (0, 1)
        ),
    ]
    table = (root / "report.txt").read_text()
    # mean and spread of 12 and 13
    assert "12.5 ±0.7 (2)" in table
    assert "a/pretrain failed" in table
    assert all((root / name).exists() for name in ("report.md", "report.csv", "report.html"))


def test_another_librarys_model_goes_through_a_suite(scenes, tmp_path, capsys):
    """Two protocols on one set of features, and the table's footnote."""
    tensors = torchvision.models.shufflenet_v2_x0_5().state_dict()
    for values in tensors.values():
        if values.ndim == 1:
            values.add_(torch.rand(values.shape))
    torch.save(tensors, tmp_path / "w.pth")
    file = tmp_path / "suite.yaml"
    file.write_text(
        "name: s\nroot: out\nmethods: {shuffle: {checkpoint: torchvision:shufflenet_v2_x0_5=w.pth}}\nprotocols:\n"
        "  demo-imagenet-knn: {partial: true}\n  demo-imagenet-linear: {partial: true, seeds: 1, set: {epochs: 1}}\n"
        f"data: {{imagenet: {scenes / 'imagenet'}}}\n"
    )
    assert twinbench.main(["suite", "run", str(file), "--local"]) == 0
    results = read_results([tmp_path / "out"])
    assert {result.details["backbone"] for result in results} == {"torchvision:shufflenet_v2_x0_5"}
    assert len({result.backbone_sha256 for result in results}) == 1
    assert len(results) == 2
    assert len(list((tmp_path / "out/features").iterdir())) == 2  # training and test images, once for both protocols
    assert "the backbone is torchvision:shufflenet_v2_x0_5" in (tmp_path / "out/report.txt").read_text()
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    assert "s: 3 jobs: 3 done" in capsys.readouterr().out
    (tmp_path / "w.pth").write_bytes(b"no weights")
    for result in tmp_path.rglob("result.json"):
        result.unlink()
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "methods.shuffle: " in line
    assert "w.pth: begins with b'no weigh'" in line


def test_a_suite_runs_beside_the_users_own_data_report_and_slurm(scenes, tmp_path):
    """Whatever modules lie in the folder where the user stands, in the suite's or in its root: ours are found."""
    for name in ("data", "slurm", "suite", "transfer", "runtime"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('this is the user's')\n")
    for name in ("report.py", "protocols.py", "convert.py"):
        (tmp_path / name).write_text("raise SystemExit('this is the user's')\n")
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: .\nmethods: {random: {checkpoint: random}}\nprotocols: {demo-imagenet-knn: {partial: true}}\n"
        f"data: {{imagenet: {scenes / 'imagenet'}}}\n"
    )
    command = [sys.executable, "-m", "twinbench", "suite", "run", "suite.yaml", "--local"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert len(read_results([tmp_path / "random"])) == 1
    assert (tmp_path / "report.txt").exists()


def test_demo_writes_its_suite_once_and_refuses_a_folder_that_is_not_its_own(tmp_path):
    file = prepare(tmp_path / "demo")
    assert prepare(tmp_path / "demo") == file
    with pytest.raises(SuiteError, match="is not what this demo writes; run it as it stands"):
        prepare(tmp_path / "demo", quick=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("")
    with pytest.raises(SuiteError, match="is not empty and holds no demo"):
        prepare(tmp_path / "mine")
    with pytest.raises(SuiteError, match="is a file"):
        prepare(tmp_path / "mine/thesis.tex")


@pytest.mark.parametrize("content", [SUITE, quick_suite()])
def test_the_demos_suites_are_valid(content, tmp_path):
    file = prepare(tmp_path / "demo", quick=content is not SUITE)
    for folder in ("imagenet", "VOCdevkit", "coco"):
        (tmp_path / "demo/scenes" / folder).mkdir(parents=True)
    jobs = build_jobs(read_suite(file))
    assert {job.kind for job in jobs} == {"pretrain", "trial", "report"}
    assert len(jobs) == (1 + 2 * 11 + 1 if content is SUITE else 1 + 2 * 3 + 1)
