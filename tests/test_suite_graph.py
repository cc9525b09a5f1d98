"""The jobs of a suite: what waits for what, and when one counts as done."""

import pytest

from twinbench.protocols.catalogue import find_protocol
from twinbench.report.result import Result
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import SuiteError, read_suite

TEXT = """
name: graph
root: out
methods:
  mine: {pretrain: {recipe: demo, set: {epochs: 3}}}
  theirs: {checkpoint: theirs.pth}
  random: {checkpoint: random}
protocols:
  demo-imagenet-knn: {seeds: 2, set: {temperature: 0.1}, partial: true}
data: {imagenet: sets}
"""


@pytest.fixture
def jobs(tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "theirs.pth").write_bytes(b"x")
    (tmp_path / "suite.yaml").write_text(TEXT)
    return {job.name: job for job in build_jobs(read_suite(tmp_path / "suite.yaml"))}


def test_backbones_come_first_and_each_trial_needs_its_own(jobs):
    assert list(jobs) == [
        "mine/pretrain",
        "theirs/backbone",
        *(f"{method}/demo-imagenet-knn/seed{seed}" for method in ("mine", "theirs", "random") for seed in (0, 1)),
        "report",
    ]
    needs = {name.split("/")[0]: job.needs for name, job in jobs.items() if job.kind == "trial"}
    assert needs == {"mine": ("mine/pretrain",), "theirs": ("theirs/backbone",), "random": ()}


def test_trials_that_share_features_let_the_first_extract_them(tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\nmethods: {a: {checkpoint: random}, b: {checkpoint: random}}\ndata: {voc: sets}\n"
        "protocols: {voc07-svm-gap: {seeds: 2}, voc07-svm: {}, voc07-svm-pcl: {}}\n"
    )
    jobs = {job.name: job for job in build_jobs(read_suite(tmp_path / "suite.yaml"))}
    assert {name: job.after for name, job in jobs.items() if job.kind == "trial" and job.after} == {
        f"{method}/{waits}": (f"{method}/voc07-svm-gap/seed0",)
        for method in ("a", "b")
        for waits in ("voc07-svm-gap/seed1", "voc07-svm-pcl/seed0")
    }


def test_commands_are_those_of_the_front_door(jobs, tmp_path):
    trial = jobs["mine/demo-imagenet-knn/seed1"]
    out = tmp_path / "out"
    assert trial.argv == (
        *("transfer", "demo-imagenet-knn", f"{out}/mine/pretrain/resnet50.pth", f"{tmp_path}/sets"),
        *(f"{out}/mine/demo-imagenet-knn/seed1", "--method", "mine", "--seed", "1", "--set", "temperature=0.1"),
        *("--partial", "--cache", f"{out}/features"),
    )
    assert jobs["mine/pretrain"].argv == (
        *("pretrain", f"{tmp_path}/sets", f"{out}/mine/pretrain", "--recipe", "demo", "--seed", "0"),
        *("--set", "epochs=3"),
    )
    assert jobs["theirs/backbone"].argv == (
        "convert", f"{tmp_path}/theirs.pth", f"{out}/theirs/backbone/resnet50.pth"
    )  # fmt: skip
    assert jobs["random/demo-imagenet-knn/seed0"].argv[2] == "random"


def suite_of(tmp_path, checkpoint, protocols):
    (tmp_path / "sets").mkdir(exist_ok=True)
    methods = f"{{a: {{checkpoint: '{checkpoint}'}}}}"
    data = "{voc: sets, imagenet: sets, places: sets, inat: sets}"
    (tmp_path / "suite.yaml").write_text(
        f"name: s\nroot: out\nmethods: {methods}\nprotocols: {protocols}\ndata: {data}\n"
    )
    return {job.name: job for job in build_jobs(read_suite(tmp_path / "suite.yaml"))}


@pytest.mark.parametrize(
    ("protocol", "length"),
    [
        ("inat18-svm", ("classes", 8142)),  # one-vs-rest, which logs a line a block of classes
        ("voc07-svm", ("", 0)),
        ("voc07-svm-lowshot", ("", 0)),
        ("imagenet-knn", ("", 0)),
        ("imagenet-linear", ("epoch", 100)),
        ("voc0712-frcnn-c4", ("iteration", 24000)),
    ],
)
def test_what_a_running_trials_log_counts(tmp_path, protocol, length):
    jobs = suite_of(tmp_path, "random", f"{{{protocol}: {{seeds: 1}}}}")
    assert [job.length for job in jobs.values() if job.protocol] == [length]


def test_probes_take_test_features_from_where_the_others_keep_theirs(tmp_path):
    jobs = suite_of(tmp_path, "random", "{imagenet-linear: {}, imagenet-knn: {}, imagenet-1pct: {seeds: 1}}")
    cached = {job.protocol.name: "--cache" in job.argv for job in jobs.values() if job.protocol}
    assert cached == {"imagenet-linear": True, "imagenet-knn": True, "imagenet-1pct": False}
    assert not any(job.after for job in jobs.values() if job.protocol)


def test_another_librarys_model_is_measured_as_it_is(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"x")
    trial, _ = suite_of(tmp_path, "timm:vit=w.pth", "{voc07-svm-gap: {}}").values()
    assert trial.argv[:3] == ("transfer", "voc07-svm-gap", f"timm:vit={tmp_path / 'w.pth'}")
    assert trial.needs == ()


def test_lists_and_samples_are_passed_on(tmp_path):
    for name in ("list.txt", "low.npz"):
        (tmp_path / name).write_text("n1_1.JPEG\n")
    job, _ = suite_of(tmp_path, "random", "{imagenet-1pct: {seeds: 1, list: list.txt}}").values()
    assert job.argv[-2:] == ("--list", str(tmp_path / "list.txt"))
    job, _ = suite_of(tmp_path, "random", "{voc07-svm-lowshot: {seeds: 1, targets: low.npz}}").values()
    assert job.argv[-4:-2] == ("--targets", str(tmp_path / "low.npz"))


def test_a_detector_refuses_another_librarys_model(tmp_path):
    why = "trains a C4 detector, whose box head is a ResNet-50's last stage, but methods.a is timm:vit"
    with pytest.raises(SuiteError, match=f"protocols.voc0712-frcnn-c4 {why}; give it") as caught:
        suite_of(tmp_path, "timm:vit=random", "{voc07-svm-gap: {}, voc0712-frcnn-c4: {}}")
    assert str(tmp_path / "suite.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def write_result(job, **changes):
    protocol = find_protocol("demo-imagenet-knn").with_settings({"temperature": "0.1"})
    fields = dict(
        protocol=protocol.name, version=1, fingerprint=protocol.fingerprint, method="mine", seed=1,
        metrics={"top1-k20": 50.0}, headline="top1-k20", backbone_sha256="0" * 64,
    )  # fmt: skip
    Result(**(fields | changes)).write(job.out)


def test_a_trial_is_done_when_its_own_result_is_there(jobs):
    trial = jobs["mine/demo-imagenet-knn/seed1"]
    assert not trial.done()
    write_result(trial)
    assert trial.done()


@pytest.mark.parametrize(
    ("change", "cause"),
    [({"seed": 0}, "seed"), ({"fingerprint": "0" * 12}, "recipe"), ({"method": "random"}, "trial")],
)
def test_another_trials_result_is_stale_not_taken(jobs, change, cause):
    trial = jobs["mine/demo-imagenet-knn/seed1"]
    write_result(trial, **change)
    assert not trial.done()
    assert trial.standing().stale
    assert list(trial.standing().causes) == [cause]
