"""What a user does with a suite on a real Slurm, and what is refused before anything is queued."""

import re
import subprocess
import time

import pytest

import twinbench
from twinbench.slurm.ledger import Ledger
from twinbench.suite.launcher import refuse_if_active
from twinbench.suite.record import read_record
from twinbench.suite.suite import SuiteError, read_suite


def test_a_suite_runs_from_pretraining_to_table_and_is_skipped_the_second_time(site, capsys):
    file = site.write("{mine: {pretrain: {recipe: demo}}, random: {checkpoint: random}}", seeds=3)
    assert site.run() == 0
    assert "7 jobs" not in capsys.readouterr().out  # the report is one more
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}
    for method in ("mine", "random"):
        assert [site.result(seed, method)["metrics"]["top1"] for seed in range(3)] == [site.value(s) for s in range(3)]
    assert "4.2 ±2.1 (3)" in (site.root / "report.txt").read_text()  # 2.1, 4.2, 6.3
    batches = Ledger(site.root).batches
    assert [len(batch.jobs) for batch in batches.values()] == [1, 1, 3, 3]  # steward, pretrain, two arrays
    name = site.trial(1, "mine")
    record = read_record(site.root / name)
    [batch] = [batch for batch in batches.values() if name in batch.jobs]
    assert record
    assert record.gpus == 1
    assert record.job_id == batch.element(name)
    assert site.result(0, "mine")["code"]["root"].startswith(str(site.root / "code"))
    assert twinbench.main(["suite", "run", str(file)]) == 0
    assert len(Ledger(site.root).batches) == 4


def test_a_failure_is_told_its_dependents_are_blocked_and_only_they_run_again(site):
    site.write("{mine: {pretrain: {recipe: demo}}, random: {checkpoint: random}}", seeds=2)
    site.fault("train.0", "fail")
    site.fault("random.1", "fail")
    assert site.run() == 0
    site.wait(site.settled)
    seen = site.statuses()
    assert seen["mine/pretrain"].reason == "exit code 1: no such image: 17.jpg"
    for seed in (0, 1):
        blocked = seen[site.trial(seed, "mine")]
        assert blocked.state == "blocked"
        assert "mine/pretrain failed" in blocked.reason
    assert seen[site.trial(0)].state == "done"
    assert "mine/pretrain failed: exit code 1: no such image" in (site.root / "report.txt").read_text()
    first = site.result(0)
    site.fault("train.0", "")
    site.fault("random.1", "")
    assert site.run() == 0
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}
    assert site.result(0) == first
    assert site.result(1)["metrics"]["top1"] == site.value(1)


def test_a_pretraining_over_two_nodes_is_one_group_of_processes(site):
    site.write("{mine: {pretrain: {recipe: demo}}}", seeds=1, cluster="nodes: 2")
    assert site.run() == 0
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}
    places = [(site.root / "mine/pretrain" / f"place{rank}").read_text().split() for rank in (0, 1)]
    assert [place[:4] for place in places] == [["0", "2", "0", "n1"], ["1", "2", "0", "n1"]]
    assert places[0][4] == places[1][4]
    record = read_record(site.root / "mine/pretrain")
    assert record
    assert record.gpus == 2


def test_too_small_a_disk_and_a_read_only_one_are_refused(small_disk, site, capsys):
    site.write(seeds=100)
    assert site.run() == 2
    assert "free, but the missing jobs write about" in capsys.readouterr().err
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert site.run() == 2
    assert "out is not writable; choose a root on a disk" in capsys.readouterr().err


def test_cancel_stops_all_and_run_goes_on(site):
    site.pace(0.3, 20)
    file = site.write("{mine: {pretrain: {recipe: demo}}}", seeds=2)
    assert site.run() == 0
    site.wait(lambda: (site.root / "mine/pretrain/log.jsonl").exists())
    with pytest.raises(SuiteError, match="4 jobs of this suite are on Slurm"):
        refuse_if_active(read_suite(file))
    assert twinbench.main(["suite", "cancel", str(file)]) == 0
    site.wait(lambda: not site.queued())
    site.pace(0.05, 20)
    assert site.run() == 0
    site.wait(site.settled)
    assert site.result(1, "mine")["metrics"]["top1"] == site.value(1, steps=20)


def test_two_thousand_trials_are_submitted_in_a_minute(site):
    methods = ", ".join(f"m{index}: {{checkpoint: random}}" for index in range(50))
    file = site.write(f"{{{methods}}}", seeds=40)
    start = time.monotonic()
    assert site.run() == 0
    assert time.monotonic() - start < 60
    assert [len(batch.jobs) for batch in Ledger(site.root).batches.values()] == [1, 1000, 1000]
    start = time.monotonic()
    assert set(site.states().values()) <= {"queued", "running", "done"}
    assert time.monotonic() - start < 10  # 2 s when free; Slurm itself is asked within
    assert twinbench.main(["suite", "cancel", str(file)]) == 0
    site.wait(lambda: not site.queued())


@pytest.mark.parametrize(
    ("cluster_options", "words"),
    [
        ("partition: nope", "there is no partition 'nope' here; there are: axed, doomed, high, low, main, short"),
        ("partition: short, minutes: 60", "asks for 60 minutes, but partition short allows 30"),
        ("gpus_per_node: 9", "gpus_per_node is 9, but a node of partition main has 4"),
        ("nodes: 3", "cluster.nodes: asks for 3 nodes, but partition main has 2"),
        ("minutes: 1", "leave no time to work beside a warning"),
        ("constraint: a100", "cluster: sbatch: .*Invalid feature specification"),
        ("gpu_type: a100", "cluster: sbatch: .*Invalid generic resource|Requested node configuration is not available"),
        ("sbatch: {no-such: 1}", "cluster: sbatch: .*unrecognized option '--no-such=1'"),
    ],
)
def test_what_slurm_would_refuse_or_never_start_is_said_before(site, cluster_options, words, capsys):
    options = {"gpus_per_node": "1", "minutes": "20"} | dict(o.split(": ", 1) for o in cluster_options.split(", "))
    site.write("{mine: {pretrain: {recipe: demo}}}", seeds=1).write_text(
        (site.folder / "suite.yaml").read_text().split("cluster:")[0]
        + f"cluster: {{signal_delay_s: 30, {', '.join(f'{key}: {value}' for key, value in options.items())}}}\n"
    )
    assert site.run() == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line
    assert not site.queued()


def test_changed_settings_are_refused_and_again_makes_what_rests_on_them_anew(site, capsys):
    file = site.write("{mine: {pretrain: {recipe: demo}}, random: {checkpoint: random}}", seeds=1)
    assert site.run() == 0
    site.wait(site.settled)
    site.write("{mine: {pretrain: {recipe: demo, set: {epochs: 3}}}, random: {checkpoint: random}}", seeds=1)
    assert site.run() == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "2 of 4 jobs were made of something else than the suite says now (recipe 1, backbone 1)" in line
    assert not site.queued()
    assert twinbench.main(["suite", "run", str(file), "--again"]) == 0
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}
    assert site.result(0, "mine")["details"]["starts"] == 1
    [place] = (site.root / "superseded").iterdir()
    assert (place / site.trial(0, "mine") / "superseded.json").exists()
    assert not (place / "random").exists()
