"""What a suite asks of a site reaches a real sbatch as it was written, each entry of the suite its own."""

from twinbench.slurm import scheduler
from twinbench.slurm.ledger import Ledger

COMMENT = """it's "two" $(touch /tmp/x) `ls` #SBATCH --wrap=x; a && b % ü"""


def entry(site, protocol="", report=""):
    """Write a suite whose only protocol, and report, have options of their own."""
    file = site.write(seeds=1)
    text = file.read_text().replace("{seeds: 1}", f"{{seeds: 1, {protocol}}}")
    file.write_text(f"{text}report: {{{report}}}\n")
    return file


def told(slurm_id):
    """Return what Slurm knows of a job, a line of it each."""
    return [line.strip() for line in scheduler.ask("scontrol", "show", "job", slurm_id)]


def test_each_entry_reaches_sbatch_as_it_is_written(site):
    quoted = COMMENT.replace("'", "''")
    options = f"{{comment: '{quoted}', exclude: n1, hold: true}}"
    entry(site, f"cluster: {{partition: low, sbatch: {options}}}", "partition: short, sbatch: {nice: 7}")
    assert site.run() == 0
    ids = {batch.jobs: batch.slurm_id for batch in Ledger(site.root).batches.values()}
    trial, report = ids[(site.trial(0),)], ids[("report",)]
    assert f"Comment={COMMENT}" in told(trial)
    words = " ".join(told(trial)).split()
    assert {"Partition=low", "ExcNodeList=n1", "Reason=JobHeldUser"} <= set(words)
    words = " ".join(told(report)).split()
    # half an hour is the most that `short` allows: an hour would never start
    assert {"Partition=short", "TimeLimit=00:30:00", "Nice=7"} <= set(words)
    scheduler.ask("scontrol", "release", trial)
    site.wait(site.settled)
    assert site.record(0).state == "done"
    assert (site.root / "report.txt").exists()


def test_a_mistake_names_the_entry(site, capsys):
    entry(site, "gpus: 16, minutes: 60, cluster: {partition: short, gpus_per_node: 4}", "partition: nowhere")
    assert site.run() == 2
    [line] = capsys.readouterr().err.splitlines()
    for words in (
        f"protocols.{site.protocol}.minutes: asks for 60 minutes, but partition short allows 30",
        f"protocols.{site.protocol}.gpus: asks for 4 nodes of 4, but partition short has 2",
        "report.partition: there is no partition 'nowhere' here",
    ):
        assert line.count(words) == 1
