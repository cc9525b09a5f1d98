"""Bit for bit the same from run to run on a GPU, where some kernels by themselves add up in the order of arrival.

On a processor the numbers of a run depend on its threads alone. On a GPU three things have to be asked for: kernels
that repeat themselves, cuDNN's choice of them by rule and not by a stopwatch, and a workspace of cuBLAS that does not
move. It is for one machine and one version of its libraries: another card rounds in another way.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from twinbench.protocols.house import UserError

WORKSPACE, CHOSEN = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"  # NVIDIA, cuBLAS, "Results reproducibility"
REPEATABLE = (CHOSEN, ":16:8")


class DeterminismError(UserError):
    """A process in which it is too late for deterministic kernels."""


@contextmanager
def deterministic(wanted: bool = True) -> Generator[None]:
    """Let every kernel repeat its bits for the length of the block; what was set before comes back on exit.

    An operation that has no such kernel raises RuntimeError. Enter before the GPU's first work: cuBLAS reads its
    setting once. DeterminismError where that was without it.
    """
    if not wanted:
        yield
        return
    _fix_workspace()
    enabled, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    stopwatch = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = stopwatch
        torch.use_deterministic_algorithms(enabled, warn_only=warns)


@contextmanager
def fastest_kernels() -> Generator[None]:
    """Let cuDNN time its kernels on the first step and take the fastest, for the length of the block."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _fix_workspace() -> None:
    """Set cuBLAS's variable, unless it has a good value; the C library sees what Python writes to os.environ."""
    if os.environ.get(WORKSPACE) in REPEATABLE:
        return
    if torch.cuda.is_initialized():
        raise DeterminismError(
            f"deterministic: this process has used its GPU without {WORKSPACE}={CHOSEN}, which is read only once; "
            "set it before Python starts"
        )
    os.environ[WORKSPACE] = CHOSEN
