"""Rounds on a real Slurm: limits of the site, nodes that fail, what the suite's own jobs submit after others."""

import os
from pathlib import Path

import pytest

import twinbench
from twinbench.slurm.ledger import FILE, Ledger
from twinbench.suite.job import REPORT
from twinbench.suite.record import read_end

FEW = "qos: few"  # which takes ten jobs of a user at once, see cluster.sh


@pytest.fixture
def failing_prolog():
    """Return the file that names nodes on which no job starts."""
    path = Path(os.environ["SLURM_CONF"]).parent / "prolog.fails"
    yield path
    path.unlink(missing_ok=True)


def most_at_once(site, count):
    """Watch until a suite has settled; return the most that `count` said."""
    most = 0

    def settled():
        nonlocal most
        most = max(most, count())
        return site.settled()

    site.wait(settled, 240, pause=0.2)
    return most


def test_more_jobs_than_a_site_takes_go_in_waves_without_a_login(site):
    site.write(seeds=21, cluster=FEW)
    assert site.run() == 0
    assert len(site.queued()) <= 10
    assert most_at_once(site, lambda: len(site.queued())) <= 10
    assert set(site.states().values()) == {"done"}
    assert "(21)" in (site.root / "report.txt").read_text()


def test_plan_tells_the_limit(site, capsys):
    file = site.write(seeds=21, cluster=FEW)
    assert twinbench.main(["suite", "plan", str(file)]) == 0
    assert "takes 10 jobs of yours at once (MaxSubmitJobsPU of qos few)" in capsys.readouterr().out


def test_max_running_is_kept_and_its_places_are_filled(site):
    site.pace(0.2, 8)
    site.write("{mine: {pretrain: {recipe: demo}}, random: {checkpoint: random}}", seeds=4, cluster="max_running: 3")
    site.fault("train.0", "hold")
    assert site.run() == 0

    def working():
        """Count the jobs on nodes but for the steward and those that are at their last act, of submitting others."""
        ids = {entry.slurm_id for entry in site.queued() if entry.state == "RUNNING"}
        latest = {name: slurm_id for name, (_, slurm_id) in Ledger(site.root).latest().items() if name != REPORT}
        return sum(slurm_id in ids and not read_end(site.root / name, slurm_id) for name, slurm_id in latest.items())

    # beside a pretraining that takes its time, the other method gets on
    site.wait(lambda: all(site.result_exists(seed) for seed in range(4)))
    assert not (site.root / "mine/pretrain/resnet50.pth").exists()
    site.fault("train.0", "")
    assert most_at_once(site, working) <= 3
    assert set(site.states().values()) == {"done"}


def test_a_held_launch_is_told(site, failing_prolog):
    failing_prolog.write_text("n1\nn2\n")
    site.write(seeds=1, cluster="retries: {node: 0}")
    assert site.run() == 0
    site.wait(lambda: site.states()[site.trial(0)] == "failed")
    assert "its node could not start it, and Slurm holds it" in site.statuses()[site.trial(0)].reason
    failing_prolog.unlink()
    assert site.run() == 0  # takes the held ones out and submits them anew
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}


def test_a_trial_that_ran_out_of_memory_gets_more(site):
    site.write(seeds=1, cluster="mem_gb_per_gpu: 1")
    site.fault("random.0", "memory")  # 1.5 GB
    assert site.run() == 0
    site.wait(site.settled)
    assert set(site.states().values()) == {"done"}
    assert [batch.mem_gb for batch in Ledger(site.root).batches.values() if batch.cause == "memory"] == [2]


def test_a_ledger_that_a_full_disk_has_torn_doubles_no_job(small_disk, site):
    site.pace(0.1, 20)
    site.write(seeds=2)
    for seed in range(2):
        site.fault(f"random.{seed}", "hold")
    assert site.run() == 0
    site.wait(lambda: sum(entry.state == "RUNNING" for entry in site.queued()) == 2)
    log = site.root / FILE
    steward, whole = log.read_text().splitlines(keepends=True)[1], log.read_text()
    log.write_text(whole[: whole.index(steward)])  # nothing is written down of any submission
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    with pytest.raises(OSError, match="No space left"):
        Ledger(site.root).cancel(f"x{number}" for number in range(10_000))
    assert not log.read_text().endswith("\n")
    filler.unlink()
    for _ in range(3):
        assert site.run() == 0
    assert len(site.queued()) == 3
    assert "passed over what is no line of it" in Ledger(site.root).problem
    assert twinbench.main(["suite", "cancel", str(site.folder / "suite.yaml")]) == 0
    site.wait(lambda: not site.queued())
    assert not any(site.result_exists(seed) for seed in range(2))
