"""Whenever and however Slurm wants a node back, and whatever the job runs in: it goes on, and not for ever."""

import subprocess

import pytest

import twinbench
from twinbench.slurm import launch
from twinbench.slurm.snapshot import take_snapshot
from twinbench.suite.record import read_record

BARE = "container: env PATH=/nowhere"  # like an image without Slurm in it


def preempt():
    asked = ("--partition=high", "--nodes=2", "--gpus-per-node=4", "--output=/dev/null", "--wrap=sleep 1")
    subprocess.run(["sbatch", *asked], check=True, capture_output=True)


@pytest.mark.parametrize("blow", [("--batch", "--signal=USR2"), ("--batch", "--signal=TERM"), ("--signal=TERM",)])
def test_a_warning_in_a_jobs_first_moment_costs_a_start_and_no_job(site, blow):
    """One element is warned in its set-up, where no step is there yet, the others while Python starts."""
    site.write(seeds=3, cluster="setup: ['sleep $((2 * (SLURM_ARRAY_TASK_ID == 0)))']")
    assert site.run() == 0
    for seed in range(3):
        site.wait(lambda seed=seed: list(site.root.glob(f"slurm/*/*_{seed}.run0")), pause=0.01)
        subprocess.run(["scancel", *blow, site.statuses()[site.trial(seed)].job_id], check=True)
    site.wait(site.settled)
    assert [site.result(seed)["metrics"]["top1"] for seed in range(3)] == [site.value(seed) for seed in range(3)]
    [log] = site.root.glob("slurm/*/*_0_0_log.out")
    assert ("before its work began; Slurm starts it again" in log.read_text()) == ("--batch" in blow)


def test_in_a_container_without_slurm_a_job_that_preemption_would_cancel_goes_on(site):
    site.pace(0.1, 12)
    site.write(seeds=1, cluster=f"partition: doomed, {BARE}")
    site.fault("random.0", "hold")
    assert site.run() == 0
    site.started(site.trial(0))
    preempt()
    site.wait(lambda: site.record(0).state == "stopped")
    site.fault("random.0", "")
    site.wait(site.settled)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=12)
    assert site.result(0)["details"]["starts"] == 2
    assert "(n=1)" in (site.root / "report.txt").read_text()  # by a job that asked Slurm about the others


def test_a_job_that_preemption_ends_at_once_is_submitted_again_as_plan_says(site, capsys):
    file = site.write(seeds=1, cluster="partition: axed")
    assert twinbench.main(["suite", "plan", str(file)]) == 0
    assert "partition axed ends what it preempts, at once: such a job is submitted again" in capsys.readouterr().out
    site.fault("random.0", "hold")
    assert site.run() == 0
    first = site.started(site.trial(0)).job_id
    preempt()
    site.wait(lambda: first not in {entry.slurm_id for entry in site.queued()})
    site.fault("random.0", "")
    site.wait(lambda: site.result_exists(0))
    assert site.result(0)["metrics"]["top1"] == site.value(0)
    assert site.result(0)["details"]["starts"] == 2
    assert site.statuses()[site.trial(0)].record.job_id != first


def test_a_job_that_gets_no_further_ends_and_says_what_to_raise(site, monkeypatch):
    def impatient(into):
        code = site.snapshot(into)
        node = code / "twinbench/slurm/node.py"
        node.write_text(
            node.read_text().replace("MOST_OVERDUE, MOST_FRUITLESS = 3, 20", "MOST_OVERDUE, MOST_FRUITLESS = 3, 2")
        )
        return code

    monkeypatch.setattr(launch, "take_snapshot", impatient)
    site.pace(100, 2)
    site.write(seeds=1)
    assert site.run() == 0
    for start in (1, 2, 3):  # the first run makes a file or two, and so counts as an advance
        site.wait(lambda start=start: site.record(0) and site.record(0).starts == start)
        site.wait((site.root / site.trial(0) / "place").exists)
        subprocess.run(["scancel", "--signal=USR2", site.statuses()[site.trial(0)].job_id], check=True)
    site.wait(site.settled)
    assert site.states()[site.trial(0)] == "failed"
    assert site.record(0).cause == "fruitless"
    assert site.record(0).reason.startswith("was interrupted 2 times in a row and got no further; raise minutes")


def test_a_process_that_fails_ends_the_others_and_is_no_preemption(site):
    site.write("{mine: {pretrain: {recipe: demo}}}", seeds=1, cluster="nodes: 2")
    site.fault("train.0", "hold")
    site.fault("process.1", "fail")
    assert site.run() == 0
    site.wait(site.settled)
    pretraining = site.statuses()["mine/pretrain"]
    assert pretraining.state == "failed"
    assert "process 1 ended with exit code 1" in pretraining.reason
    assert pretraining.record.starts == 1


def test_real_workers_survive_a_requeue_and_a_dead_node_bit_for_bit(site, scenes, monkeypatch):
    monkeypatch.setattr(launch, "take_snapshot", take_snapshot)
    plan = "{pretrain: {recipe: demo, set: {epochs: 5, batch_size: 8, projector: [16, 16], crop: 32}}}"
    file = site.write(f"{{hit: {plan}, other: {plan}}}", seeds=1, cluster="mem_gb_per_gpu: 4")
    file.write_text(file.read_text().replace("imagenet: data", f"imagenet: {scenes / 'imagenet'}"))
    assert site.run() == 0
    hit, other = site.root / "hit/pretrain", site.root / "other/pretrain"
    site.wait((hit / "log.jsonl").exists, pause=0.1)  # its first step is near
    subprocess.run(["scontrol", "requeue", site.statuses()["hit/pretrain"].job_id], check=True)
    site.wait(lambda: read_record(hit).starts == 2, pause=0.1)
    second = read_record(hit)
    site.wait(lambda: (hit / "checkpoint.pth").stat().st_mtime > second.started, pause=0.1)
    site.service("kill", second.node)
    site.service("start", second.node)
    site.wait(lambda: (hit / "resnet50.pth").exists() and (other / "resnet50.pth").exists())
    assert (hit / "resnet50.pth").read_bytes() == (other / "resnet50.pth").read_bytes()
    assert read_record(hit).starts == 3
