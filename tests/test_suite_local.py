"""The local runner, on small jobs of its own: order, bounds, failures, and every way to be stopped."""

import errno
import fcntl
import io
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from twinbench.suite import local
from twinbench.suite.display import Display, has_screen
from twinbench.suite.job import Job
from twinbench.suite.local import LocalRunner, Machine, loader_flags
from twinbench.suite.lock import Holder, only_runner, running_holder
from twinbench.suite.record import Record, read_record
from twinbench.suite.suite import SuiteError

ROOT = Path(__file__).parent.parent
WRITE = "open('result.json', 'w').write('{}')"  # every job runs in its own folder


def job(folder, name, code=WRITE, needs=(), gpus=1, kind="trial"):
    """Return a job whose `argv` is Python code to run in its folder."""
    product = "result.json" if kind == "trial" else "resnet50.pth"
    return Job(name, kind, (code.replace("result.json", product),), folder / name, needs=needs, gpus=gpus)


def python(job, _processes, _threads):
    return [sys.executable, "-c", textwrap.dedent(job.argv[0])]


def run(jobs, slots=("",), cores=4, command=python):
    return LocalRunner(jobs, Machine(tuple(slots), cores), Display(len(jobs), 0), command).run()


def test_a_job_runs_after_those_it_needs(tmp_path):
    late = job(tmp_path, "late", f"open('../early/result.json'); {WRITE}", needs=("early",))
    early = job(tmp_path, "early", f"import time; time.sleep(0.3); {WRITE}")
    assert run([late, early], slots=("", "")) == {}
    record = read_record(late.out)
    assert record
    assert (record.state, record.code, record.starts) == ("done", 0, 1)


def test_a_job_lets_another_go_first_and_runs_even_if_that_fails(tmp_path):
    first = job(tmp_path, "first", "import time; time.sleep(0.3); open('../ended', 'w'); 1 / 0")
    second = replace(job(tmp_path, "second", f"open('../ended'); {WRITE}"), after=("first",))
    assert list(run([second, first], slots=("", ""))) == ["first"]
    assert second.product.exists()


def test_no_more_jobs_at_once_than_slots(tmp_path):
    span = f"import time; start = time.time(); time.sleep(0.2); print(start, time.time()); {WRITE}"
    jobs = [job(tmp_path, f"j{i}", span) for i in range(6)]
    assert run(jobs, slots=("", "")) == {}
    spans = [tuple(map(float, (entry.out / "job.log").read_text().split("\n")[-2].split())) for entry in jobs]
    at_once = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert max(at_once) == 2


def test_each_gpu_takes_one_job_and_a_wide_one_waits_for_room(tmp_path):
    tell = f"import os, time; print(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(0.2); {WRITE}"
    jobs = [job(tmp_path, "a", tell), job(tmp_path, "b", tell), job(tmp_path, "wide", tell, gpus=8)]
    assert run(jobs, slots=("3", "5")) == {}
    seen = [(entry.out / "job.log").read_text().split()[-1] for entry in jobs]
    assert sorted(seen[:2]) == ["3", "5"]
    assert sorted(seen[2].split(",")) == ["3", "5"]


@pytest.mark.parametrize(("own", "expected"), [("", ["6", "3"]), ("4", ["4", "3"]), ("1,2", ["1", "1"])])
def test_cores_are_shared_out_up_to_the_users_own_bound(tmp_path, monkeypatch, own, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    tell = f"import os; print(os.environ['OMP_NUM_THREADS'], os.environ['LOADERS']); {WRITE}"
    train, trial = job(tmp_path, "train", tell, kind="pretrain"), job(tmp_path, "trial", tell)

    def command(job, processes, threads):
        return ["env", f"LOADERS={' '.join(loader_flags(job, threads))}", *python(job, processes, threads)]

    assert run([train, trial], slots=("", ""), cores=6, command=command) == {}
    told = [(entry.out / "job.log").read_text().splitlines()[-1].split() for entry in (train, trial)]
    assert [threads for threads, *_ in told] == expected
    assert [loaders for *_, loaders in told] == [number if int(number) > 1 else "0" for number in expected]


def test_a_failure_blocks_what_needs_it_and_nothing_else(tmp_path):
    jobs = [
        job(tmp_path, "bad", "print('working'); raise SystemExit('there is no such image')"),
        job(tmp_path, "needs-bad", needs=("bad",)),
        job(tmp_path, "good"),
    ]
    failed = run(jobs)
    assert set(failed) == {"bad", "needs-bad"}
    assert failed["bad"].reason == "exit code 1: there is no such image"
    blocked = read_record(jobs[1].out)
    assert blocked
    assert blocked.state == "blocked"
    assert blocked.reason == "bad failed: exit code 1: there is no such image"
    assert (tmp_path / "good/result.json").exists()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("pass", "ended without an error but left no result.json, without a word"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL (memory may have run out)"),
        ("raise SystemExit(3)", "exit code 3, without a word"),
        (
            "print('srun: error: n1: task 0: Exited'); raise SystemExit(3)",
            "exit code 3: srun: error: n1: task 0: Exited",
        ),
        ("print('no GPU\\nsrun: error: n1: task 0: Exited'); raise SystemExit(3)", "exit code 3: no GPU"),
    ],
)
def test_every_end_without_a_product_is_a_failure_with_a_reason_or_its_log(tmp_path, code, reason):
    log = f"; log: {tmp_path}/j/job.log" if ": " not in reason else ""
    assert run([job(tmp_path, "j", code)])["j"].reason == reason + log


def test_a_job_that_cannot_be_started_fails_alone(tmp_path):
    (tmp_path / "bad").write_text("a file, where a folder should be")
    failed = run([job(tmp_path, "bad"), job(tmp_path, "needs-bad", needs=("bad",)), job(tmp_path, "good")])
    assert set(failed) == {"bad", "needs-bad"}
    assert failed["bad"].reason.startswith(f"could not be started: {tmp_path}/bad")
    assert (tmp_path / "good/result.json").exists()


def test_what_is_done_is_skipped_and_a_backbone_no_trial_needs_is_not_made(tmp_path, monkeypatch):
    done = job(tmp_path, "done", "raise SystemExit(1)", needs=("train",))
    train = job(tmp_path, "train", "raise SystemExit(1)", kind="pretrain")
    todo = job(tmp_path, "todo")
    monkeypatch.setattr(Job, "done", lambda self: self.name == "done")
    monkeypatch.setattr(local, "worker_command", python)
    assert local.run_missing([train, done, todo], parallel=1) == {}
    assert (todo.out / "result.json").exists()
    assert not train.out.exists()


RUNNER = """
import signal
import sys
from pathlib import Path
from twinbench.suite.display import Display
from twinbench.suite.job import Job
from twinbench.suite.local import LocalRunner, Machine
from twinbench.suite.lock import only_runner
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what goes to the background without it
out = Path(sys.argv[1])
child = (
    "import os, time\\nfrom twinbench.worker import die_with_parent\\ndie_with_parent()\\n"
    "open('pid', 'w').write(str(os.getpid()))\\ntime.sleep(60)"
)
jobs = [Job(name, "trial", (), out / name) for name in ("a", "b", "c")]
with only_runner(out):
    LocalRunner(jobs, Machine(("", ""), 2), Display(3, 0), lambda *_: [sys.executable, "-c", child]).run()
"""


def start_runner(tmp_path):
    """Start a runner with two sleeping jobs; return its process and the jobs' process ids."""
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    pids = [tmp_path / name / "pid" for name in ("a", "b")]
    wait_until(lambda: all(path.exists() and path.read_text() for path in pids))
    return runner, [int(path.read_text()) for path in pids]


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.02)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_children_end_however_the_runner_ends(tmp_path, number):
    runner, children = start_runner(tmp_path)
    runner.send_signal(number)
    runner.wait(timeout=20)
    wait_until(lambda: all(gone(pid) for pid in children))
    record = read_record(tmp_path / "a")
    assert record
    assert record.state == ("running" if number == signal.SIGKILL else "stopped")
    assert not (tmp_path / "c").exists()


def test_a_second_runner_on_one_root_is_refused_by_name(tmp_path):
    match = f"run already, by process {os.getpid()} on"
    with only_runner(tmp_path), pytest.raises(SuiteError, match=match), only_runner(tmp_path):
        pass
    with only_runner(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_kernel_locks_nothing_a_file_stands_for_the_lock(tmp_path, monkeypatch, number):
    def none_here(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("twinbench.suite.lock.fcntl.flock", none_here)
    match = f"run already, by process {os.getpid()} on .*remove {tmp_path}/.lock.held"
    with only_runner(tmp_path):
        assert running_holder(tmp_path) == Holder(os.getpid(), socket.gethostname())
        with pytest.raises(SuiteError, match=match), only_runner(tmp_path):
            pass
    assert running_holder(tmp_path) is None
    dead = {"pid": 2**22 + 1, "host": socket.gethostname()}  # above Linux's largest
    held = tmp_path / ".lock.held"
    held.write_text(json.dumps(dead))
    assert running_holder(tmp_path) is None
    with only_runner(tmp_path):
        pass
    held.write_text(json.dumps(dead | {"host": "another"}))
    with (
        pytest.raises(SuiteError, match="on another; wait for it or end it, or, if it has gone, remove"),
        only_runner(tmp_path),
    ):
        pass


def start_stubborn(tmp_path):
    """Start a runner whose one job needs 60 s to save its state; return it as soon as the job does its work."""
    code = RUNNER.replace(
        "time.sleep(60)", "import signal; signal.signal(15, lambda *_: None)\\nwhile True: time.sleep(1)"
    )
    assert code != RUNNER
    runner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    pids = [tmp_path / name / "pid" for name in ("a", "b")]
    wait_until(lambda: all(path.exists() and path.read_text() for path in pids))
    return runner


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_says_at_once_that_state_is_saved_and_a_second_one_ends_it(tmp_path, number):
    runner = start_stubborn(tmp_path)
    time.sleep(0.5)  # for the jobs' own handlers
    runner.send_signal(number)
    asked = time.monotonic()
    line = next(line for line in runner.stderr if "stopping" in line)
    assert time.monotonic() - asked < 1
    assert "stopping a, b: state is being saved, which may take 30 s" in line
    time.sleep(0.3)
    assert runner.poll() is None
    runner.send_signal(number)
    runner.wait(timeout=5)
    record = read_record(tmp_path / "a")
    assert record
    assert record.state == "stopped"


class Screen(io.StringIO):
    """A stderr that is a terminal, or is not."""

    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal


def test_the_bar_forgets_a_job_as_it_ends(tmp_path, monkeypatch):
    screen = Screen(terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    display, ended = Display(1, 0), job(tmp_path, "ended")
    display.started(ended)
    display.finished(ended, Record("done", ""))
    display.close()
    assert "ended" not in screen.getvalue().rpartition("done ended")[2]


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 80), (24, 80)])
def test_a_terminal_without_a_size_shows_lines_and_no_bar(monkeypatch, rows, columns):
    """As those that `script`, and some containers, make up: the bar would be empty there."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    with open(side, "w") as stderr, open(main, "rb"):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert has_screen() == (rows > 0)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_display_says_how_far_a_running_job_has_come(tmp_path, monkeypatch, terminal):
    screen, clock = Screen(terminal), [1000.0]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("twinbench.suite.display.time.monotonic", lambda: clock[0])
    display = Display(2, 0)
    running = replace(job(tmp_path, "j"), length=("epoch", 100))
    running.out.mkdir()
    display.started(running)
    lines = [json.dumps({"epoch": epoch, "time": 10.0 * epoch}) for epoch in (1, 2, 3)]
    (running.out / "log.jsonl").write_text("\n".join(lines))
    for _ in range(119):
        clock[0] += 0.5
        display.refresh()
    # 97 epochs of 10 s; elsewhere than on a terminal nothing for a minute
    assert ("j epoch 3/100, 16 min left" in screen.getvalue()) == terminal
    clock[0] += 0.5
    display.refresh()
    display.close()
    assert "j epoch 3/100, 16 min left" in screen.getvalue()
    assert terminal or screen.getvalue().count("\n") == 2


def test_starts_and_seconds_add_up_over_runs(tmp_path):
    sleeper = job(tmp_path, "j", "import time; time.sleep(0.2); raise SystemExit(1)")
    run([sleeper])
    run([sleeper])
    record = read_record(sleeper.out)
    assert record
    assert record.starts == 2
    assert record.spent_seconds >= 0.4
    assert json.loads((sleeper.out / "job.json").read_text())["state"] == "failed"


def test_a_job_that_is_cancelled_by_name_stops_and_what_needs_it_waits_for_another_run(tmp_path):
    """Whether it waits or runs; the others go on."""
    jobs = [job(tmp_path, "a/backbone", "import time; time.sleep(60)", kind="convert")]
    jobs += [job(tmp_path, "a/k/seed0", needs=("a/backbone",)), job(tmp_path, "b"), job(tmp_path, "c")]

    def command(each, *_):
        if each.name == "b":  # while the first one runs
            for name in ("a/backbone", "c"):
                (tmp_path / name).mkdir(exist_ok=True)
                (tmp_path / name / local.CANCEL).touch()
        return python(each, *_)

    failed = run(jobs, slots=("", ""), command=command)
    assert {name: record.state for name, record in failed.items()} == {
        "a/backbone": "stopped",
        "a/k/seed0": "blocked",
        "c": "stopped",
    }
    assert read_record(tmp_path / "b").state == "done"
    assert not list(tmp_path.rglob(local.CANCEL))
    assert set(run([replace(jobs[0], argv=(WRITE.replace("result.json", "resnet50.pth"),)), *jobs[1:]])) == set()
