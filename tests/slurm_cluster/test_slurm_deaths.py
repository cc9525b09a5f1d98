"""What happens to a suite's jobs on a real Slurm: whatever dies, every trial ends with the number it would have had."""

import os
import signal
import subprocess
import time

import pytest

from twinbench.protocols.catalogue import find_protocol
from twinbench.slurm.ledger import Ledger


def test_a_job_requeued_by_hand_resumes_and_is_not_submitted_again(site):
    site.pace(0.1, 20)
    site.write(seeds=1)
    site.fault("random.0", "hold")
    assert site.run() == 0
    status = site.started(site.trial(0))
    epochs = find_protocol(site.protocol).recipe.epochs
    assert status.state == "running"
    assert status.advance
    assert status.advance.total == epochs
    subprocess.run(["scontrol", "requeue", status.job_id], check=True)
    site.fault("random.0", "")
    assert site.run() == 0
    assert len(Ledger(site.root).batches) == 2
    site.wait(site.settled, 90)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=20)
    assert site.result(0)["details"]["starts"] == 2


def test_a_job_whose_node_dies_resumes_elsewhere_to_the_same_number(site):
    site.pace(0.1, 20)
    site.write(seeds=1)
    site.fault("random.0", "hold")
    assert site.run() == 0
    node = site.started(site.trial(0)).reason
    site.service("kill", node)
    site.fault("random.0", "")
    try:
        site.wait(lambda: site.result_exists(0), 90)
    finally:
        site.service("start", node)
    site.wait(site.settled, 90)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=20)
    assert site.result(0)["details"]["starts"] == 2


@pytest.mark.parametrize("blow", ["preemption", "warning", "preemption without warning"])
def test_a_preempted_job_gives_way_and_resumes(site, blow):
    if blow == "preemption without warning":
        site.preempt_without_warning()
    site.pace(0.1, 24)
    site.write(seeds=1, cluster="partition: low")
    site.fault("random.0", "hold")
    assert site.run() == 0
    status = site.started(site.trial(0))
    if blow == "warning":
        subprocess.run(["scancel", "--signal=USR2", status.job_id], check=True)
    else:
        asked = ("--partition=high", "--nodes=2", "--gpus-per-node=4", "--output=/dev/null", "--wrap=sleep 3")
        subprocess.run(["sbatch", *asked], check=True, capture_output=True)
    site.wait(lambda: site.record(0).state == "stopped")
    site.fault("random.0", "")
    assert "Slurm starts it again" in site.record(0).reason
    site.wait(site.settled)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=24)
    assert site.result(0)["details"]["starts"] == 2


def test_a_job_out_of_time_is_warned_and_goes_on_in_a_second_run(site):
    site.pace(1.0, 40)
    site.write(seeds=1, cluster="partition: low")
    assert site.run() == 0
    status = site.started(site.trial(0))
    # The shortest limit there is; Slurm warns 30 to 90 s before its end (signal_delay_s, and its own minute), so now.
    subprocess.run(["scontrol", "update", f"JobId={status.job_id}", "TimeLimit=1"], check=True)
    site.wait(lambda: site.record(0).state == "stopped")
    assert site.record(0).reason == "out of time or preempted; Slurm starts it again"
    site.wait(site.settled, 180)
    assert site.result(0)["metrics"]["top1"] == site.value(0, steps=40)
    assert site.result(0)["details"]["starts"] >= 2


def test_what_only_slurm_knows_is_told(site):
    site.pace(0.1, 12)
    site.write(seeds=3, cluster="mem_gb_per_gpu: 1")
    site.fault("random.0", "memory")
    site.fault("random.1", "hold")
    assert site.run() == 0
    names = [site.trial(seed) for seed in range(3)]
    site.wait(lambda: (site.root / names[1] / "log.jsonl").exists())
    subprocess.run(["scancel", site.statuses()[names[1]].job_id], check=True)
    site.wait(site.settled, 60)
    seen = site.statuses()
    assert [seen[name].state for name in names] == ["failed", "failed", "done"]
    assert seen[names[0]].reason.startswith("killed for memory: raise cluster.mem_gb_per_gpu")
    assert seen[names[1]].reason.startswith("cancelled")
    table = (site.root / "report.txt").read_text()
    assert "seed 0: failed" in table
    assert "seed 1: failed: cancelled" in table


def test_a_disk_that_fills_up_costs_one_run_and_no_result(small_disk, site):
    site.write(seeds=2)
    site.fault("random.0", "fill")
    assert site.run() == 0
    site.wait(site.settled, 90)
    filler = small_disk / site.trial(0) / "filler"
    assert filler.stat().st_size > 40_000_000
    assert site.states()[site.trial(0)] == "failed"
    filler.unlink()
    site.fault("random.0", "")
    assert site.run() == 0
    site.wait(site.settled, 90)
    assert [site.result(seed)["metrics"]["top1"] for seed in (0, 1)] == [site.value(0), site.value(1)]


def test_accounting_and_controller_may_be_away_for_a_minute(site, capsys):
    site.pace(0.1, 20)
    site.write(seeds=2, cluster="max_running: 1")
    site.fault("random.0", "hold")
    assert site.run() == 0
    name = site.trial(0)
    site.started(name)
    site.wait(site.controller_has_saved)
    site.service("kill", "slurmctld")
    site.service("kill", "slurmdbd")
    back = time.monotonic() + 60
    try:
        status = site.statuses()[name]
        assert status.state == "running"
        assert "follows is from files" in site.problem
        site.fault("random.0", "")
        site.wait(lambda: site.result_exists(0))
        assert site.states()[name] == "done"
        assert site.run() == 2
        assert "no cluster answers" in capsys.readouterr().err
        time.sleep(max(0.0, back - time.monotonic()))
    finally:
        site.service("start", "slurmctld")
    site.wait(site.settled)
    for seed in (0, 1):
        assert site.result(seed)["metrics"]["top1"] == site.value(seed, steps=20)
        assert site.result(seed)["details"]["starts"] == 1
    assert "(2)" in (site.root / "report.txt").read_text()


def test_a_submission_that_was_killed_half_way_is_found_again(site, monkeypatch):
    site.pace(0.1, 10)
    site.write(seeds=2)
    for seed in (0, 1):
        site.fault(f"random.{seed}", "hold")
    confirm = Ledger.confirm

    def killed(ledger, batch, slurm_id):
        if len(batch.jobs) > 1:
            raise KeyboardInterrupt
        return confirm(ledger, batch, slurm_id)

    monkeypatch.setattr(Ledger, "confirm", killed)
    assert site.run() == 130
    monkeypatch.setattr(Ledger, "confirm", confirm)
    assert len(site.queued()) == 3  # the steward and the array, of which nobody wrote down the number
    assert site.run() == 0
    for seed in (0, 1):
        site.fault(f"random.{seed}", "")
    assert [len(batch.jobs) for batch in Ledger(site.root).batches.values()] == [1, 2]  # the steward, and now the array
    site.wait(site.settled)
    assert site.result(1)["details"]["starts"] == 1


def test_the_login_shell_may_go_at_any_moment(site):
    site.pace(0.1, 10)
    site.write("{mine: {pretrain: {recipe: demo}}, random: {checkpoint: random}}", seeds=2)
    submitter = os.fork()  # with our small workers in it
    if not submitter:
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
        os._exit(site.run())
    site.wait((site.root / "jobs.jsonl").exists, pause=0.001)
    os.killpg(submitter, signal.SIGHUP)
    assert os.waitstatus_to_exitcode(os.waitpid(submitter, 0)[1]) == -signal.SIGHUP  # before it was through
    assert len(Ledger(site.root).batches) < 4
    assert site.run() == 0
    site.wait(site.settled)
    for method in ("mine", "random"):
        for seed in (0, 1):
            assert site.result(seed, method)["metrics"]["top1"] == site.value(seed, steps=10)
            assert site.result(seed, method)["details"]["starts"] == 1
