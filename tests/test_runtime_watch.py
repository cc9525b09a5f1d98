"""One process fails, crashes or is killed: the other one ends within seconds, in one line, wherever it is."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import twinbench.cli
from twinbench.protocols.house import UserError
from twinbench.runtime import watch
from twinbench.runtime.process import Process, process_group
from twinbench.runtime.stopping import StopAsked

FORK = get_context("fork")  # importing torch anew takes seconds
PATIENCE = 20.0  # seconds; gloo's own is 30 minutes, NCCL's 10
Work = Callable[[Process], None]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "GRACE", 1.0)
    monkeypatch.setattr(watch, "SIGNAL", 0.2)


def front_door(process: Process, work: Work, groups: int) -> int:
    """Do `work` in a group, or in several ones after each other, as a command of the front door does."""

    class Room:
        @staticmethod
        def add_arguments(parser: object) -> None:
            """Take nothing."""

        @staticmethod
        def run(arguments: object) -> int:
            for _ in range(groups):
                with process_group(process):
                    work(process)
            return 0

    twinbench.cli._load = lambda name: Room  # type: ignore[assignment]
    return twinbench.cli.main(["transfer"])


def run_pair(folder: Path, work: Work, groups: int = 1) -> tuple[list[int | None], list[list[str]], float]:
    """Run `work` in two processes; return their exit codes, what they said on stderr, and the seconds it took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def child(rank: int) -> None:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        said = os.open(folder / f"said{rank}", os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)  # pytest has put another in its place
        sys.exit(front_door(Process(rank, 2, rank), work, groups))

    run = [FORK.Process(target=child, args=(rank,)) for rank in range(2)]
    began = time.monotonic()
    for process in run:
        process.start()
    # Not join: it waits for whoever holds a pipe that children inherit.
    while any(process.exitcode is None for process in run) and time.monotonic() < began + PATIENCE:
        time.sleep(0.02)
    took, codes = time.monotonic() - began, [process.exitcode for process in run]
    for process in run:
        process.kill()
        process.join()
    return codes, [(folder / f"said{rank}").read_text().splitlines() for rank in range(2)], took


def mistake() -> None:
    raise UserError("image 7 is damaged")


def crash() -> None:
    raise ZeroDivisionError("in the middle")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_collective() -> None:
    dist.all_reduce(torch.zeros(1))


def stuck() -> None:
    """Wait as in a collective of NCCL's, of which nothing wakes."""
    time.sleep(100)


@pytest.mark.parametrize("waits", [in_collective, stuck])
@pytest.mark.parametrize("fails", [0, 1])
@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        (mistake, 2, "failed (image 7 is damaged)"),
        (crash, 1, "failed (ZeroDivisionError: in the middle)"),
        (die, 1, "is gone (killed, or its machine is gone)"),
    ],
)
def test_the_other_one_ends_soon_and_in_one_line(
    tmp_path: Path, how: Callable[[], None], code: int, words: str, fails: int, waits: Callable[[], None]
) -> None:
    def work(process: Process) -> None:
        in_collective()
        how() if process.rank == fails else waits()

    codes, said, _ = run_pair(tmp_path, work)
    other = 1 - fails
    assert codes[other] == code
    (line,) = [line for line in said[other] if not line.startswith("[W")]
    assert line.partition(": ")[2] == f"process {fails} of 2 {words}; this one cannot go on alone"


def test_a_process_that_is_done_waits_for_the_main_one_which_goes_on_alone(tmp_path: Path) -> None:
    """Where one has left, taking NCCL's group down waits for it, or the other way about."""

    def work(process: Process) -> None:
        if process.is_main:
            time.sleep(1.5)
        (tmp_path / f"in{process.rank}").write_text("")

    codes, said, took = run_pair(tmp_path, work)
    assert codes == [0, 0], said
    assert took > 1.5


def test_a_failure_of_the_main_process_alone_is_that_of_all(tmp_path: Path) -> None:
    """It was a zero of all others, long gone when the main process's solver found no class with enough images."""

    def work(process: Process) -> None:
        if process.is_main:
            time.sleep(0.5)
            mistake()

    codes, said, _ = run_pair(tmp_path, work)
    assert codes == [2, 2], said


def test_one_mistake_of_all_is_told_in_its_own_words(tmp_path: Path) -> None:
    codes, said, _ = run_pair(tmp_path, lambda process: mistake())
    assert codes == [2, 2]
    assert said == [["twinbench transfer: image 7 is damaged"]] * 2


def test_all_leave_together_when_told_to_stop(tmp_path: Path) -> None:
    """The other process may be quicker: the main one still writes the state."""

    def work(process: Process) -> None:
        if process.is_main:
            time.sleep(1)
            (tmp_path / "state").write_text("saved")
        raise StopAsked("stopped after step 3")

    codes, said, took = run_pair(tmp_path, work)
    assert codes == [75, 75], said
    assert took > 1


def test_a_loader_that_outlives_its_process_does_not_hold_its_connection(tmp_path: Path) -> None:
    def work(process: Process) -> None:
        if process.rank == 1:
            loader = FORK.Process(target=time.sleep, args=(PATIENCE + 5,))
            loader.start()
            (tmp_path / "loader").write_text(str(loader.pid))
            die()
        stuck()

    codes, said, took = run_pair(tmp_path, work)
    os.kill(int((tmp_path / "loader").read_text()), signal.SIGKILL)
    assert codes[0] == 1, said
    assert took < PATIENCE / 2


def test_two_groups_one_after_the_other(tmp_path: Path) -> None:
    """As a suite's trials in one process: the second must not find the words of the first, nor its server gone."""
    codes, said, _ = run_pair(tmp_path, lambda process: in_collective(), groups=2)
    assert codes == [0, 0], said


def test_who_does_not_know_the_token_is_not_heard() -> None:
    hub = watch.Hub(1, "secret")
    with socket.create_connection(("localhost", hub.port), timeout=5) as stranger:
        stranger.sendall(json.dumps({"token": "guess", "rank": 0}).encode() + b"\n")
        assert stranger.recv(100) == b""
    hub.close()


def test_a_main_process_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(
            watch.WatchError, match="process 1 on .* cannot reach process 0 on port .* of 127.0.0.1; exp"
        ):
            watch.Watch.reach(["127.0.0.1"], free.getsockname()[1], "token", 1, 2)
