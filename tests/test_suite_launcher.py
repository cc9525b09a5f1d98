"""The seam: another scheduler is one file with one class, named by its import path."""

import json

import pytest

import twinbench
from twinbench.suite import launcher, record
from twinbench.suite.graph import build_jobs
from twinbench.suite.launcher import Seen
from twinbench.suite.suite import read_suite

# A scheduler of one file: it queues names in a list on disk.
SCHEDULER = """
import json
from pathlib import Path
from twinbench.suite.launcher import Seen, Submission, View
from twinbench.suite.missing import missing_jobs

class Launcher:
    name = "Grid"
    lag_seconds = 0.0

    def available(self):
        return True

    def problems(self, suite, jobs):
        return ["the grid has no nodes"] if suite.cluster.nodes > 1 else []

    def remarks(self, suite):
        return ["the grid is slow on Sundays"]

    def scripts(self, suite, jobs):
        return [f"grid-submit {job.name}" for job in missing_jobs(jobs)]

    def submit(self, suite, jobs):
        active = self.active(suite)
        names = [job.name for job in missing_jobs(jobs, active)]
        (suite.root / "grid.json").write_text(json.dumps([*active, *names]))
        return Submission(len(names), 1)

    def look(self, suite, names, *, fresh=False):
        file = suite.root / "seen.json"
        found = json.loads(file.read_text()) if file.exists() else {}
        active = self.active(suite)
        told = {name: Seen("queued", "Sunday", active[name]) for name in names if name in active}
        for name in set(names) & set(found):
            log = found[name].get("log")
            told[name] = Seen(**found[name] | {"log": log and Path(log)})
        return View(told, "")

    def active(self, suite):
        file = suite.root / "grid.json"
        names = json.loads(file.read_text()) if file.exists() else []
        return {name: f"g{number}" for number, name in enumerate(names)}

    def cancel(self, suite, names=()):
        active = self.active(suite)
        kept = [name for name in active if names and name not in names]
        (suite.root / "grid.json").write_text(json.dumps(kept))
        return len(active) - len(kept)

    def logs(self, suite, name):
        return [file for file in [suite.root / "grid.log"] if file.exists()]
"""


@pytest.fixture
def suite_file(tmp_path, monkeypatch):
    (tmp_path / "grid_scheduler.py").write_text(SCHEDULER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(launcher, "CLUSTER", "grid_scheduler:Launcher")
    monkeypatch.setattr("twinbench.suite.expected.require_fit", lambda *_, **__: None)  # of one image a split
    for split in ("train", "val"):  # an image each, which no worker here opens
        (tmp_path / "images" / split / "cat").mkdir(parents=True)
        (tmp_path / "images" / split / "cat" / "1.png").touch()
    write(tmp_path / "suite.yaml")
    return tmp_path / "suite.yaml"


def write(file, cluster="{}"):
    file.write_text(
        "name: s\nroot: out\nmethods: {random: {checkpoint: random}}\nprotocols: {demo-imagenet-knn: {seeds: 2}}\n"
        f"data: {{imagenet: images}}\ncluster: {cluster}\n"
    )


def states(file, capsys):
    capsys.readouterr()
    assert twinbench.main(["suite", "status", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["jobs"]
    return [(job["state"], job["reason"], job["slurm_id"]) for job in found]


def test_a_suite_is_planned_submitted_watched_and_cancelled(suite_file, capsys):
    assert twinbench.main(["suite", "plan", str(suite_file), "--scripts"]) == 0
    plan = capsys.readouterr().out
    assert "note: the grid is slow on Sundays" in plan
    assert "grid-submit random/demo-imagenet-knn/seed1" in plan
    assert twinbench.main(["suite", "run", str(suite_file)]) == 0
    assert "3 jobs in 1 batches submitted" in capsys.readouterr().out
    assert states(suite_file, capsys) == [("queued", "Sunday", f"g{number}") for number in range(3)]
    assert twinbench.main(["suite", "run", str(suite_file), "--local"]) == 2
    assert "3 jobs of this suite are on Grid; wait for them, or cancel them with:" in capsys.readouterr().err
    assert twinbench.main(["suite", "cancel", str(suite_file)]) == 0
    assert capsys.readouterr().out == "s: 3 jobs cancelled; `run` goes on from what is finished\n"
    assert {state for state, *_ in states(suite_file, capsys)} == {"waiting"}


def test_what_the_scheduler_has_not_got_is_said_before_anything_is_queued(suite_file, capsys):
    write(suite_file, "{nodes: 2}")
    assert twinbench.main(["suite", "run", str(suite_file)]) == 2
    assert "nothing was queued: the grid has no nodes (--local runs it on this machine)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seen", "state", "reason"),
    [
        (Seen("running", "node 7"), "running", "node 7"),
        (Seen("never", "never starts: no such queue"), "failed", "never starts: no such queue"),
        (Seen("ended", "evicted"), "failed", "evicted"),
        (Seen("lost", job_id="g0"), "failed", "job g0 left the queue without a result"),
        (Seen("unknown"), "waiting", ""),
    ],
)
def test_each_word_of_a_scheduler_has_its_meaning(suite_file, capsys, seen, state, reason):
    first, *_ = build_jobs(read_suite(suite_file))
    (suite_file.parent / "out").mkdir()
    told = {"state": seen.state, "reason": seen.reason, "job_id": seen.job_id}
    (suite_file.parent / "out/seen.json").write_text(json.dumps({first.name: told}))
    assert states(suite_file, capsys)[0][:2] == (state, reason)


def test_files_are_believed_before_the_scheduler(suite_file, capsys):
    first, *_ = build_jobs(read_suite(suite_file))
    run = record.begin(first.out, first.identity, first.argv, job_id="g0")
    record.end(first.out, run, "failed", 1, "exit code 1: no such image")
    (suite_file.parent / "out/seen.json").write_text(json.dumps({first.name: {"state": "ended", "reason": "evicted"}}))
    assert states(suite_file, capsys)[0][:2] == ("failed", "exit code 1: no such image")


def test_jobs_are_started_and_cancelled_by_name(suite_file, capsys):
    first, second, report = (job.name for job in build_jobs(read_suite(suite_file)))
    assert twinbench.main(["suite", "run", str(suite_file), second]) == 0
    assert "1 jobs in 1 batches submitted" in capsys.readouterr().out
    assert [state for state, *_ in states(suite_file, capsys)] == ["waiting", "queued", "waiting"]
    assert twinbench.main(["suite", "run", str(suite_file)]) == 0
    assert twinbench.main(["suite", "cancel", str(suite_file), second, "report"]) == 0
    assert "s: 2 jobs cancelled; `run` goes on" in capsys.readouterr().out
    assert [state for state, *_ in states(suite_file, capsys)] == ["queued", "waiting", "waiting"]


def test_logs_begin_with_what_was_said_before_the_worker_began(suite_file, capsys):
    first, *_ = build_jobs(read_suite(suite_file))
    (suite_file.parent / "out").mkdir()
    outside = suite_file.parent / "out/grid.log"
    outside.write_text("no such container\nsrun: error: task 0: Exited with exit code 1\n")
    seen = {"state": "ended", "reason": "ended without a result", "job_id": "g0", "log": str(outside)}
    (suite_file.parent / "out/seen.json").write_text(json.dumps({first.name: seen}))
    assert states(suite_file, capsys)[0][1] == f"ended without a result: no such container; log: {outside}"
    assert twinbench.main(["suite", "logs", str(suite_file), first.name]) == 0
    assert capsys.readouterr().out == outside.read_text()
    first.out.mkdir(parents=True)
    (first.out / "job.log").write_text("epoch 1\n")
    assert twinbench.main(["suite", "logs", str(suite_file), first.name]) == 0
    shown = capsys.readouterr().out
    assert shown == f"==> {outside} <==\n{outside.read_text()}==> {first.out}/job.log <==\nepoch 1\n"


def test_a_retry_says_what_it_is_a_retry_of(suite_file, capsys):
    first, *_ = build_jobs(read_suite(suite_file))
    record.end(first.out, record.begin(first.out, first.identity, first.argv, job_id="g0"), "failed", 1, "node n1 died")
    seen = {first.name: {"state": "queued", "reason": "Priority", "job_id": "g9"}}
    (suite_file.parent / "out/seen.json").write_text(json.dumps(seen))
    assert states(suite_file, capsys)[0] == ("queued", "Priority; again, after: node n1 died", "g9")
