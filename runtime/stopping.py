"""SIGTERM and its like, for every loop of every worker: noted when they come, obeyed between two steps.

A scheduler that wants its node back sends a signal, waits some seconds, and kills. A loop that uses this module saves
its state in between, and loses one step instead of all since its last checkpoint:

    with Stopper(process.world, device) as stopper:
        for step in ...:
            train(step)
            if stopper.agreed():
                save(step)
                raise StopAsked(f"stopped after step {step + 1}; state in {path}")

All processes of the group call `agreed` once a step, and leave at the same one. Where one of them saves for all, the
others wait for it before they leave (`runtime.distributed.meet`): torchrun ends all processes when the first one exits.
Nobody catches StopAsked: the front door prints it and exits with EXIT_CODE. docs/pretraining.md says how Slurm starts
such a job again.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from twinbench.protocols.house import RunEnded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h, "try again"


class StopAsked(RunEnded):
    """A run that was told to stop, and has saved its state."""

    exit_code = EXIT_CODE

    def __init__(self, message: str) -> None:
        """Say where the run stopped; what to do about it is always the same."""
        super().__init__(f"{message}; the same command goes on from there")


class Stopper:
    """Within its block the signals above only set a flag, `asked`."""

    def __init__(self, world: int = 1, device: "torch.device | str" = "cpu") -> None:
        """Ask the `world` processes of the default group; `device` is where they meet, a GPU for nccl."""
        self.world, self.device = world, device
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}
        self._pending: Late | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python lets no other set handlers
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def agreed(self) -> bool:
        """Return whether any process had been told to stop by the call before this one: the same in all processes.

        One step late, so that no process waits for work that it has just given to its GPU.
        """
        before, self._pending = self._pending, Late(self._sum())
        return before is not None and bool(before.value())

    def agreed_now(self) -> bool:
        """Return whether any process has been told to stop up to this call; waits for the GPU: for ends of epochs."""
        self._pending = None
        return bool(Late(self._sum()).value())

    def _sum(self) -> "Tensor":
        """Return 1 if any process was told to stop, else 0, as a tensor that need not be there yet."""
        import torch
        import torch.distributed as dist

        flag = torch.full((), int(self.asked), device=self.device)  # made there: a copy from here waits for the step
        if self.world > 1:
            dist.all_reduce(flag, dist.ReduceOp.MAX)
        return flag


class Late:
    """A number on its way from a GPU: `value` waits for what was given to the GPU before, and for nothing after.

    `float(tensor)` would wait for all that the GPU has been given by then, the step that has just begun included.
    """

    def __init__(self, number: "Tensor") -> None:
        """Start the copy of a tensor of one number."""
        import torch

        self._number, self._here = number, None
        if number.is_cuda:
            self._number = torch.empty_like(number, device="cpu", pin_memory=True)
            self._number.copy_(number, non_blocking=True)
            self._here = torch.cuda.Event()
            self._here.record(torch.cuda.current_stream(number.device))

    def value(self) -> float:
        """Return the number."""
        if self._here is not None:
            self._here.synchronize()
        return self._number.item()


def ignore_signals(worker: int = 0) -> None:
    """Leave the signals that end a job to the main process; for `worker_init_fn` of a DataLoader.

    A scheduler sends them to loader processes, too. One that dies of it ends the run with torch's "DataLoader worker
    is killed by signal: Terminated", before the state is saved.
    """
    for number in (signal.SIGINT, *SIGNALS):
        signal.signal(number, signal.SIG_IGN)
