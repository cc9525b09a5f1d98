"""Deterministic mode: what is asked of torch and cuBLAS, and that all of it is put back."""

import os

import pytest
import torch

from twinbench.runtime.determinism import CHOSEN, WORKSPACE, DeterminismError, deterministic


@pytest.fixture
def no_workspace(monkeypatch):
    monkeypatch.setenv(WORKSPACE, "any")  # for monkeypatch to put back what the test leaves
    monkeypatch.delenv(WORKSPACE)


def test_within_the_block_kernels_are_deterministic_and_chosen_by_rule(no_workspace, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with deterministic():
        assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == (True, False)
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == (False, True)


def test_an_error_within_the_block_puts_back_what_was_set(no_workspace):
    with pytest.raises(ZeroDivisionError), deterministic():
        raise ZeroDivisionError
    assert not torch.are_deterministic_algorithms_enabled()


def test_cublas_gets_a_workspace_that_does_not_move_and_keeps_one_that_was_chosen(no_workspace, monkeypatch):
    with deterministic():
        assert os.environ[WORKSPACE] == CHOSEN
    monkeypatch.setenv(WORKSPACE, ":16:8")
    with deterministic():
        assert os.environ[WORKSPACE] == ":16:8"


def test_without_the_wish_nothing_is_touched(no_workspace):
    with deterministic(False):
        assert WORKSPACE not in os.environ
        assert not torch.are_deterministic_algorithms_enabled()


def test_a_gpu_that_has_worked_without_the_workspace_is_refused_in_one_line(no_workspace, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    words = f"has used its GPU without {WORKSPACE}={CHOSEN}, which is read only once; set it before Python starts"
    with pytest.raises(DeterminismError, match=words), deterministic():
        pass
    assert not torch.are_deterministic_algorithms_enabled()
