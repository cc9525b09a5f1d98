"""Every benchmark of benchmarks/gpu comes to its end at tiny sizes, so that no loan of a card is spent on misprints."""

import importlib
import math

import pytest
import torch

from benchmarks.gpu.figures import TIMES, Place
from benchmarks.gpu.runner import BENCHMARKS

UNITS = {  # of what each is to measure; a card's memory is not among a rehearsal's figures
    "pretraining": {"images/s", "% of the time", TIMES},
    "svm": {"s", "points", TIMES},
    "extraction": {"images/s", TIMES},
    "detection": {"s", "h"},
    "loss": {"ms", TIMES},
    "inat": {"s", "min"},
    "lowshot": {"s"},
}


@pytest.fixture(scope="module", params=BENCHMARKS)
def rehearsed(request, on_gpu):
    """Return a benchmark's name and figures."""
    if on_gpu:
        pytest.skip("a rehearsal of the benchmarks; here is a card: run python -m benchmarks.gpu")
    # Two threads on a busy machine's two cores took the small sizes twenty times as long: they wait for each other.
    torch.set_num_threads(1)
    module = importlib.import_module(BENCHMARKS[request.param].module)
    return request.param, list(module.measure(Place("cpu", rehearsal=True)))


def test_all_that_is_to_be_measured_is(rehearsed):
    name, figures = rehearsed
    assert {figure.unit for figure in figures} == UNITS[name]


def test_every_figure_is_a_number(rehearsed):
    assert [figure.name for figure in rehearsed[1] if not math.isfinite(figure.value)] == []


def test_every_ratio_says_of_what(rehearsed):
    assert [figure.name for figure in rehearsed[1] if (figure.unit == TIMES) != bool(figure.of)] == []


def test_no_two_figures_are_told_alike(rehearsed):
    told = [(figure.name, figure.unit, figure.of) for figure in rehearsed[1]]
    assert len(set(told)) == len(told)
