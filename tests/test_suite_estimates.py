"""What a plan says of time, disk and data: from past runs, proofs and the workers' own checks."""

import shutil
import time
from dataclasses import asdict, replace

import pytest
import torch

import twinbench
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.zoo import zoo
from twinbench.suite import history, proofs
from twinbench.suite.estimate import disk_bytes, estimate, passing_bytes
from twinbench.suite.graph import build_jobs
from twinbench.suite.history import Run, node_kind, remember, runs
from twinbench.suite.local import Machine
from twinbench.suite.proofs import Size
from twinbench.suite.record import begin, end
from twinbench.suite.suite import read_suite

FOUR = Machine(("", "", "", ""), 4)  # cores, no GPU


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user who has run nothing yet, on a machine whose threads are all free."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def write_suite(folder, methods="{random: {checkpoint: random}}", protocol="demo-imagenet-knn", more="", classes=10):
    for split in ("train", "val"):
        for number in range(classes):
            (folder / "data" / split / f"class{number}").mkdir(parents=True, exist_ok=True)
            (folder / "data" / split / f"class{number}" / "1.png").touch()
    file = folder / "suite.yaml"
    file.write_text(
        f"name: s\nroot: out\nmethods: {methods}\nprotocols: {{{protocol}: {{seeds: 1, partial: true}}}}\n"
        f"data: {{imagenet: data}}\n{more}"
    )
    return file


def past(job, seconds, node, **changes):
    """Append a run of a job's recipe and data to what is remembered."""
    run = Run(job.protocol.fingerprint, job.parts()["data"], "", node, "", 1, seconds)
    history._append(replace(run, **changes))


def test_a_done_job_is_remembered_once_with_what_its_speed_depends_on(tmp_path):
    job, _report = build_jobs(read_suite(write_suite(tmp_path)))
    record = begin(job.out, job.identity, job.argv)
    (job.out / "result.json").write_text('{"architecture": "resnet50-w0.25"}')
    end(job.out, record.__class__(**{**vars(record), "started": record.started - 60}), "done")
    remember(job.out, job.identity, 1, 2)
    (run,) = runs()
    assert run.seconds == pytest.approx(60, abs=1)
    expected = Run(
        job.protocol.fingerprint, job.parts()["data"], "resnet50-w0.25", node_kind(2, with_gpus=False), "", 1, 0
    )
    assert asdict(run) | {"seconds": 0} == asdict(expected)


def test_what_cannot_be_remembered_fails_no_job(tmp_path, monkeypatch):
    job, _report = build_jobs(read_suite(write_suite(tmp_path)))
    end(job.out, begin(job.out, job.identity, job.argv), "done")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember(job.out, job.identity, 1, 1)
    assert runs() == []


def test_torn_lines_are_passed_over_and_the_oldest_are_dropped(tmp_path, monkeypatch):
    job, _report = build_jobs(read_suite(write_suite(tmp_path)))
    past(job, 1.0, "n")
    file = tmp_path / "state/twinbench/runs.jsonl"
    file.write_text(file.read_text() + '{"recipe": "half')
    past(job, 2.0, "n")
    past(job, "3", "n")
    assert [run.seconds for run in runs()] == [1.0, 2.0]
    monkeypatch.setattr(history, "MOST_BYTES", 2000)
    monkeypatch.setattr(history, "KEPT", 3)
    for seconds in range(100):
        past(job, float(seconds), "n")
    assert file.stat().st_size < 3000
    assert runs()[-1].seconds == 99.0


def test_a_plan_here_rests_on_runs_on_such_a_machine(tmp_path):
    job, _report = build_jobs(read_suite(write_suite(tmp_path)))
    here, one = node_kind(1, with_gpus=False), "nothing like it has run on such a machine"
    assert estimate([job], FOUR)[job.name].hours is None
    assert estimate([job], FOUR)[job.name].basis == one
    for seconds in (3600.0, 36000.0, 7200.0):
        past(job, seconds, here)
    past(job, 1.0, "another processor, 1 thread")
    past(job, 1.0, here, data="of another data set")
    found = estimate([job], FOUR)[job.name]
    assert (found.hours, found.gpu_hours, found.share) == (2.0, 0.0, 1 / 4)
    assert found.basis == f"median of 3 runs on {here}"


def test_a_plan_on_slurm_rests_on_runs_in_its_partition(tmp_path):
    file = write_suite(tmp_path, more="cluster: {partition: 'gpu,big', minutes: 90}\n")
    job, _report = build_jobs(read_suite(file))
    past(job, 9.0, "V100", partition="other")
    past(job, 9.0, "CPU")  # a local run
    assert estimate([job])[job.name].basis == "limit of 90 min"
    past(job, 1800.0, "H100", partition="gpu")
    assert estimate([job])[job.name].gpu_hours == 0.5
    assert estimate([job])[job.name].basis == "median of 1 run on H100"


def test_a_machine_without_gpus_is_told_its_own_hours(tmp_path, monkeypatch, capsys):
    file = write_suite(tmp_path)
    job, _report = build_jobs(read_suite(file))
    monkeypatch.setattr("twinbench.suite.preview.this_machine", lambda _: FOUR)
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    assert "missing: 2 jobs, nothing tells how long 1 of them take; about 9 MB" in capsys.readouterr().out
    past(job, 4 * 3600.0, node_kind(1, with_gpus=False))
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    told = capsys.readouterr().out
    assert "missing: 2 jobs, about 1.0 h of this machine; about 9 MB" in told
    assert "GPU" not in told


@pytest.mark.parametrize("action", ["plan", "run"])
def test_data_that_a_worker_would_refuse_is_refused_before_anything_starts(tmp_path, capsys, action):
    file = write_suite(tmp_path, protocol="imagenet-knn")
    assert twinbench.main(["suite", action, str(file), "--local"]) == 2
    error = capsys.readouterr().err
    assert "10 classes in the train split, but imagenet-knn has 1000" in error
    assert not (tmp_path / "out/random").exists()


def test_an_incomplete_set_passes_only_as_partial(tmp_path, capsys):
    file = write_suite(tmp_path)
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    file.write_text(file.read_text().replace("partial: true", "partial: false"))
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 2
    assert (
        "10 training and 10 test images of 10 classes; the protocol expects 3000, 500 and 10" in capsys.readouterr().err
    )


def test_data_that_fitted_once_are_not_read_again(tmp_path, monkeypatch):
    file = write_suite(tmp_path)
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0

    def read(*_):
        raise AssertionError("read again")

    monkeypatch.setattr("twinbench.data.required.read_trial_data", read)
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0


def test_finished_trials_whose_data_are_gone_are_told(tmp_path, capsys, write):
    file = write_suite(tmp_path)
    job, _report = build_jobs(read_suite(file))
    write(tmp_path / "out", "random", "demo-imagenet-knn", [12.0], data_sha256=job.parts()["data"])
    assert twinbench.main(["suite", "status", str(file)]) == 0
    assert "cannot be read" not in capsys.readouterr().out
    shutil.rmtree(tmp_path / "data/val")
    for action, told in (
        ("status", "1 finished trials: its data cannot be read now"),
        ("plan", "note: data.imagenet: "),
    ):
        twinbench.main(["suite", action, str(file), *(["--local"] if action == "plan" else [])])
        output = capsys.readouterr().out
        assert "1 done" in output
        assert told in output


def save_backbone(path, width=0.0625):
    """Write a proven ResNet-50 of a small width."""
    network = ResNet50(width=width)
    for name, values in network.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bn1.weight")):
            values.uniform_(0.5, 1.5)
    torch.save(network.state_dict(), path)


def test_a_checkpoint_is_opened_once_and_again_when_it_changes(tmp_path, monkeypatch, capsys):
    save_backbone(tmp_path / "w.pth")
    monkeypatch.setattr("twinbench.data.hints.SETTLED_SECONDS", 0)
    opened = []
    real = proofs._opened
    monkeypatch.setattr(proofs, "_opened", lambda method: opened.append(method.name) or real(method))
    file = write_suite(tmp_path, methods="{mine: {checkpoint: w.pth}}")
    for _ in range(2):
        assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    assert opened == ["mine"]
    jobs = build_jobs(read_suite(file))
    sizes = proofs.sizes(read_suite(file))
    tensors = torch.load(tmp_path / "w.pth")
    assert sizes["mine"].features == 128  # 2048 / 16
    assert disk_bytes(jobs, sizes)["mine/backbone"] == sum(
        each.numel() * each.element_size() for each in tensors.values()
    )
    assert disk_bytes(jobs, sizes)[jobs[1].name] == 1_062_500 + 4 * 3500 * 128
    time.sleep(0.01)
    (tmp_path / "w.pth").write_bytes(b"no weights")
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 2
    assert "methods.mine: " in capsys.readouterr().err


def test_a_probe_takes_room_while_it_runs_and_leaves_its_head(tmp_path):
    job, _report = build_jobs(read_suite(write_suite(tmp_path, protocol="imagenet-linear")))
    assert disk_bytes([job], {})[job.name] == 10_000_000
    assert passing_bytes(job) == 20_000_000


def test_seeds_and_sizes_of_banks_share_patches_of_test_images(tmp_path):
    """Of a ViT-B/16, 768 numbers a patch: 1,449 test images of VOC 2012 at 512 px; ADE20K's 22,210 at 224 px."""
    (tmp_path / "sets").mkdir()
    (tmp_path / "w.pth").write_bytes(b"x")
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\nmethods: {a: {checkpoint: 'timm:vit=w.pth'}}\ndata: {voc: sets, ade20k: sets}\n"
        "protocols: {voc12-hummingbird-1m: {seeds: 2}, voc12-hummingbird-100k: {}, ade20k-knn-capi: {seeds: 2},"
        " ade20k-logreg-capi: {}}\n"
    )
    jobs = build_jobs(read_suite(tmp_path / "suite.yaml"))
    found = disk_bytes(jobs, {"a": Size(1, 768)})
    own = 2_000_000  # what each trial leaves for itself
    assert {name: bytes_ - own for name, bytes_ in found.items() if bytes_ > own} == {
        "a/voc12-hummingbird-1m/seed0": 4 * 1449 * 32**2 * 768,
        "a/ade20k-knn-capi/seed0": 4 * 22_210 * 14**2 * 768,
    }
    assert all("--cache" in job.argv for job in jobs if job.protocol)
    passing = {job.protocol.name: passing_bytes(job) for job in jobs if job.protocol}
    places = 14**2 * 20_210 * (16**2 + 8)  # of the training images: labels, and a row's number in the cache
    assert passing["ade20k-knn-capi"] == passing["ade20k-logreg-capi"] == pytest.approx(places, abs=1)


def test_too_small_a_disk_refuses_unless_it_is_not_to_be_looked_at(tmp_path, monkeypatch, capsys):
    class Full:
        free = 1_000_000

    monkeypatch.setattr("twinbench.suite.preflight.shutil.disk_usage", lambda _: Full)
    file = write_suite(tmp_path)
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 2
    said = "has 1 MB free, but the missing jobs write about 9 MB"
    assert f"{said}; make room, or say cluster: {{check_disk: false}}" in capsys.readouterr().err
    write_suite(tmp_path, more="cluster: {check_disk: false}\n")
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 0
    assert f"note: {tmp_path} {said}" in capsys.readouterr().out


BY_HAND = next(entry.name for entry in zoo().values() if entry.by_hand)


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ("torchvision:resnet81=random", "methods.m: unknown torchvision model 'resnet81'. Did you mean 'resnet18' or"),
        ("hf:org/none", "fetch it: twinbench zoo hf:org/none --fetch"),
        (f"zoo:{BY_HAND}", f"methods.m: zoo:{BY_HAND}: no program can fetch it; take it from"),
    ],
)
def test_a_checkpoint_that_cannot_be_had_is_told_before_anything_waits_for_it(
    tmp_path, monkeypatch, capsys, checkpoint, words
):
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    file = write_suite(tmp_path, f"{{m: {{checkpoint: '{checkpoint}'}}}}")
    assert twinbench.main(["suite", "plan", str(file), "--local"]) == 2
    assert words in capsys.readouterr().err
