"""Suites that follow a running pretraining: which files are checkpoints, their names, and the watching loop."""

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

import twinbench
from twinbench.protocols.catalogue import find_protocol
from twinbench.report.result import Result
from twinbench.suite import backbone, local, watch
from twinbench.suite.backbone import Made
from twinbench.suite.graph import build_jobs
from twinbench.suite.resolved import write_resolved
from twinbench.suite.series import SETTLED_SECONDS
from twinbench.suite.standing import Standing
from twinbench.suite.suite import SuiteError, read_suite, take_checkpoints

TEXT = """
name: s
root: out
methods:
  bt: {checkpoints: "runs/*.pth", protocols: [demo-imagenet-knn], input: imagenet}
  random: {checkpoint: random}
protocols: {demo-imagenet-knn: {seeds: 2}, demo-imagenet-linear: {seeds: 1}}
data: {imagenet: .}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("twinbench.suite.expected.require_fit", lambda *_, **__: None)  # of one image a split
    (tmp_path / "runs").mkdir()
    for split in ("train", "val"):  # an image each, which no worker here opens
        (tmp_path / split / "cat").mkdir(parents=True)
        (tmp_path / split / "cat" / "1.png").touch()
    return tmp_path


def read(folder, text=TEXT):
    (folder / "suite.yaml").write_text(text)
    return read_suite(folder / "suite.yaml")


def add(path, age=2 * SETTLED_SECONDS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("weights")
    os.utime(path, (time.time() - age,) * 2)


def names(suite):
    return [method.name for method in suite.methods]


@pytest.mark.parametrize(
    ("glob", "file", "name"),
    [
        ("runs/*.pth", "runs/epoch0040.pth", "bt@0040"),
        ("runs/*.pth", "runs/40.pth", "bt@0040"),
        ("runs/*", "runs/resnet50_ep3.pth.tar", "bt@0003"),
        ("runs/*", "runs/detectron2_ep3.pth", "bt@0003"),
        ("runs/*", "runs/epoch=7-step=12345.h5", "bt@12345"),
        ("runs/*", "runs/model.ckpt-900", "bt@0900"),
        ("runs2/checkpoint-*/model.safetensors", "runs2/checkpoint-500/model.safetensors", "bt@0500"),
        ("run[2]/*.pth", "run2/000010.pth", "bt@000010"),
        ("timm:vit_tiny_patch16_224=runs/*.pth", "runs/5.pth", "bt@0005"),
        ("runs/*.pth", "runs/resnet50.pth", ""),
        ("runs/*.pth", "runs/detectron2.pth", ""),  # which README has people write beside their checkpoints
        ("runs/*.pth", "runs/checkpoint.pth", ""),
    ],
)
def test_a_checkpoint_is_called_by_the_last_number_in_what_the_glob_leaves_open(folder, glob, file, name):
    add(folder / file)
    suite = read(folder, TEXT.replace("runs/*.pth", glob))
    assert names(suite) == (["random", name] if name else ["random"])
    assert [method.file for method in suite.methods[1:]] == [folder / file] * bool(name)


def test_points_come_in_the_order_of_their_numbers_with_what_the_entry_says(folder):
    for number in (9, 10000, 80):
        add(folder / f"runs/{number}.pth")
    suite = read(folder)
    assert names(suite) == ["random", "bt@0009", "bt@0080", "bt@10000"]
    assert {method.input for method in suite.methods[1:]} == {"imagenet"}
    measured = [job.name.split("/")[1] for job in build_jobs(suite) if job.name.startswith("bt@0080")]
    assert measured == ["backbone", "demo-imagenet-knn", "demo-imagenet-knn"]


def test_a_folder_whose_name_is_a_pattern_is_no_pattern(folder):
    add(folder / "a[1]/runs/3.pth")
    assert names(read(folder / "a[1]", TEXT.replace("{imagenet: .}", "{imagenet: ..}"))) == ["random", "bt@0003"]


def test_the_suite_that_jobs_read_has_the_glob_and_finds_what_comes_later(folder):
    add(folder / "runs/1.pth")
    suite = read(folder, TEXT.replace("input:", "until: 9, cluster: {minutes: 7}, input:"))
    resolved = write_resolved(suite)
    assert replace(read_suite(resolved), file=suite.file) == suite
    add(folder / "runs/2.pth")
    assert names(read_suite(resolved)) == ["random", "bt@0001", "bt@0002"]


def test_a_suite_may_follow_a_pretraining_of_its_own(folder):
    own = "bt: {checkpoints: out/mine/pretrain/epoch*.pth}\n  mine: {pretrain: {recipe: demo, keep_every: 10}}"
    add(folder / "out/mine/pretrain/epoch0010.pth")
    suite = read(folder, re.sub("bt: .*", own, TEXT))
    assert names(suite) == ["mine", "random", "bt@0010"]
    assert build_jobs(suite)[0].argv[-2:] == ("--keep-every", "10")
    assert replace(read_suite(write_resolved(suite)), file=suite.file) == suite


def test_a_file_that_changes_waits_unless_jobs_were_started_for_it(folder):
    add(folder / "runs/1.pth")
    add(folder / "runs/2.pth", age=1)
    suite = read(folder)
    assert names(suite) == ["random", "bt@0001"]
    take_checkpoints(suite)
    (folder / "runs/1.pth").touch()
    assert names(read_suite(suite.file)) == ["random", "bt@0001"]


def test_a_checkpoint_that_the_training_removed_stays_and_what_was_made_of_it_is_not_stale(folder):
    add(folder / "runs/1.pth")
    suite = read(folder)
    take_checkpoints(suite)
    convert = build_jobs(suite)[0]
    convert.out.mkdir()
    convert.product.touch()
    (convert.out / backbone.FILE).write_text(f'{{"made_of": {{"checkpoint": "{convert.parts()["checkpoint"]}"}}}}')
    (folder / "runs/1.pth").unlink()
    suite = read_suite(suite.file)
    assert names(suite) == ["random", "bt@0001"]
    assert build_jobs(suite)[0].standing() == Standing(True)
    assert names(read(folder, TEXT.replace("runs/*", "other/*"))) == ["random"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("runs/*.pth", "runs/*"), r"bt.checkpoints: \S+/1.pth and \S+/epoch1.pt both have the number 1"),
        (("bt: {checkpoints", "bt: {checkpoint: random, checkpoints"), "bt: expected `checkpoints`, and beside"),
        (("checkpoint: random", "checkpoint: random, until: 3"), "methods.random: expected `checkpoints`, and beside"),
        (("[demo-imagenet-knn]", "[demo-imagenet-kn]"), "bt.protocols: unknown protocol 'demo-imagenet-kn'. Did you"),
        (("[demo-imagenet-knn]", "7"), "bt.protocols: is 7, expected a list of names"),
        (("random:", "bt@0001:"), "methods.bt@0001: bt has a checkpoint of that name"),
        (('"runs/*.pth"', "random"), "bt.checkpoints: is 'random', expected files, as runs/"),
        (('"runs/*.pth"', "7"), "bt: checkpoints is 7, expected files, as runs/"),
        (("input: imagenet", "until: x"), "methods.bt.until: is 'x', expected a whole number"),
    ],
)
def test_a_mistake_takes_one_line(folder, change, words):
    add(folder / "runs/1.pth")
    add(folder / "runs/epoch1.pt")
    with pytest.raises(SuiteError, match=words) as caught:
        read(folder, TEXT.replace(*change))
    assert "\n" not in str(caught.value)


def test_a_plan_tells_what_is_there_and_what_is_not(folder, capsys):
    file = read(folder).file
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    assert f"note: methods.bt: no checkpoint yet at {folder}/runs/*.pth\n" in capsys.readouterr().out
    only = read(folder, re.sub("  random: .*\n", "", TEXT)).file
    for action in (["status"], ["run", "--local"]):
        assert twinbench.main(["suite", action[0], str(only), *action[1:]]) == 0
    assert "methods.bt: no checkpoint yet" in capsys.readouterr().err
    read(folder)
    add(folder / "runs/1.pth")
    add(folder / "runs/2.pth", age=1)
    add(folder / "runs/last.pth")
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    told = capsys.readouterr().out
    assert (
        "note: methods.bt: 1 checkpoint, up to bt@0001; 2.pth changed within 30 s and will be looked at again; left "
        "out, without a number in the name: last.pth\n" in told
    )
    assert re.search(r"note: methods.bt@0001: .*1.pth", told)  # holds no backbone: a bad cell, not the suite's end


def measure(job):
    protocol = find_protocol(job.trial[1])
    Result(
        protocol=protocol.name, version=protocol.version, fingerprint=protocol.fingerprint, method=job.trial[0],
        seed=int(job.name[-1]), metrics={protocol.metric: 12.0}, headline=protocol.metric,
        backbone_sha256=job.trial[0],
    ).write(job.out)  # fmt: skip


def test_watch_measures_what_appears_once_and_ends_with_the_last_number(folder, monkeypatch, capsys):
    started = []
    come = iter(["2.pth", "bad3.pth", "4.pth"])

    def command(job, _processes, _threads):
        started.append(job.name)
        if job.kind == "trial":
            measure(job)
        elif "3" in job.name:
            return ["sh", "-c", "echo no backbone; exit 1"]
        else:
            return ["touch", job.product.name]
        return ["true"]

    monkeypatch.setattr(local, "worker_command", command)
    monkeypatch.setattr(backbone, "described", lambda file, parts: Made(parts))
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: add(folder / "runs" / next(come)))
    add(folder / "runs/1.pth")
    text = TEXT.replace("input:", "until: 4, input:").replace("{seeds: 2}, demo-imagenet-linear: ", "")
    file = read(folder, text).file
    assert twinbench.main(["suite", "run", str(file), "--local", "--watch", "--parallel", "1"]) == 1
    trial = "demo-imagenet-knn/seed0"
    assert started == [
        "bt@0001/backbone",
        f"random/{trial}",
        f"bt@0001/{trial}",
        "bt@0002/backbone",
        f"bt@0002/{trial}",
        "bt@0003/backbone",
        "bt@0004/backbone",
        f"bt@0004/{trial}",
    ]
    rows = [line.split(",")[0] for line in (folder / "out/report.csv").read_text().splitlines()[1:]]
    assert [row for row in dict.fromkeys(rows) if row] == ["random", "bt@0001", "bt@0002", "bt@0003", "bt@0004"]
    told = capsys.readouterr().err
    assert told.count("suite: bt@0003/backbone failed: exit code 1: no backbone") == 1
    assert "methods.bt: 2 checkpoints, up to bt@0002\nwatching; Ctrl-C ends it" in told


def test_watch_starts_a_checkpoint_again_only_when_it_has_changed_and_settled(folder, monkeypatch):
    given = []
    file = folder / "runs/1.pth"
    steps = iter([lambda: None, lambda: add(file, age=1), lambda: add(file, age=90), lambda: 1 / 0])
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: next(steps)())
    add(file)
    read(folder)

    def start(suite, _jobs, some):
        take_checkpoints(suite)
        given.append({job.name.split("/")[0] for job in some})
        return 0

    with pytest.raises(ZeroDivisionError):
        watch.watch(folder / "suite.yaml", start)
    assert given == [{"bt@0001", "random", "report"}, {"bt@0001", "random"}]  # what waits goes with it


def test_watching_outlives_a_mistake_made_meanwhile_but_not_one_at_its_start(folder, monkeypatch, capsys):
    (folder / "suite.yaml").write_text(TEXT)
    states = iter(["name: [", TEXT, KeyboardInterrupt])

    def sleep(_seconds):
        if (state := next(states)) is KeyboardInterrupt:
            raise KeyboardInterrupt
        (folder / "suite.yaml").write_text(state)

    monkeypatch.setattr(watch.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        watch.watch(folder / "suite.yaml", lambda *_: 0)
    assert capsys.readouterr().err.count("not valid YAML") == 1
    (folder / "suite.yaml").write_text(TEXT.replace("checkpoints:", "checkpoint:").replace("runs/*.pth", "random"))
    with pytest.raises(SuiteError, match="--watch: no method has `checkpoints`"):
        watch.watch(Path(folder / "suite.yaml"), lambda *_: 0)
