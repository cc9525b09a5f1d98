"""Every benchmark of benchmarks/gpu comes to its end at tiny sizes, so that no loan of a card is spent on misprints."""

import importlib
import math

import pytest
import torch

from benchmarks.gpu.figures import TIMES, Place
from benchmarks.gpu.runner import BENCHMARKS

FIGURES = {  # that a rehearsal gives: what only a card has, such as its memory, is not among them
    "pretraining": 7,
    "svm": 8,
    "extraction": 10,
    "detection": 9,
    "loss": 3,
    "inat": 6,
    "lowshot": 2,
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


def test_all_figures_are_there(rehearsed):
    name, figures = rehearsed
    assert len(figures) == FIGURES[name]


def test_every_figure_is_a_number(rehearsed):
    assert [figure.name for figure in rehearsed[1] if not math.isfinite(figure.value)] == []


def test_every_ratio_says_of_what(rehearsed):
    assert [figure.name for figure in rehearsed[1] if (figure.unit == TIMES) != bool(figure.of)] == []


def test_no_two_figures_are_told_alike(rehearsed):
    told = [(figure.name, figure.unit, figure.of) for figure in rehearsed[1]]
    assert len(set(told)) == len(told)
