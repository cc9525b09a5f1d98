"""The runner of benchmarks/gpu: what ends a module early costs its own figures and nobody else's."""

import os
import signal
import subprocess
import sys
import time
import weakref
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.figures import TIMES, Figure
from benchmarks.gpu.pretraining import largest
from benchmarks.gpu.runner import BENCHMARKS, BUDGET, Benchmark, Outcome, run, run_all
from benchmarks.gpu.section import NOT_YET, RESULTS, append, section
from twinbench.protocols.house import UserError

ROOT = Path(__file__).resolve().parent.parent
MACHINE = {
    "card": "Card X, 80 GiB",
    "driver": "580.1",
    "torch": "2.11.0",
    "torchvision": "0.26.0",
    "python": "3.12.3",
    "processor": "Processor Y",
    "cores": 16,
}
SPEED = Figure("speed", 1234.5, "images/s")
FASTER = Figure("faster", 1.5, TIMES, of="plain", least=2.0)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """Return what makes a module that yields one figure and then does what is asked."""
    folder = tmp_path_factory.mktemp("modules")

    def make(name: str, then: str = "") -> str:
        text = "import os, sys, subprocess, time\nfrom benchmarks.gpu.figures import Figure\n"
        text += "def measure(place):\n    yield Figure('first', 1.0, 's', most=2.0)\n"
        Path(folder, f"{name}.py").write_text(f"{text}    {then}\n")
        return name

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield make


def test_figures_come_back(module):
    found = run(Benchmark(module("good"), 60), "cpu")
    assert found.figures == [Figure("first", 1.0, "s")]  # a rehearsal's figures have no targets


def test_the_machine_comes_back(module):
    found = run(Benchmark(module("good"), 60), "cpu")
    assert found.machine["cores"] == len(os.sched_getaffinity(0))


def test_a_failing_module_is_told_by_its_error(module):
    found = run(Benchmark(module("failing", "raise ValueError('no such card')"), 60), "cpu")
    assert found.failure == "ended with code 1: ValueError: no such card"


def test_a_failing_module_keeps_its_figures(module):
    found = run(Benchmark(module("failing", "raise ValueError"), 60), "cpu")
    assert [figure.name for figure in found.figures] == ["first"]


def test_a_killed_module_is_told_by_its_signal(module):
    found = run(Benchmark(module("killed", "os.kill(os.getpid(), 9)"), 60), "cpu")
    assert found.failure.startswith("ended by SIGKILL")


def test_a_failing_module_does_not_stop_the_next(module):
    bad, good = module("failing", "raise ValueError"), module("good")
    found = run_all({"bad": Benchmark(bad, 60), "good": Benchmark(good, 60)}, "cpu")
    assert [bool(outcome.failure) for outcome in found.values()] == [True, False]


@pytest.fixture(scope="module")
def slow(module, tmp_path_factory):
    """Return the outcome of a module that is cut, its seconds, and the process id of a child that it had started."""
    written = tmp_path_factory.mktemp("slow") / "child"
    child = f"open({str(written)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid))"
    name = module("slow", f"{child}; time.sleep(60)")
    began = time.monotonic()
    found = run(Benchmark(name, 5), "cpu")
    return found, time.monotonic() - began, int(written.read_text())


def test_a_slow_module_is_cut_at_its_limit(slow):
    assert slow[0].failure == "cut at its limit of 5 s"


def test_a_slow_module_is_cut_in_time(slow):
    assert slow[1] < 30


def test_a_slow_module_keeps_its_figures(slow):
    assert [figure.name for figure in slow[0].figures] == ["first"]


def test_nothing_of_a_cut_module_is_left(slow):
    status = Path(f"/proc/{slow[2]}/stat")
    until = time.monotonic() + 30  # SIGKILL was sent; on a busy machine its target dies when it is next scheduled
    while time.monotonic() < until and not gone(status):
        time.sleep(0.05)
    assert gone(status)


def gone(status: Path) -> bool:
    """Return whether no process, or only what its parent did not collect, has this status file."""
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_all_limits_together_are_the_budget():
    assert sum(benchmark.seconds for benchmark in BENCHMARKS.values()) <= BUDGET


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_there(name):
    assert find_spec(BENCHMARKS[name].module)


@pytest.mark.parametrize(
    ("figure", "missed"),
    [
        (Figure("", 2.0, "s"), False),
        (Figure("", 2.0, "s", most=2.0), False),
        (Figure("", 2.1, "s", most=2.0), True),
        (Figure("", 1.9, TIMES, least=2.0), True),
        (Figure("", float("nan"), "s", most=2.0), True),
    ],
)
def test_a_target_is_missed(figure, missed):
    assert figure.missed is missed


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome([SPEED], MACHINE, 1.0), 0),
        (Outcome([SPEED, FASTER], MACHINE, 1.0), 1),
        (Outcome([SPEED], MACHINE, 1.0, failure="cut"), 1),
        (Outcome([SPEED], MACHINE, 1.0, failure="interrupted", interrupted=True), 130),
    ],
)
def test_exit_codes(outcome, code):
    assert command.exit_code({"one": outcome}) == code


def test_the_section():
    outcomes = {
        "one": Outcome([SPEED, FASTER], MACHINE, 10.0),
        "two": Outcome([], {}, 2.4, failure="cut at its limit of 2 s"),
    }
    text = section(outcomes, date="2026-11-27T10:00:00+00:00", code="abc", command="python -m benchmarks.gpu")
    assert text == (
        "## gpu: Card X, 80 GiB, 2026-11-27\n\n"
        "driver 580.1, torch 2.11.0, torchvision 0.26.0, Python 3.12.3; Processor Y, 16 cores; code abc; "
        "`python -m benchmarks.gpu`, 12 s.\n\n"
        "| ratio |  | of | target |\n| --- | --- | --- | --- |\n| faster | 1.5x | plain | at least 2: MISSED |\n\n"
        "| figure |  | target |\n| --- | --- | --- |\n| speed | 1,234 images/s |  |\n\n"
        "`two` did not come to its end: cut at its limit of 2 s; 0 of its figures are above.\n"
    )


def test_a_section_is_appended(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Measured\n\n## loss\n\nFast.\n")
    append(path, "## gpu\n\nFaster.\n")
    assert path.read_text() == "# Measured\n\n## loss\n\nFast.\n\n## gpu\n\nFaster.\n"


def test_a_new_file_begins_with_the_section(tmp_path):
    append(tmp_path / "new.md", "## gpu\n")
    assert (tmp_path / "new.md").read_text() == "## gpu\n"


def test_the_first_section_takes_away_that_there_is_none(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(f"## gpu\n\n{NOT_YET}")
    append(path, "## gpu: Card X\n")
    assert NOT_YET not in path.read_text()


def test_the_results_say_whether_a_gpu_was_measured():
    text = RESULTS.read_text()
    assert (NOT_YET in text) != ("\n## gpu: " in text)


def test_an_unknown_name_is_the_users_mistake():
    with pytest.raises(UserError, match="unknown benchmark 'los'. Did you mean 'loss'?"):
        command.main(["los", "--rehearse"])


def test_a_folder_to_append_to_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="a folder; expected a file"):
        command.main(["--rehearse", "--out", str(tmp_path)])


def test_no_card_is_the_users_mistake(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device on this machine; .* --rehearse"):
        command.main([])


def test_a_rehearsal_writes_nothing(module, monkeypatch):
    before = RESULTS.read_bytes()
    monkeypatch.setattr(command, "BENCHMARKS", {"good": Benchmark(module("good"), 60)})
    command.main(["--rehearse"])
    assert RESULTS.read_bytes() == before


def test_a_rehearsal_writes_where_it_is_told(module, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "BENCHMARKS", {"good": Benchmark(module("good"), 60)})
    command.main(["--rehearse", "--out", str(tmp_path / "out.md")])
    assert "| first | 1 s |" in (tmp_path / "out.md").read_text()


@pytest.fixture(scope="module", params=[signal.SIGTERM, signal.SIGINT])
def interrupted(module, tmp_path_factory, request):
    """Return the exit code and the section of a run that ends early: a loan of a card that is over, or Ctrl-C."""
    out = tmp_path_factory.mktemp("interrupted") / "out.md"
    code = (
        "import sys; from benchmarks.gpu import __main__ as m; from benchmarks.gpu.runner import Benchmark;"
        f"m.BENCHMARKS = {{'slow': Benchmark({module('sleeping', 'time.sleep(60)')!r}, 50)}};"
        f"sys.exit(m.main(['--rehearse', '--out', {str(out)!r}]))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if "first" in line:
                break
        process.send_signal(request.param)
        process.communicate(timeout=60)
    return process.returncode, out.read_text()


def test_an_interruption_has_its_exit_code(interrupted):
    assert interrupted[0] == 130


def test_what_is_measured_outlives_an_interruption(interrupted):
    assert "| first | 1 s |" in interrupted[1]


def test_an_interruption_is_told(interrupted):
    assert "`slow` did not come to its end: interrupted" in interrupted[1]


def test_the_other_benchmarks_say_who_runs_these():
    words = [sys.executable, "-m", "benchmarks", "gpu"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (
        told.stderr == "benchmarks: benchmark 'gpu': runs by itself, on a CUDA device; run: python -m benchmarks.gpu\n"
    )


class Tensor:
    """Something whose end can be seen."""


def out_of_memory(above: int, made: list[weakref.ref[Tensor]]):
    """Return work that a batch `above` so much has no memory for, and that holds a tensor when it finds out."""

    def work(batch: int) -> str:
        tensor = Tensor()
        made.append(weakref.ref(tensor))
        if batch > above:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return f"fits {batch}"

    return work


def test_the_largest_batch_is_the_last_that_fits():
    assert largest(out_of_memory(300, []), 64, 4096) == (256, "fits 256")


def test_no_batch_is_tried_above_the_last():
    assert largest(out_of_memory(10**6, []), 64, 1000) == (512, "fits 512")


def test_what_did_not_fit_is_gone():
    made: list[weakref.ref[Tensor]] = []
    largest(out_of_memory(300, made), 64, 4096)
    assert [reference() for reference in made] == [None] * len(made)


def test_another_error_is_not_taken_for_a_full_card():
    def work(batch: int) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        largest(work, 64, 4096)


def test_a_card_too_small_for_the_first_batch_is_told():
    with pytest.raises(MemoryError, match="not even a batch of 64 images"):
        largest(out_of_memory(1, []), 64, 4096)
