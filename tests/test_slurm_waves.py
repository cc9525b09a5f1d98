"""Rounds on a Slurm that is a list in this process: waves that top themselves up, retries, torn ledgers, cancelling."""

import json
import os
import random
from dataclasses import dataclass, field, replace

import pytest

from twinbench.slurm import launch, scheduler, view
from twinbench.slurm.ledger import FILE, Ledger
from twinbench.slurm.scheduler import Accounted, QueueFull, SchedulerError
from twinbench.slurm.steward import steward
from twinbench.suite.graph import build_jobs
from twinbench.suite.job import Job
from twinbench.suite.record import Record
from twinbench.suite.suite import read_suite

PRETRAIN = "{pretrain: {recipe: demo}}"
RANDOM = "{checkpoint: random}"


@dataclass
class Entry:
    """A job of the pretended Slurm."""

    slurm_id: str
    name: str  # of its batch
    job: str  # of the suite
    after: dict[str, list[str]]  # ids it waits for, by `afterok` and `afterany`
    cluster: object
    begin: bool = False  # not before a time that is far away
    state: str = "PENDING"


@dataclass
class Slurm:
    """What sbatch, squeue, sacct, scontrol and scancel do, as far as a suite sees it."""

    file: object = None
    limit: int = 0  # jobs in the queue, as a rule says; 0: none
    hidden: int = 0  # the same, but no rule says it
    entries: list[Entry] = field(default_factory=list)
    ended: dict[str, Accounted] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # why jobs of the suite wait
    done: set[str] = field(default_factory=set)
    submitted: list[Entry] = field(default_factory=list)
    late: int = 0  # questions that accounting answers as if jobs that ended still ran
    tables: int = 0
    most: int = 0

    def submit(self, suite, jobs, name, dependency, begin=""):
        bound = self.limit or self.hidden
        if bound and len(self.entries) + len(jobs) > bound:
            raise QueueFull("sbatch refused a batch: job submit limit")
        number = len(self.submitted) + 1
        after = {}
        for term in filter(None, dependency.split(",")):
            kind, *ids = term.split(":")
            after.setdefault(kind, []).extend(ids)
        for index, (job, cluster) in enumerate(jobs):
            slurm_id = f"{number}_{index}" if len(jobs) > 1 else str(number)
            self.entries.append(Entry(slurm_id, name, job, after, cluster, bool(begin)))
            self.submitted.append(self.entries[-1])
        self.most = max(self.most, len(self.entries))
        return str(number)

    def ask(self, program, *words, stdin=""):
        if program == "squeue":
            return [f"{e.slurm_id}|{e.name}|{e.state}|a|q|{self.reasons.get(e.job, 'None')}" for e in self.entries]
        if program == "sacct":
            known = {e.slurm_id: e.name for e in self.submitted}
            if any("ReqMem" in word for word in words):
                self.late = max(0, self.late - 1)
                if self.late:
                    return [f"{key}|{known[key]}|RUNNING|0:0|n1|4G" for key in self.ended]
                return [f"{key}|{known[key]}|{told.state}|0:0|n1|4G" for key, told in self.ended.items()]
            return [f"{key}|n1" for key in self.ended]
        if program == "scancel":
            gone = set(words)
            self.entries = [e for e in self.entries if not {e.slurm_id, e.slurm_id.partition("_")[0]} & gone]
        if words[:2] == ("show", "config"):
            return [f"MaxJobCount = {self.limit}"] if self.limit else []
        if words[:2] == ("show", "hostnames"):
            return [words[2]]
        if words[:1] == ("update",):
            waiting = next(
                (e for e in self.entries if f"JobId={e.slurm_id}" == words[1] and e.state == "PENDING"), None
            )
            if not waiting:
                raise SchedulerError("Job is not pending")
            waiting.after, waiting.begin = {"afterany": words[2].split(":")[1:]}, False
        return []

    def ready(self, entry):
        """Say whether a pending job may start."""
        alive = {e.slurm_id for e in self.entries} | {e.slurm_id.partition("_")[0] for e in self.entries}
        return not entry.begin and not any(need in alive for ids in entry.after.values() for need in ids)

    def drop_blocked(self):
        """Cancel what waits for the success of a job that failed."""
        for entry in list(self.entries):
            for need in entry.after.get("afterok", ()):
                ended = next((e for e in self.submitted if e.slurm_id == need), None)
                if ended and ended not in self.entries and ended.job not in self.done:
                    self.entries.remove(entry)
                    self.ended[entry.slurm_id] = Accounted("CANCELLED", "0:0", "")
                    break

    def end(self, entry, how="COMPLETED", monkeypatch=None):
        """End a running job: what NodeTask does last, unless all of it died at once."""
        name = entry.slurm_id.partition("_")
        keys = {"SLURM_ARRAY_JOB_ID": name[0], "SLURM_ARRAY_TASK_ID": name[2]} if name[2] else {"SLURM_JOB_ID": name[0]}
        root = read_suite(self.file).root
        with pytest.MonkeyPatch.context() as patch:
            for key in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID"):
                patch.delenv(key, raising=False)
            for key, value in keys.items():
                patch.setenv(key, value)
            if entry.job == "report":
                steward(root / "submitted.yaml")
            elif how in ("COMPLETED", "FAILED"):
                if how == "COMPLETED":
                    self.done.add(entry.job)
                state = "done" if how == "COMPLETED" else "failed"
                record = Record(state, "", job_id=entry.slurm_id)
                (root / entry.job).mkdir(parents=True, exist_ok=True)
                record.write(root / entry.job)
                launch.top_up(root)
        self.ended[entry.slurm_id] = Accounted(how, "0:0", "n1")
        self.entries = [e for e in self.entries if e is not entry]
        self.drop_blocked()

    def live(self, how=lambda entry: "COMPLETED", check=lambda: None, steps=2000):
        """Run until nothing is left, jobs of random lengths."""
        chance = random.Random(0)
        for _ in range(steps):
            for entry in self.entries:
                if entry.state == "PENDING" and self.ready(entry):
                    entry.state = "RUNNING"
            check()
            running = [e for e in self.entries if e.state == "RUNNING"]
            if not running:
                if not self.entries:
                    return
                assert any(e.begin for e in self.entries), "jobs wait for each other"
                for entry in self.entries:
                    entry.begin = False
                continue
            entry = chance.choice(running)
            self.end(entry, how(entry))
        raise AssertionError("no end to it")

    def run(self):
        suite = read_suite(self.file)
        return launch.submit_missing(suite, build_jobs(suite))

    def tries(self, name):
        """Return the clusters that a job was submitted with."""
        return [entry.cluster for entry in self.submitted if entry.job == name]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    fake = Slurm(tmp_path / "suite.yaml")

    def count_table(words):
        fake.tables += 1
        return 0

    monkeypatch.setattr(scheduler, "ask", fake.ask)
    monkeypatch.setattr(scheduler, "has_slurm", lambda: True)
    monkeypatch.setattr(launch, "take_snapshot", lambda into: into)
    monkeypatch.setattr(launch, "ASK_SECONDS", 0.0)
    monkeypatch.setattr(scheduler, "LAG_SECONDS", 0.0)
    monkeypatch.setattr(view, "PATIENCE", 0.0)
    monkeypatch.setattr(Job, "done", lambda job: job.name in fake.done)
    monkeypatch.setattr("twinbench.main", count_table)
    monkeypatch.setattr(
        "twinbench.slurm.sbatch.submit_trials",
        lambda suite, plan, code, name, dependency: fake.submit(
            suite, [(job.name, job.cluster) for job in plan.jobs], name, dependency
        ),
    )
    monkeypatch.setattr(
        "twinbench.slurm.sbatch.submit_report",
        lambda suite, file, code, name, dependency, begin="": fake.submit(
            suite, [("report", suite.report)], name, dependency, begin
        ),
    )
    for name in ("train/cat/cat_1.JPEG", "val/cat/1.JPEG", "1percent.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("cat_1.JPEG\n")
    return fake


def write(slurm, methods=f"{{random: {RANDOM}}}", seeds=3, cluster="", protocol="demo-imagenet-1pct"):
    slurm.file.write_text(
        f"name: many\nroot: out\nmethods: {methods}\nprotocols: {{{protocol}: {{seeds: {seeds}}}}}\n"
        f"data: {{imagenet: data}}\ncluster: {{gpus_per_node: 1, {cluster}}}\n"
    )
    return build_jobs(read_suite(slurm.file))


def trial(seed, method="random"):
    return f"{method}/demo-imagenet-1pct/seed{seed}"


def names(jobs):
    return {job.name for job in jobs if job.kind != "report"}


@pytest.mark.parametrize("methods", [f"{{random: {RANDOM}}}", f"{{a: {PRETRAIN}, b: {PRETRAIN}, random: {RANDOM}}}"])
@pytest.mark.parametrize("bound", [1, 3])
def test_max_running_holds_and_nothing_idles(slurm, bound, methods):
    jobs = write(slurm, methods, seeds=5, cluster=f"max_running: {bound}")
    needs = {job.name: job.needs for job in jobs}

    def check():
        running = [e.job for e in slurm.entries if e.state == "RUNNING" and e.job != "report"]
        known = {e.job for e in slurm.entries}
        startable = [n for n in names(jobs) - slurm.done - known if set(needs[n]) <= slurm.done]
        assert len(running) <= bound
        assert len(running) == bound or not startable

    slurm.run()
    slurm.live(check=check)
    assert slurm.done == names(jobs)
    assert slurm.tables == 1
    assert len(slurm.submitted) == len(names(jobs)) + len([e for e in slurm.submitted if e.job == "report"])


@pytest.mark.parametrize("kind", ["limit", "hidden"])
@pytest.mark.parametrize("bound", [3, 10])
def test_a_submit_limit_is_kept_and_all_is_run(slurm, kind, bound):
    jobs = write(slurm, f"{{a: {PRETRAIN}, random: {RANDOM}}}", seeds=8)
    setattr(slurm, kind, bound)
    slurm.run()
    slurm.live()
    assert slurm.done == names(jobs)
    assert slurm.most <= bound
    assert slurm.tables >= 1


def test_without_a_limit_all_is_submitted_at_once(slurm):
    jobs = write(slurm, f"{{a: {PRETRAIN}, random: {RANDOM}}}", seeds=10)
    assert [len(batch.jobs) for batch in slurm.run()] == [1, 10, 10, 1]
    slurm.live()
    assert slurm.done == names(jobs)
    assert len(slurm.submitted) == 22


@pytest.mark.parametrize("cause", ["NODE_FAIL", "BOOT_FAIL"])
def test_a_trial_whose_node_failed_is_tried_again_elsewhere(slurm, cause):
    write(slurm, seeds=2)
    slurm.run()
    slurm.live(lambda entry: cause if entry.job == trial(0) and len(slurm.tries(trial(0))) == 1 else "COMPLETED")
    assert slurm.done == {trial(0), trial(1)}
    assert [cluster.sbatch.get("exclude") for cluster in slurm.tries(trial(0))] == [None, "n1"]
    assert len(slurm.tries(trial(1))) == 1


def test_a_trial_that_keeps_failing_for_its_node_is_given_up(slurm):
    write(slurm, seeds=1, cluster="retries: {node: 3}")
    slurm.run()
    slurm.live(lambda entry: "NODE_FAIL")
    assert len(slurm.tries(trial(0))) == 1 + 3
    assert slurm.tables == 1


def test_a_trial_that_ran_out_of_memory_gets_twice_as_much(slurm):
    write(slurm, seeds=1, cluster="mem_gb_per_gpu: 6, retries: {memory: 2}")
    slurm.run()
    slurm.live(lambda entry: "OUT_OF_MEMORY")
    assert [cluster.mem_gb_per_gpu for cluster in slurm.tries(trial(0))] == [6, 12, 24]


def test_memory_is_told_by_what_slurm_said_where_nothing_else_was(slurm):
    """Of a job that was killed as a whole, a pretraining too."""
    write(slurm, f"{{a: {PRETRAIN}}}", seeds=1, cluster="mem_gb_per_gpu: 2")
    slurm.run()
    [entry] = [entry for entry in slurm.entries if entry.job == "a/pretrain"]
    folder = slurm.file.parent / "out/slurm" / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{entry.slurm_id}_0_log.out").write_text("slurmstepd: error: Detected 1 oom-kill event(s)\n")
    slurm.live(lambda ending: "CANCELLED by 0" if ending is entry else "COMPLETED")
    assert [cluster.mem_gb_per_gpu for cluster in slurm.tries("a/pretrain")] == [2, 4]
    assert slurm.done == {"a/pretrain", trial(0, "a")}


def test_memory_that_the_site_chose_is_doubled_from_what_accounting_says(slurm):
    write(slurm, seeds=1)
    slurm.run()
    slurm.live(lambda entry: "OUT_OF_MEMORY")
    assert [cluster.mem_gb_per_gpu for cluster in slurm.tries(trial(0))] == [0, 8]  # sacct: 4G


def test_what_a_partition_cancelled_for_another_is_submitted_again(slurm):
    jobs = write(slurm, f"{{a: {PRETRAIN}}}", seeds=2)
    slurm.run()
    slurm.live(lambda entry: "PREEMPTED" if len(slurm.tries(entry.job)) < 4 else "COMPLETED")
    assert slurm.done == names(jobs)
    assert len(slurm.tries("a/pretrain")) == 4


def test_accounting_that_is_late_is_asked_again(slurm):
    write(slurm, seeds=1)
    slurm.run()
    slurm.late = 2
    slurm.live(lambda entry: "PREEMPTED" if len(slurm.tries(entry.job)) == 1 and entry.job != "report" else "COMPLETED")
    assert slurm.done == {trial(0)}


def test_a_failure_without_such_a_cause_is_not_tried_again(slurm):
    write(slurm, f"{{a: {PRETRAIN}, random: {RANDOM}}}", seeds=2)
    slurm.run()
    slurm.live(lambda entry: "FAILED" if entry.job in ("a/pretrain", trial(1)) else "COMPLETED")
    assert slurm.done == {trial(0)}
    assert len(slurm.tries(trial(1))) == len(slurm.tries("a/pretrain")) == len(slurm.tries(trial(0, "a"))) == 1
    assert slurm.tables == 1
    slurm.run()
    slurm.live()
    assert slurm.done == {"a/pretrain", *(trial(seed, method) for seed in (0, 1) for method in ("a", "random"))}


def test_what_runs_while_a_second_round_begins_belongs_to_it(slurm):
    write(slurm, seeds=2)
    slurm.run()
    assert slurm.run() == []
    write(slurm, seeds=3)
    slurm.run()
    slurm.live(lambda entry: "FAILED" if entry.job == trial(0) else "COMPLETED")
    assert [len(slurm.tries(trial(seed))) for seed in range(3)] == [1, 1, 1]


TORN = ('{"batch": "many.', "\n\n", "null\n", "[1, 2]\n", '{"batch": 7, "jobs": "x"}\n', '{"run": 1}\n', "\x00\x01\n")


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_doubles_nothing_and_hides_nothing(slurm, torn):
    write(slurm, seeds=4)
    slurm.run()
    ledger = slurm.file.parent / "out" / FILE
    ledger.write_text(torn + ledger.read_text().split("\n", 2)[2])  # the round's line and the first batch are lost
    for _ in range(3):
        slurm.run()
    assert len(slurm.tries(trial(0))) == 1
    assert launch.cancel_all(read_suite(slurm.file)) == 5
    assert not slurm.entries


def test_a_line_after_a_torn_one_stands_for_itself(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.begin((), ())
    with (tmp_path / FILE).open("a") as file:
        file.write('{"batch": "s.1", "jo')
    Ledger(tmp_path).cancel(["x"])
    again = Ledger(tmp_path)
    assert again.cancelled == {"x"}
    assert again.damaged == [2]
    assert "passed over what is no line of it (2)" in again.problem


def test_a_disk_that_fills_up_while_a_batch_is_announced_submits_nothing(slurm, monkeypatch):
    write(slurm, seeds=2)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    slurm.run()
    launch.cancel_all(read_suite(slurm.file))
    before = len(slurm.submitted)
    monkeypatch.setattr("twinbench.runtime.progress.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        slurm.run()
    assert len(slurm.submitted) == before


def test_after_cancel_jobs_that_end_submit_no_more(slurm):
    write(slurm, seeds=5, cluster="max_running: 2")
    slurm.run()
    running = slurm.entries[0]
    slurm.entries.append(replace(running))  # cancelled, but still saving its state
    assert launch.cancel_all(read_suite(slurm.file)) == 3
    slurm.end(running)
    assert slurm.entries == []
    slurm.run()
    slurm.live()
    assert len(slurm.done) == 5


def test_one_trial_is_cancelled_and_not_submitted_later(slurm):
    write(slurm, seeds=5, cluster="max_running: 2")
    slurm.run()
    assert launch.cancel_all(read_suite(slurm.file), [trial(0), trial(4)]) == 1
    slurm.live()
    assert slurm.done == {trial(1), trial(2), trial(3)}
    assert len(slurm.tries(trial(4))) == 0


def test_a_part_of_a_suite_is_a_round_of_its_own(slurm):
    jobs = write(slurm, seeds=4, cluster="max_running: 1")
    launch.submit_missing(read_suite(slurm.file), [job for job in jobs if job.name in (trial(1), trial(2))])
    slurm.live()
    assert slurm.done == {trial(1), trial(2)}


def test_a_look_at_one_job_tells_nothing_false_of_the_others(slurm):
    from twinbench.slurm.launcher import SlurmLauncher

    write(slurm, f"{{a: {PRETRAIN}, random: {RANDOM}}}", seeds=3)
    slurm.run()
    suite = read_suite(slurm.file)
    everything = [entry.job for entry in slurm.entries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "PATIENCE", 20.0)
        SlurmLauncher().look(suite, everything[:1], fresh=True)
        assert {seen.state for seen in SlurmLauncher().look(suite, everything).jobs.values()} == {"queued"}
        for entry in slurm.entries[:3]:
            slurm.end(entry, "FAILED")
        SlurmLauncher().look(suite, everything[:1], fresh=True)  # asks accounting of one that has gone
        states = {name: seen.state for name, seen in SlurmLauncher().look(suite, everything).jobs.items()}
    assert "lost" not in states.values()


def test_what_slurm_will_never_start_is_replaced_by_the_next_run(slurm):
    write(slurm, seeds=1)
    slurm.run()
    slurm.reasons = dict.fromkeys((trial(0), "report"), "(PartitionTimeLimit)")
    slurm.run()
    assert len(slurm.tries(trial(0))) == 2
    assert len(slurm.entries) == 2  # a trial and a steward: the stuck ones were taken out


def test_what_a_node_could_not_start_is_taken_out_and_goes_elsewhere(slurm, monkeypatch):
    monkeypatch.setattr(launch, "LOOK_SECONDS", -1.0)
    write(slurm, seeds=2)
    slurm.run()
    slurm.reasons = {trial(0): "(launch failed requeued held)"}
    held, other = slurm.entries[1:]
    slurm.ended[held.slurm_id] = Accounted("REQUEUED", "0:0", "n1")
    slurm.end(other)
    assert held not in slurm.entries
    assert slurm.tries(trial(0))[1].sbatch == {"exclude": "n1"}


def test_what_somebody_holds_is_neither_failed_nor_submitted_again(slurm):
    from twinbench.slurm.launcher import SlurmLauncher

    write(slurm, seeds=1)
    slurm.run()
    slurm.reasons = {trial(0): "(JobHeldUser)"}
    assert slurm.run() == []
    seen = SlurmLauncher().look(read_suite(slurm.file), [trial(0)], fresh=True).jobs[trial(0)]
    assert (seen.state, seen.reason) == ("queued", "held; `scontrol release` lets it go")


def test_a_line_of_thousands_of_jobs_is_read_again(tmp_path):
    from twinbench.slurm.ledger import new_batch

    ledger = Ledger(tmp_path)
    jobs = [f"method{index}/imagenet-linear/seed{index}" for index in range(1000)]
    ledger.announce(new_batch("s", jobs))
    [batch] = Ledger(tmp_path).batches.values()
    assert list(batch.jobs) == jobs
    assert json.loads((tmp_path / "slurm" / batch.slurm_name / "jobs.json").read_text())["jobs"] == jobs


def test_status_tells_a_damaged_ledger_and_a_wave_that_failed(slurm):
    from twinbench.slurm.launcher import SlurmLauncher

    write(slurm, seeds=1)
    slurm.run()
    root = slurm.file.parent / "out"
    assert SlurmLauncher().look(read_suite(slurm.file), [trial(0)]).notes == ()
    with (root / FILE).open("a") as file:
        file.write("{torn\n")
    (root / "slurm/top-up.log").write_text("2026-11-26 12:00:00 job 7: SchedulerError('sbatch: no such program')\n")
    damaged, failed = SlurmLauncher().look(read_suite(slurm.file), [trial(0)]).notes
    assert damaged.startswith(f"{root / FILE}: passed over what is no line of it")
    assert "a job could not submit what follows (2026-11-26 12:00:00 job 7: SchedulerError" in failed


def test_status_tells_how_many_wait_for_room(slurm):
    from twinbench.slurm.launcher import SlurmLauncher

    write(slurm, seeds=5, cluster="max_running: 2")
    slurm.run()
    [note] = SlurmLauncher().look(read_suite(slurm.file), [trial(0)]).notes
    assert note.startswith("3 jobs wait for room (max_running, or a limit of the site)")


def test_a_log_of_an_earlier_round_is_not_told(slurm):
    from twinbench.slurm.launcher import SlurmLauncher

    write(slurm, seeds=1)
    log = slurm.file.parent / "out/slurm/top-up.log"
    log.parent.mkdir(parents=True)
    log.write_text("old\n")
    os.utime(log, (1, 1))
    slurm.run()
    assert SlurmLauncher().look(read_suite(slurm.file), [trial(0)]).notes == ()


def test_a_steward_whose_submission_was_killed_waits_for_the_jobs_after_the_next_run(slurm, monkeypatch):
    write(slurm, seeds=2)

    def killed(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twinbench.slurm.wave._waits", killed)
        with pytest.raises(KeyboardInterrupt):
            slurm.run()
    assert slurm.entries[0].begin
    assert slurm.run() == []
    assert not slurm.entries[0].begin
    slurm.live()
    assert slurm.tables == 1
