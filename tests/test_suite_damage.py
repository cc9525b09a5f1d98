"""Files that a full disk, a kill or a person damages: one bad cell, never the end of a suite; and trials by name."""

import errno
import json
import os

import pytest

import twinbench
from twinbench.report.result import read_results
from twinbench.suite import backbone, kept, local, measured, record
from twinbench.suite.graph import build_jobs
from twinbench.suite.kept import FILE
from twinbench.suite.suite import read_suite

DAMAGED = {
    "torn": '{"protocol": "demo-imagenet-knn", "vers',
    "empty": "",
    "no object": "[1, 2]",
    "of another schema": '{"value": 3.5}',
    "wrong types": json.dumps({"protocol": 1, "version": "x", "fingerprint": [], "method": {}, "seed": None,
                               "metrics": [], "headline": 3, "backbone_sha256": 0}),
    "hostile": "[" * 100_000,
    "binary": "\ud800",
}  # fmt: skip


class Site:
    """A suite of two methods with two seeds each, whose workers measure at once what `value` says."""

    value = 10.0

    def __init__(self, folder):
        self.file, self.root = folder / "suite.yaml", folder / "out"
        for number in range(20):  # ten classes in each split, an image each, which no worker here opens
            image = folder / ("train", "val")[number % 2] / f"class{number // 2}" / "1.png"
            image.parent.mkdir(parents=True)
            image.touch()
        self.file.write_text(
            "name: s\nroot: out\nmethods: {a: {checkpoint: random}, b: {checkpoint: 'torchvision:resnet18=random'}}\n"
            "protocols: {demo-imagenet-knn: {seeds: 2, partial: true}}\ndata: {imagenet: .}\n"
        )
        self.started = []

    def work(self, job, _processes, _threads):
        self.started.append(job.name)
        measure(job, self.value)
        return ["true"]

    def suite(self, *words):
        action, *rest = words
        return twinbench.main(["suite", action, str(self.file), *rest])

    def states(self, capsys):
        capsys.readouterr()
        assert self.suite("status", "--json") == 0
        found = json.loads(capsys.readouterr().out)["jobs"]
        return {job["name"].replace("demo-imagenet-knn", "k"): (job["state"], job["reason"]) for job in found}

    def result(self, name):
        return self.root / name.replace("k/", "demo-imagenet-knn/") / "result.json"


def measure(job, value):
    from twinbench.report.result import Result

    method, _, seed = job.name.split("/")
    Result(
        protocol=job.protocol.name, version=job.protocol.version, fingerprint=job.protocol.fingerprint, method=method,
        seed=int(seed[4:]), metrics={"top1-k20": value}, headline="top1-k20", backbone_sha256=method * 8,
        data="here", data_sha256=job.parts()["data"],
    ).write(job.out)  # fmt: skip


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = Site(tmp_path)
    monkeypatch.setattr(local, "worker_command", site.work)
    monkeypatch.setattr("twinbench.suite.preflight._checkpoints", lambda *_: ())
    assert site.suite("run", "--local") == 0
    site.started.clear()
    return site


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_result_is_one_bad_cell_that_the_next_run_measures_anew(site, capsys, text):
    bad = site.result("a/k/seed1")
    bad.write_bytes(text.encode(errors="surrogatepass"))
    states = site.states(capsys)
    assert states.pop("a/k/seed1")[0] == "failed"
    assert states.pop("report")[0] == "waiting"
    assert {state for state, _ in states.values()} == {"done"}
    assert site.suite("plan", "--local") == 0
    assert "1/2 done" in capsys.readouterr().out
    for command in (
        ["suite", "report", str(site.file)],
        ["report", str(site.root), "--out", f"{site.root}/report.txt"],
    ):
        assert twinbench.main(command) == 0
        table = " ".join((site.root / "report.txt").read_text().split())
        assert "10.0 (n=1)" in table
        assert "seed 1: failed: " in table
    assert twinbench.main(["report", str(bad)]) == 2
    assert site.suite("run", "--local") == 0
    assert site.started == ["a/demo-imagenet-knn/seed1"]
    [kept] = site.root.glob("superseded/*/a/demo-imagenet-knn/seed1/superseded.json")
    assert kept.read_bytes() == text.encode(errors="surrogatepass")
    assert {state for state, _ in site.states(capsys).values()} == {"done"}
    assert len(read_results([site.root])) == 4


def test_a_table_shows_the_damaged_the_stale_and_the_missing_beside_the_others(site, capsys):
    site.result("a/k/seed0").write_text("{")
    stale = site.result("b/k/seed0")
    stale.write_text(stale.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    site.result("b/k/seed1").unlink()
    assert site.suite("report") == 0
    table = " ".join((site.root / "report.txt").read_text().split())
    assert "a 10.0 (n=1)" in table
    assert "seed 0: failed: " in table
    assert "seed 0: not finished: stale, made by another recipe (" in table
    assert "seed 1: not finished" in table
    assert site.states(capsys)["report"] == ("done", f"table: {site.root}/report.txt, .md, .csv, .html")
    site.result("a/k/seed0").write_text("{{")  # as unreadable as before, and told in the same words
    assert site.states(capsys)["report"][0] == "done"
    site.result("a/k/seed1").unlink()
    assert site.states(capsys)["report"][0] == "waiting"


@pytest.mark.parametrize("text", ["", "[]", "3", '{"state": 1, "argv": 2}', '{"made_of": 7}', "\x00"])
def test_other_damaged_files_of_a_suite_are_as_none(site, capsys, text):
    jobs = build_jobs(read_suite(site.file))
    for name in (record.FILE, backbone.FILE):
        (jobs[0].out / name).write_text(text)
    for name in (".lock", FILE, ".slurm-view.json"):
        (site.root / name).write_text(text)
    (site.root / "report/table.json").write_text(text)
    assert backbone.read_made(jobs[0].out) is None
    states = site.states(capsys)
    assert states.pop("report")[0] == "waiting"
    assert {state for state, _ in states.values()} == {"done"}
    assert site.suite("cancel") == 0
    assert site.suite("run", "--local") == 0
    assert site.started == []


@pytest.mark.parametrize(
    ("named", "again"),
    [
        ("a/demo-imagenet-knn/seed1", {"a/k/seed1"}),
        ("b", {"b/k/seed0", "b/k/seed1"}),
        ("b/demo-imagenet-knn/", {"b/k/seed0", "b/k/seed1"}),
    ],
)
def test_named_trials_are_measured_anew_and_no_others(site, capsys, named, again):
    site.value = 20.0
    assert site.suite("run", named, "--local") == 0  # they are done
    assert site.started == []
    assert site.suite("run", named, "--local", "--again") == 0
    assert {name.replace("demo-imagenet-knn", "k") for name in site.started} == again
    assert sorted(result.metrics["top1-k20"] for result in read_results([site.root])) == [
        *[10.0] * (4 - len(again)),
        *[20.0] * len(again),
    ]
    assert site.states(capsys)["report"][0] == "done"


def test_an_unknown_name_is_told_with_the_nearest(site, capsys):
    for action in ("run", "cancel"):
        assert site.suite(action, "a/demo-imagenet-knm") == 2
        [line] = capsys.readouterr().err.splitlines()[-1:]
        assert "unknown trial 'a/demo-imagenet-knm'. Did you mean 'a/demo-imagenet-knn'?" in line
        assert line.endswith(f"`twinbench suite status {site.file}` lists all")
    assert site.suite("logs", "a") == 2
    assert "a is 2 jobs; expected one of them, as a/demo-imagenet-knn/seed0" in capsys.readouterr().err


def test_a_finished_suite_has_nothing_missing_and_nothing_to_cancel(site, capsys):
    capsys.readouterr()
    assert site.suite("plan", "--local") == 0
    assert "missing: nothing\n" in capsys.readouterr().out
    assert site.suite("cancel") == 0
    assert capsys.readouterr().out == "s: nothing of it runs or waits; `run` goes on from what is finished\n"


def test_a_disk_that_is_full_for_the_tables_log_too_is_told_with_the_first_file_it_had_no_room_for(
    site, capsys, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "report.txt")

    monkeypatch.setattr("twinbench.suite.finish.write_reports", full)
    (site.root / "report/table.json").unlink()
    (site.root / "report/job.log").unlink()
    (site.root / "report/job.log").symlink_to("/dev/full")
    assert site.suite("run", "--local") == 2
    assert "twinbench suite: report.txt: No space left on device" in capsys.readouterr().err
    assert site.states(capsys)["report"][0] == "failed"


def test_a_root_that_is_a_file_is_told_by_each_command_in_its_own_words(site, capsys):
    site.root.rename(site.root.with_name("before"))
    site.root.write_text("")
    expected = {
        "plan": f"root: {site.root} is a file; choose a folder",
        "report": "no result of the suite's trials below; run it first",
        "logs": "a/demo-imagenet-knn/seed0 has not been started",
    }
    for action, words in expected.items():
        assert site.suite(action, *(["a/demo-imagenet-knn/seed0"] if action == "logs" else [])) == 2
        assert words in capsys.readouterr().err


def test_what_was_read_is_believed_only_of_the_very_same_file(site, capsys, monkeypatch):
    """A result is not read again by the next command; one that was replaced, by one as long and as old, is."""
    monkeypatch.setattr(kept, "SETTLED_SECONDS", -60)
    site.states(capsys)
    assert len(json.loads((site.root / FILE).read_text())["results"]["files"]) == 4
    path = site.result("a/k/seed0")
    text, times = path.read_text(), path.stat()
    path.unlink()  # the next file may have its inode
    path.write_text(text.replace('"seed": 0', '"seed": 1'))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert site.states(capsys)["a/k/seed0"][0] == "stale"


@pytest.mark.parametrize("column", [[["x"], [0] * 4], [[0], [0] * 3], [[0], [7] * 4], [[0], 0], 0])
def test_damage_to_what_was_read_costs_another_reading(site, capsys, monkeypatch, column):
    for reader in (record.kept_records, measured.read_measured):
        monkeypatch.setattr(reader, "entries", {})
        monkeypatch.setattr(reader, "recalled", set())
    monkeypatch.setattr(kept, "SETTLED_SECONDS", -60)
    site.states(capsys)
    found = json.loads((site.root / FILE).read_text())
    found["results"]["columns"]["seed"] = column
    (site.root / FILE).write_text(json.dumps(found))
    for reader in (record.kept_records, measured.read_measured):
        reader.entries.clear()
        reader.recalled.clear()
    states = site.states(capsys)
    assert states.pop("report")[0] == "done"
    assert {state for state, _ in states.values()} == {"done"}


def test_a_report_reads_no_result_twice(site, monkeypatch):
    monkeypatch.setattr(measured, "read_result", lambda path: pytest.fail(f"{path} is read again"))
    assert site.suite("report") == 0
    assert "10.0" in (site.root / "report.txt").read_text()
    assert measured._whole == {}


def test_slurms_own_words_count_only_where_a_job_said_nothing(tmp_path):
    log = tmp_path / "log"
    log.write_text("module: command not found\nsrun: error: n1: task 0: Exited with exit code 1\nslurmstepd: x\n")
    assert record.last_line(log) == "module: command not found"
    log.write_text("srun: error: n1: task 0: Exited with exit code 1\n")
    assert record.last_line(log) == "srun: error: n1: task 0: Exited with exit code 1"
