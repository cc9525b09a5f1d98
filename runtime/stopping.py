"""Signals that end a job: noted when they come, obeyed between two steps, by all processes at the same one."""

import signal
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # who watches over a worker needs the exit code only
    import torch
    from torch import Tensor

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h, "try again": what docs/pretraining.md has SLURM requeue on


class StopAsked(Exception):
    """A run that was told to stop, and has saved its state."""


class Stopper:
    """Within its block the signals above only set a flag."""

    def __init__(self, world: int, device: "torch.device") -> None:
        self.world, self.device = world, device
        self.asked = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def ask(self) -> "Tensor":
        """Return 1 if any process was told to stop, else 0, as a tensor that need not be there yet."""
        import torch
        import torch.distributed as dist

        flag = torch.tensor(int(self.asked), device=self.device)
        if self.world > 1:
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        return flag
