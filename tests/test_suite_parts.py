"""The parts of a suite that start nothing: what it may cost, how far it is, and the file it writes of itself."""

import json
from dataclasses import replace

import pytest

from twinbench.protocols.identity import Identity
from twinbench.report.result import Result
from twinbench.runtime.duration import disk_space, duration
from twinbench.suite.advance import advance
from twinbench.suite.content import content_sha256
from twinbench.suite.estimate import estimate
from twinbench.suite.graph import build_jobs
from twinbench.suite.job import Job
from twinbench.suite.measured import measured_of
from twinbench.suite.resolved import write_resolved
from twinbench.suite.standing import measured_causes
from twinbench.suite.suite import read_suite


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


def test_estimates_rest_on_finished_trials_and_else_on_the_limit(suite):
    jobs = build_jobs(suite)
    assert estimate(jobs)[jobs[0].name].gpu_hours == 16 * 1.5
    assert estimate(jobs)[jobs[0].name].basis == "limit of 90 min"
    spent = dict(zip((job.name for job in jobs), (3600.0, 7200.0, 5400.0), strict=False))
    found = estimate(jobs, spent=spent)[jobs[3].name]
    assert found.gpu_hours == 16 * 1.5
    assert found.basis == "median of 3 finished"


def test_features_that_trials_share_take_room_once(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\nmethods: {a: {checkpoint: random}, b: {checkpoint: random}}\n"
        "protocols: {voc07-svm: {}, voc07-svm-gap: {seeds: 2}, voc07-svm-pcl: {}}\ndata: {voc: data}\n"
    )
    *trials, _ = build_jobs(read_suite(tmp_path / "suite.yaml"))
    images = 5011 + 4952
    large, small, own = 4 * images * 8192, 4 * images * 2048, 2_000_000  # res5-avg6 is 2 x 2 x 2048
    assert [cost.disk_bytes - own for cost in estimate(trials).values()] == [large, large, small, 0, small, 0, 0, 0]


def test_svms_that_count_classes_save_no_network(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\nmethods: {a: {checkpoint: random}}\nprotocols: {inat18-svm: {}}\ndata: {inat: data}\n"
    )
    cost, _ = estimate(build_jobs(read_suite(tmp_path / "suite.yaml"))).values()
    assert cost.disk_bytes - 4 * (437_513 + 24_426) * 2048 == 2_000_000


def write_log(path, *points):
    path.write_text("".join(json.dumps({"epoch": epoch, "time": at}) + "\n" for epoch, at in points) + '{"ep')


def test_progress_and_time_left_come_from_the_log_and_survive_a_restart(tmp_path):
    log = tmp_path / "log.jsonl"
    assert advance(log, "epoch", 10) is None
    write_log(log, (1, 100.0), (2, 110.0), (4, 130.0))
    found = advance(log, "epoch", 10)
    assert found
    assert (found.done, found.seconds_left) == (4, 60.0)
    assert str(found) == "epoch 4/10, 60 s left"
    write_log(log, (1, 100.0), (4, 130.0), (3, 1000.0), (5, 1040.0))
    found = advance(log, "epoch", 10)
    assert found
    assert (found.done, found.seconds_left) == (5, 100.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 s"), (89, "89 s"), (720, "12 min"), (12_600, "3.5 h"), (181_440, "2.1 d")]
)
def test_durations_say_their_unit(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("size", "words"), [(0, "0 MB"), (17.4e6, "17 MB"), (0.96e9, "1.0 GB"), (1.24e9, "1.2 GB")])
def test_room_on_disk_says_its_unit(size, words):
    assert disk_space(size) == words


def test_a_job_takes_as_many_slots_as_it_has_processes(tmp_path):
    from twinbench.suite.local import Machine

    machine = Machine(("0", "1", "2"), 8)
    wide = [Job("j", "trial", (), tmp_path, gpus=gpus) for gpus in (0, 1, 2, 8)]
    assert [machine.slots_for(job) for job in wide] == [1, 1, 2, 3]
    assert machine.slots_for(Job("p", "pretrain", (), tmp_path, gpus=1)) == 3


@pytest.mark.parametrize(("threads", "slots"), [("", 4), ("8", 4), ("1", 1), ("3", 2)])
def test_a_pretraining_on_processors_leaves_room_where_it_is_given_few_threads(tmp_path, monkeypatch, threads, slots):
    """Eight cores in four slots, two a slot."""
    from twinbench.suite.local import Machine

    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    machine = Machine(("",) * 4, 8)
    assert machine.slots_for(Job("p", "pretrain", (), tmp_path, gpus=1)) == slots


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"samples": "from a file"}, "made from other data or low-shot samples ("),
        ({}, "made from other data ("),
    ],
)
def test_low_shot_samples_are_named_beside_the_data_that_differ(details, words):
    result = Result(
        protocol="p", version=1, fingerprint="f", method="m", seed=0, metrics={"mAP": 1.0}, headline="mAP",
        backbone_sha256="b", data="voc07", data_sha256="1" * 64, details=details,
    )  # fmt: skip
    causes = measured_causes(measured_of(result), Identity("f", "", "2" * 64, 0), None)
    assert causes["data"].startswith(words)


def test_a_folder_is_told_by_the_names_and_bytes_of_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINBENCH_CACHE", str(tmp_path / "cache"))
    told = []
    for name, inner, text in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / inner).write_text(text)
        told.append(content_sha256(tmp_path / name))
    assert told[0] == told[1]
    assert len(set(told)) == 3
    assert all(len(digest) == 64 for digest in told)
