"""Finished work that was made of something else than a suite says now: told, never taken, never thrown away.

The faults are those that users met: a folder of data that moved, a checkpoint that was replaced or only touched,
settings of a pretraining that changed, a shorter list of seeds.
"""

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import twinbench
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.protocols.identity import backbone_identity
from twinbench.report.result import Result, read_result, read_results
from twinbench.suite import again, backbone, local
from twinbench.suite.backbone import Made
from twinbench.suite.finish import suite_table
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import read_suite

CONVENTION = {"mean": [0.5] * 3, "std": [0.5] * 3, "order": "rgb", "scale": 1.0}
METHODS = (
    "{mine: {pretrain: {recipe: demo, set: {epochs: 3}}}, theirs: {checkpoint: theirs.pth},"
    " random: {checkpoint: random}}"
)


def tree(root, classes=("cat", "dog"), side=8):
    """Write ImageNet's form of a data set, two images a class and split."""
    for split in ("train", "val"):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (side, side + number)).save(root / split / name / f"{number}.png")
    return root


class Site:
    """A suite in a folder, whose workers are quick and record what real ones would."""

    def __init__(self, folder):
        self.folder, self.file, self.root = folder, folder / "suite.yaml", folder / "out"
        tree(folder / "images")
        (folder / "theirs.pth").write_text("tensors 1, saved first")
        self.write()

    def write(self, methods=METHODS, seeds="2", data="images"):
        self.file.write_text(
            f"name: s\nroot: out\nmethods: {methods}\nprotocols: {{demo-imagenet-knn: {{seeds: {seeds}}}}}\n"
            f"data: {{imagenet: {data}}}\n"
        )

    def jobs(self):
        return {job.name: job for job in build_jobs(read_suite(self.file))}

    def suite(self, action, *flags):
        return twinbench.main(["suite", action, str(self.file), *flags])

    def states(self, capsys):
        capsys.readouterr()
        assert self.suite("status", "--json") == 0
        return {job["name"]: job["state"] for job in json.loads(capsys.readouterr().out)["jobs"]}

    def trial(self, method, seed=0):
        return f"{method}/demo-imagenet-knn/seed{seed}"

    def values(self):
        """Return the value of each result that the suite's own folders hold."""
        found = {}
        for job in self.jobs().values():
            if job.kind == "trial" and job.product.exists():
                found[job.name] = read_result(job.product).metrics["top1-k20"]
        return found


def tensors_of(path: Path) -> str:
    """Return the pretended tensors of a pretended checkpoint: those that its first words name."""
    return path.read_text().partition(",")[0].ljust(64, "0")


def described(file, parts):
    tensors = tensors_of(file)
    return Made(parts, backbone_identity(tensors, "resnet50", CONVENTION), tensors, "resnet50")


def work(job, _processes, _threads):
    """Do a job's work at once; what is measured is a function of everything that it was made of."""
    job.out.mkdir(parents=True, exist_ok=True)
    if job.kind == "convert":
        shutil.copy(job.argv[1], job.product)
    elif job.kind == "pretrain":
        job.product.write_text(f"tensors {job.recipe.fingerprint} {job.parts()['data'][:8]}, trained")
    else:
        measure(job)
    return ["true"]


def measure(job, **changes):
    tensors = tensors_of(job.backbone.product) if job.backbone else "random".ljust(64, "0")
    data = job.parts()["data"]
    method, _, seed = job.name.split("/")
    seed = int(seed.removeprefix("seed"))
    result = Result(
        protocol=job.protocol.name, version=job.protocol.version, fingerprint=job.protocol.fingerprint, method=method,
        seed=seed, metrics={"top1-k20": sum(map(ord, tensors + data)) % 50 + seed}, headline="top1-k20",
        backbone_sha256=tensors, architecture="resnet50", convention=CONVENTION, data="here", data_sha256=data,
    )  # fmt: skip
    replace(result, **changes).write(job.out)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(local, "worker_command", work)
    monkeypatch.setattr(backbone, "described", described)
    monkeypatch.setattr(again, "described", described)
    monkeypatch.setattr("twinbench.suite.preflight._checkpoints", lambda _: ())
    monkeypatch.setattr("twinbench.suite.expected.require_fit", lambda *_, **__: None)  # two classes are enough here
    return Site(tmp_path)


@pytest.fixture
def done(site):
    """The site, its suite run to the end."""
    assert site.suite("run", "--local") == 0
    return site


def everything_is_done(site, capsys):
    return set(site.states(capsys).values()) == {"done"}


def refusal(site, capsys):
    """Return what `run` says, having changed nothing."""
    before = site.values()
    capsys.readouterr()
    assert site.suite("run", "--local") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert site.values() == before
    return line


def test_what_was_made_as_the_suite_says_is_done(done, capsys):
    assert everything_is_done(done, capsys)
    assert done.suite("run", "--local") == 0


def test_data_that_is_elsewhere_now_makes_all_measured_on_it_stale(done, tmp_path, capsys):
    before = done.values()
    tree(tmp_path / "others", ("cat", "owl"))
    done.write(data="others")
    states = done.states(capsys)
    assert states.pop("theirs/backbone") == "done"
    assert set(states.values()) == {"stale", "waiting"}
    line = refusal(done, capsys)
    assert "7 of 9 jobs were made of something else than the suite says now (data 7)" in line
    assert f"`twinbench suite run {done.file} --again` moves them below {done.root}/superseded" in line
    assert done.suite("run", "--local", "--again") == 0
    assert everything_is_done(done, capsys)
    assert all(value != before[name] for name, value in done.values().items())


def test_a_copy_of_the_data_elsewhere_is_the_same_data(done, tmp_path, capsys):
    shutil.copytree(tmp_path / "images", tmp_path / "copied")
    done.write(data="copied")
    assert everything_is_done(done, capsys)
    assert done.suite("run", "--local") == 0


def test_reading_commands_tell_stale_work_and_do_not_fail(done, tmp_path, capsys):
    tree(tmp_path / "others", ("cat", "owl"))
    done.write(data="others")
    capsys.readouterr()
    assert done.suite("status") == 0
    seen = capsys.readouterr().out
    assert "9 jobs: 1 done, 1 waiting, 7 stale" in seen
    assert "! stale: 7 jobs, made of something else than the suite says now (data 7);" in seen
    assert "random/demo-imagenet-knn/seed0  stale    made from other data (" in seen
    assert done.suite("plan", "--local") == 0
    plan = capsys.readouterr().out
    assert "0/2 done  2 stale" in plan
    assert "missing: 1 jobs" in plan
    assert done.suite("logs", done.trial("random")) == 0
    assert done.suite("report") == 0
    assert "s: 7 stale jobs stay out of the table (data 7)" in capsys.readouterr().err
    table = (done.root / "report.txt").read_text()
    assert "not finished" in table
    assert "stale, made from other data" in " ".join(table.split())


def test_superseded_numbers_are_kept_where_no_table_finds_them(done, tmp_path):
    old = done.values()
    tree(tmp_path / "others", ("cat", "owl"))
    done.write(data="others")
    assert done.suite("run", "--local", "--again") == 0
    [place] = (done.root / "superseded").iterdir()
    kept = read_result(place / done.trial("random") / "superseded.json")
    assert kept.metrics["top1-k20"] == old[done.trial("random")]
    assert read_results([done.root / "superseded"]) == []
    assert len(read_results([done.root])) == len(done.values())


def test_a_touched_checkpoint_is_the_same_checkpoint(done, tmp_path, capsys, monkeypatch):
    os.utime(tmp_path / "theirs.pth", ns=(1, 1))
    assert everything_is_done(done, capsys)
    monkeypatch.setattr(local, "worker_command", lambda *_: pytest.fail("there is nothing to run"))
    assert done.suite("run", "--local") == 0


def test_the_same_tensors_saved_again_keep_their_trials(done, tmp_path, capsys, monkeypatch):
    (tmp_path / "theirs.pth").write_text("tensors 1, saved once more")
    states = done.states(capsys)  # nobody but torch can tell
    assert states[done.trial("theirs")] == "stale"
    assert states[done.trial("random")] == "done"
    monkeypatch.setattr(local, "worker_command", lambda *_: pytest.fail("there is nothing to measure"))
    assert done.suite("run", "--local") == 0
    assert everything_is_done(done, capsys)


def test_a_replaced_checkpoint_makes_its_trials_stale_and_no_others(done, tmp_path, capsys):
    before = done.values()
    (tmp_path / "theirs.pth").write_text("tensors 2, of another run")
    states = done.states(capsys)
    stale = {"theirs/backbone", done.trial("theirs", 0), done.trial("theirs", 1)}
    assert {name for name, state in states.items() if state == "stale"} == stale
    assert "2 of 9 jobs were made of something else than the suite says now (backbone 2)" in refusal(done, capsys)
    assert done.suite("run", "--local", "--again") == 0
    assert everything_is_done(done, capsys)
    after = done.values()
    assert {name for name in after if after[name] != before[name]} == stale - {"theirs/backbone"}


def test_removing_the_backbones_folder_does_not_pass_old_trials_as_the_new_checkpoints(done, tmp_path, capsys):
    (tmp_path / "theirs.pth").write_text("tensors 2, of another run")
    shutil.rmtree(done.root / "theirs/backbone")
    shutil.rmtree(done.root / done.trial("theirs", 1))
    assert done.suite("run", "--local") == 0  # one trial is missing, so its backbone is made again
    assert done.states(capsys)[done.trial("theirs", 0)] == "stale"
    assert "1 of 9 jobs" in refusal(done, capsys)


def test_a_backbone_that_no_trial_needs_is_converted_again_without_asking(done, tmp_path, capsys):
    for seed in (0, 1):
        shutil.rmtree(done.root / done.trial("theirs", seed))
    (tmp_path / "theirs.pth").write_text("tensors 2, of another run")
    assert done.suite("run", "--local") == 0
    assert everything_is_done(done, capsys)
    assert tensors_of(done.root / "theirs/backbone/resnet50.pth").startswith("tensors 2")


@pytest.mark.parametrize(("change", "cause"), [("set: {epochs: 4}", "recipe"), ("set: {epochs: 3}, seed: 1", "seed")])
def test_changed_settings_of_a_pretraining_make_it_and_its_trials_stale(done, capsys, change, cause):
    before = done.values()
    done.write(METHODS.replace("set: {epochs: 3}", change))
    states = done.states(capsys)
    stale = {"mine/pretrain", done.trial("mine", 0), done.trial("mine", 1)}
    assert {name for name, state in states.items() if state == "stale"} == stale
    assert f"({cause} 1, backbone 2)" in refusal(done, capsys)
    assert done.suite("run", "--local", "--again") == 0
    assert everything_is_done(done, capsys)
    assert done.values()[done.trial("random")] == before[done.trial("random")]


def test_again_moves_what_was_only_begun_too(site, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(local, "worker_command", lambda job, *_: ["sh", "-c", "echo half > state; exit 1"])
    assert site.suite("run", "--local") == 1
    site.write(METHODS.replace("epochs: 3", "epochs: 4"))
    monkeypatch.setattr(local, "worker_command", work)
    assert site.suite("run", "--local", "--again") == 0
    [place] = (site.root / "superseded").iterdir()
    assert (place / "mine/pretrain/state").exists()
    assert not (place / "random").exists()
    assert everything_is_done(site, capsys)


def test_a_method_that_comes_from_elsewhere_now_is_another_one(done, tmp_path, capsys):
    (tmp_path / "w.pth").write_bytes(b"weights")
    for methods in (
        "{random: {checkpoint: timm:vit=w.pth}}",
        "{random: {checkpoint: theirs.pth}}",
        "{random: {pretrain: {recipe: demo}}}",
    ):
        done.write(methods)
        assert done.states(capsys)[done.trial("random")] == "stale"


def test_weights_of_another_librarys_model_are_told_by_their_bytes(site, tmp_path, capsys):
    (tmp_path / "w.pth").write_bytes(b"weights")
    site.write("{vit: {checkpoint: timm:vit=w.pth}}")
    assert site.suite("run", "--local") == 0
    os.utime(tmp_path / "w.pth", ns=(1, 1))
    assert everything_is_done(site, capsys)
    shutil.move(tmp_path / "w.pth", tmp_path / "moved.pth")
    site.write("{vit: {checkpoint: timm:vit=moved.pth}}")
    assert everything_is_done(site, capsys)
    (tmp_path / "moved.pth").write_bytes(b"others.")
    assert set(site.states(capsys).values()) == {"stale", "waiting"}
    for spec in ("timm:vit=random", "timm:vit_b=moved.pth"):
        site.write(f"{{vit: {{checkpoint: '{spec}'}}}}")
        assert set(site.states(capsys).values()) == {"stale", "waiting"}


def test_a_shorter_list_of_seeds_leaves_the_others_out_of_the_table(done):
    done.write(seeds="[1]")
    assert done.suite("run", "--local") == 0
    table = suite_table(read_suite(done.file), list(done.jobs().values()))
    seeds = {trial.result.seed for cell in table.cells.values() for trial in cell.trials}
    assert seeds == {1}
    assert (done.root / done.trial("random", 0) / "result.json").exists()


def test_a_result_of_an_older_twinbench_is_done_and_tabled(site, capsys):
    site.write("{random: {checkpoint: random}}", seeds="1")
    job, report = site.jobs().values()
    measure(job, architecture="", convention={}, data="", data_sha256="", schema=1)
    assert site.suite("run", "--local") == 0
    assert site.states(capsys) == {job.name: "done", "report": "done"}
    assert site.suite("status") == 0
    assert "its data is not recorded: made by an older twinbench" in capsys.readouterr().out
    table = suite_table(read_suite(site.file), [job, report])
    assert [trial.result.seed for cell in table.cells.values() for trial in cell.trials] == [0]


def test_an_old_result_of_other_tensors_is_stale_all_the_same(done, capsys):
    job = done.jobs()[done.trial("theirs")]
    measure(job, architecture="", convention={}, data="", data_sha256="", schema=1)
    assert done.states(capsys)[job.name] == "done"
    measure(job, architecture="", convention={}, data="", data_sha256="", schema=1, backbone_sha256="9" * 64)
    assert done.states(capsys)[job.name] == "stale"


def test_the_same_tensors_under_another_input_convention_are_another_backbone(done, capsys):
    job = done.jobs()[done.trial("theirs")]
    measure(job, convention=CONVENTION | {"order": "bgr"})
    assert done.states(capsys)[job.name] == "stale"


def test_a_pretraining_that_was_killed_before_it_was_written_down_is_done(done, capsys):
    (done.root / "mine/pretrain/backbone.json").unlink()
    assert everything_is_done(done, capsys)
    assert done.suite("run", "--local") == 0
    found = json.loads((done.root / "mine/pretrain/backbone.json").read_text())
    assert found == asdict(described(done.root / "mine/pretrain/resnet50.pth", done.jobs()["mine/pretrain"].parts()))
    done.write(METHODS.replace("epochs: 3", "epochs: 4"))
    assert done.states(capsys)["mine/pretrain"] == "stale"


def test_a_pretrainings_own_record_is_believed_before_its_watchers(done, capsys):
    """It says what was read when it ran; the watcher only knows what was meant when it was submitted."""
    job = done.jobs()["mine/pretrain"]
    own = {"identity": {**job.parts(), "backbone": "fresh", "seed": 0}}
    (job.out / "pretrain.json").write_text(json.dumps(own))
    assert everything_is_done(done, capsys)
    own["identity"]["data"] = "0" * 64
    (job.out / "pretrain.json").write_text(json.dumps(own))
    states = done.states(capsys)
    assert states["mine/pretrain"] == states[done.trial("mine")] == "stale"
    own["identity"]["data"] = ""  # of an older twinbench
    (job.out / "pretrain.json").write_text(json.dumps(own))
    assert everything_is_done(done, capsys)


def test_a_conversion_of_which_nothing_is_written_down_is_proven_first(done, tmp_path, capsys):
    for tensors, stale in (("1", set()), ("2", {"theirs/backbone", done.trial("theirs", 0)})):
        (done.root / "theirs/backbone/backbone.json").unlink()
        (done.root / "theirs/backbone/job.json").unlink(missing_ok=True)  # as of an older twinbench
        assert done.states(capsys)["theirs/backbone"] == "done"
        (tmp_path / "theirs.pth").write_text(f"tensors {tensors}, saved at some time")
        shutil.rmtree(done.root / done.trial("theirs", 1))
        assert done.suite("run", "--local") == (2 if stale else 0)
        states = done.states(capsys)
        assert {name for name, state in states.items() if state == "stale"} == stale


def test_lists_and_samples_are_part_of_a_trials_data(scenes, tmp_path):
    samples = np.full((4, 2), -1, np.int8)
    np.savez(tmp_path / "one.npz", sample1_k1=samples)
    np.savez(tmp_path / "other.npz", sample1_k1=-samples)
    images = sorted((scenes / "imagenet/train").rglob("*.*"))
    names = [path.name for path in images if path.is_file()]
    (tmp_path / "one.txt").write_text(f"{names[0]}\n{names[1]}\n")
    (tmp_path / "crlf.txt").write_bytes(f"{names[0]}\r\n{names[1]}\r\n".encode())
    (tmp_path / "other.txt").write_text(f"{names[1]}\n")

    def data(entry):
        file = tmp_path / "suite.yaml"
        file.write_text(
            f"name: s\nroot: out\nmethods: {{random: {{checkpoint: random}}}}\nprotocols: {{{entry}}}\n"
            f"data: {{voc: {scenes / 'VOCdevkit'}, imagenet: {scenes / 'imagenet'}}}\n"
        )
        found = {job.parts()["data"] for job in build_jobs(read_suite(file)) if job.protocol}
        assert len(found) == 1
        return found.pop()

    shots = ("", "targets: one.npz", "targets: other.npz")
    drawn, one, other = (data(f"demo-voc07-svm-lowshot: {{{entry}}}") for entry in shots)
    assert "" not in (drawn, one, other)
    assert len({drawn, one, other}) == 3
    lists = [data(f"demo-imagenet-1pct: {{list: {name}}}") for name in ("one.txt", "crlf.txt", "other.txt")]
    assert lists[0] == lists[1] != ""
    assert lists[2] not in (lists[0], "")


def test_real_workers_record_what_the_suite_expects(scenes, tmp_path, capsys):
    """A checkpoint converted and measured by the rooms themselves, saved again, then replaced."""
    generator = torch.Generator().manual_seed(0)

    def save(**more):
        torch.save({"state_dict": state, **more}, tmp_path / "theirs.pth")

    state = ResNet50(1 / 16).state_dict()
    for values in state.values():
        if values.ndim == 1:
            values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    save()
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\nmethods: {theirs: {checkpoint: theirs.pth}}\n"
        "protocols: {demo-imagenet-knn: {seeds: 1, partial: true}}\n"
        f"data: {{imagenet: {scenes / 'imagenet'}}}\n"
    )
    command = ["suite", "run", str(tmp_path / "suite.yaml"), "--local"]
    assert twinbench.main(command) == 0
    backbone_job, trial, _ = build_jobs(read_suite(tmp_path / "suite.yaml"))
    result = read_result(trial.product)
    assert result.identity.data == trial.parts()["data"]
    made = json.loads((backbone_job.out / "backbone.json").read_text())
    assert (made["identity"], made["sha256"]) == (result.identity.backbone, result.backbone_sha256)
    save(epoch=7)
    first = trial.product.stat().st_mtime_ns
    assert twinbench.main(command) == 0
    assert trial.product.stat().st_mtime_ns == first
    state["bn1.bias"] += 1
    save()
    assert twinbench.main(command) == 2
    assert "1 of 3 jobs were made of something else than the suite says now (backbone 1)" in capsys.readouterr().err
