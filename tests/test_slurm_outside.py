"""The shell around a job, with small programs in Slurm's place; and how runs that got no further are counted."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from twinbench.report.provenance import code_root
from twinbench.slurm import launch
from twinbench.slurm.node import MOST_FRUITLESS, MOST_OVERDUE, TOP_UP_LOG, _futile, _top_up
from twinbench.slurm.outside import batch_script
from twinbench.suite import record as records

PYTHON = f"{sys.executable} -c"
READY = "touch $TWINBENCH_OUTSIDE/ready"


class Shell:
    """A batch script in a folder, and Slurm's programs as far as it needs them."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir()
        self.program("squeue", "echo RUNNING")
        self.program("scontrol", f"echo $* >>{folder}/asked")
        self.program("srun", 'exec "$@"')

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def start(self, command="true", setup=(), late=1000):
        text = batch_script("#!/bin/bash", setup, f"srun {command}", self.folder, code_root(), late)
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "8"}
        environment |= {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
        return subprocess.Popen(["bash", "-c", text], env=environment, stdout=subprocess.PIPE, text=True)

    def warned(self, number=signal.SIGUSR2, **options):
        """Run a job whose set-up takes long, and warn it in its first moment."""
        shell = self.start(setup=["sleep 0.3"], **options)
        while not (self.folder / "7_1.run0").exists():
            time.sleep(0.005)
        shell.send_signal(number)
        return shell.communicate()[0], shell.returncode

    @property
    def asked(self):
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_job_warned_in_its_set_up_is_put_back(shell, number):
    said, _ = shell.warned(number)
    assert shell.asked == ["requeue 7_1"]
    assert "before its work began; Slurm starts it again" in said


def test_a_cancelled_job_is_not(shell):
    shell.program("squeue", "echo COMPLETING")
    shell.warned(signal.SIGTERM)
    assert not shell.asked


@pytest.mark.parametrize(("before", "late", "asks"), [(18, 1000, 1), (19, 1000, 0), (1, 0, 1), (2, 0, 0)])
def test_a_set_up_that_never_ends_in_time_is_not_tried_for_ever(shell, before, late, asks):
    (shell.folder / "7_1.early").write_text(f"{before}\n")
    said, code = shell.warned(late=late)
    assert len(shell.asked) == asks
    assert asks or code == 1
    assert asks or f"interrupted {before + 1} times in a row before its work began" in said


def test_a_job_that_cannot_be_put_back_fails_and_says_so(shell):
    shell.program("scontrol", "exit 1")
    said, code = shell.warned()
    assert code == 1
    assert "could not be put back in the queue" in said


@pytest.mark.parametrize(
    ("command", "setup", "code"),
    [("true", ["set -e", "(exit 9)", "set +e"], 9), ("bash -c 'exit 3'", [], 3), ("true", [], 0)],
)
def test_the_jobs_exit_code_is_its_own(shell, command, setup, code):
    assert shell.start(command, setup).wait() == code
    assert not shell.asked
    assert not list(shell.folder.glob("*.run*"))


@pytest.mark.parametrize(("word", "asked"), [("", ["requeue 7_1"]), ("; touch $TWINBENCH_OUTSIDE/settled", [])])
def test_a_step_that_died_of_the_signal_is_put_back_unless_it_had_settled(shell, word, asked):
    shell.start(f"bash -c '{READY}{word}; kill -TERM $$'").wait()
    assert shell.asked == asked


def test_once_it_is_ready_the_job_itself_is_warned(shell):
    wait = "until [[ -e $TWINBENCH_OUTSIDE/warned ]]; do sleep 0.01; done"
    process = shell.start(f"bash -c '{READY}; {wait}; touch $TWINBENCH_OUTSIDE/settled; exit 5'")
    while not list(shell.folder.glob("*.run0/ready")):
        time.sleep(0.005)
    process.send_signal(signal.SIGUSR2)
    assert process.wait() == 5
    assert not shell.asked


def test_slurms_programs_answer_where_they_are_not_and_a_new_job_inherits_nothing(shell):
    shell.program("sbatch", 'echo "$1|$(cat)|$SLURM_ARRAY_TASK_ID$SLURM_JOB_ID"; echo no >&2; exit $2')
    code = (
        "from twinbench.slurm.scheduler import ask, has_slurm, SchedulerError\n"
        'print(has_slurm(), ask("sbatch", "a b", "0", stdin="text"), ask("squeue"))\n'
        'try: ask("sbatch", "", "2")\n'
        "except SchedulerError as error: print(error)\n"
    )
    said, _ = shell.start(f"env PATH=/nowhere {PYTHON} '{code}'").communicate()
    assert said.splitlines() == ["True ['a b|text|'] ['RUNNING']", "sbatch: no"]


def test_a_failing_top_up_is_noted_and_fails_no_job(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "top_up", lambda root: 1 / 0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    (tmp_path / "slurm").mkdir()
    _top_up(tmp_path)
    assert " job 7: ZeroDivisionError('division by zero')" in (tmp_path / "slurm" / TOP_UP_LOG).read_text()


def run(out, write=None, *, overdue=False, abrupt=False, job_id="7"):
    """One run of a job that does `write` and is interrupted."""
    record = records.begin(out, "", (), job_id=job_id, length=("epoch", 9))
    if write:
        write()
    if not abrupt:
        records.end(out, records.counted(out, record, ("epoch", 9), overdue=overdue), "stopped")


def fruitless(out, job_id="7"):
    return records.begin(out, "", (), job_id=job_id, length=("epoch", 9)).fruitless


def test_runs_that_got_no_further_are_counted(tmp_path):
    for name in ("job.log", "log.txt", ".x.part", "log.jsonl"):  # say nothing of how far it is
        run(tmp_path, lambda name=name: (tmp_path / name).write_text(f"at {time.time_ns()}"))
    run(tmp_path, abrupt=True)
    assert fruitless(tmp_path) == 5


def test_a_new_submission_counts_anew(tmp_path):
    run(tmp_path)
    assert fruitless(tmp_path, "8") == 0


def test_a_kept_file_is_an_advance_and_the_same_one_again_is_none(tmp_path):
    run(tmp_path)
    run(tmp_path, lambda: (tmp_path / "checkpoint.pth").write_text("1"))
    assert fruitless(tmp_path) == 0
    run(tmp_path, lambda: (tmp_path / "checkpoint.pth").write_text("1"))
    run(tmp_path, lambda: (tmp_path / "checkpoint.pth").write_text("2"), abrupt=True)
    assert fruitless(tmp_path) == 0


def test_a_log_that_counts_on_is_an_advance_and_one_that_repeats_itself_is_none(tmp_path):
    def log(epoch):
        (tmp_path / "log.jsonl").write_text(json.dumps({"epoch": epoch, "time": time.time()}) + "\n")

    run(tmp_path, lambda: log(1))
    assert read(tmp_path).fruitless == 0
    run(tmp_path, lambda: log(0))
    run(tmp_path, lambda: log(1))
    assert read(tmp_path).fruitless == 2
    run(tmp_path, lambda: log(2))
    assert read(tmp_path).fruitless == 0


def read(out):
    record = records.read_record(out)
    assert record
    return record


@pytest.mark.parametrize(
    ("overdue", "most", "words"),
    [(True, MOST_OVERDUE, "ran out of time 3 times in a row"), (False, MOST_FRUITLESS, "was interrupted 20 times")],
)
def test_a_job_ends_after_three_time_limits_or_twenty_interruptions_without_an_advance(tmp_path, overdue, most, words):
    for _ in range(most - 1):
        run(tmp_path, overdue=overdue)
    assert not _futile(read(tmp_path))
    run(tmp_path, overdue=overdue)
    assert words in _futile(read(tmp_path))


@pytest.mark.parametrize(
    ("code", "said", "cause"),
    [
        (-9, "", "memory"),
        (1, "MemoryError: Unable to allocate 3 GiB", "memory"),
        (1, "slurmstepd: error: Exceeded job memory limit", "memory"),
        (1, "torch.OutOfMemoryError: CUDA out of memory", ""),
        (1, "RuntimeError: CUDA error: uncorrectable ECC error encountered", "node"),
        (1, "no such image: 17.jpg", ""),
    ],
)
def test_a_failure_names_its_cause_by_its_own_last_run(tmp_path, code, said, cause):
    (tmp_path / "job.log").write_text(f"\n$ first run\nMemoryError\n\n$ second run\n{said}\n")
    assert records.cause_of(tmp_path, code) == cause
