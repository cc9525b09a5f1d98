"""A signal is noted, and obeyed one step later."""

import os
import signal
import threading

import pytest
import torch

import twinbench.cli
from twinbench.runtime.stopping import EXIT_CODE, SIGNALS, Late, StopAsked, Stopper


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_obeyed_one_step_later(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Stopper() as stopper:
        assert not stopper.agreed()
        os.kill(os.getpid(), number)
        assert stopper.asked
        assert not stopper.agreed()  # the answer of the step before
        assert stopper.agreed()
    assert signal.getsignal(number) is before


def test_outside_the_main_thread_nothing_is_handled() -> None:
    """A notebook may measure in a thread, where Python lets nobody set handlers."""
    found: list[bool] = []

    def work() -> None:
        with Stopper() as stopper:
            found.append(stopper.agreed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_the_front_door_makes_it_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of any worker: here one whose command does nothing else."""

    class Room:
        @staticmethod
        def add_arguments(parser: object) -> None:
            """Take nothing."""

        @staticmethod
        def run(arguments: object) -> int:
            raise StopAsked("stopped after step 3; state in OUT/state.pth")

    monkeypatch.setattr(twinbench.cli, "_load", lambda name: Room)
    assert twinbench.cli.main(["transfer"]) == EXIT_CODE == 75
    expected = "twinbench transfer: stopped after step 3; state in OUT/state.pth; the same command goes on from there\n"
    assert capsys.readouterr().err == expected


def test_a_number_that_is_here_already() -> None:
    assert Late(torch.tensor(2.5)).value() == 2.5
