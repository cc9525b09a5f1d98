"""Tests that compare a GPU with the processor on the same inputs: `make test-gpu`, on a machine with a CUDA device.

Elsewhere they skip. With TWINBENCH_TEST_DEVICE=cpu (`make rehearse-gpu`, which CI runs) the same tests run on the
processor, so that a card that is at hand for a quarter of an hour is not spent on misprints.
"""

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

# Deterministic mode needs it, and cuBLAS reads it once, before its first product in this process.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

HERE = Path(__file__).parent
VARIABLE = "TWINBENCH_TEST_DEVICE"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("gpu")


@pytest.fixture(scope="session")
def device() -> str:
    """What the tests compute on: `cuda:0`, or `cpu` in a rehearsal; as the commands' --device takes it."""
    asked = os.environ.get(VARIABLE, "cuda:0")
    if asked == "cpu":
        return asked
    if not torch.cuda.is_available():
        pytest.skip(f"needs a CUDA device, and this machine has none; {VARIABLE}=cpu rehearses the test without one")
    return asked


@pytest.fixture(scope="session")
def on_gpu(device: str) -> bool:
    """Say whether this is the real thing: a rehearsal takes smaller inputs, and skips what only CUDA can do."""
    return device != "cpu"


@pytest.fixture
def only_gpu(on_gpu: bool) -> None:
    """Skip a test in a rehearsal: what it asks has no counterpart on the processor."""
    if not on_gpu:
        pytest.skip("asks what only CUDA can do; a rehearsal on the processor leaves it out")


@pytest.fixture(autouse=True)
def same_start() -> Generator[None]:
    """Let no test see the random state, the precision or the memory that another left behind."""
    torch.manual_seed(0)
    # In a rehearsal one: beside other tests and on small work, threads wait for each other.
    torch.set_num_threads(1 if os.environ.get(VARIABLE) == "cpu" else min(8, len(os.sched_getaffinity(0))))
    yield
    assert not torch.are_deterministic_algorithms_enabled(), "the test left deterministic mode on"
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@pytest.fixture(scope="module")
def reference(on_gpu: bool) -> Callable[[], AbstractContextManager[None]]:
    """Return the context in which the processor computes what a device is compared with.

    In a rehearsal it is the processor without oneDNN, so that the two sides differ there, too.
    """

    @contextmanager
    def context() -> Generator[None]:
        torch.backends.mkldnn.set_flags(on_gpu)
        yield
        torch.backends.mkldnn.set_flags(True)

    return context
