"""What a module of benchmarks/gpu is given, and what it gives.

A module is `measure(place: Place) -> Iterator[Figure]`. It yields a figure as soon as it has it, the most wanted one
first: whatever ends it early, a crash or its time limit, loses only the rest.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TIMES = "x"  # the unit of a ratio


@dataclass(frozen=True)
class Figure:
    """One measured number, or a ratio of two."""

    name: str  # readable on its own
    value: float
    unit: str  # images/s, s, GiB, h; TIMES for a ratio
    of: str = ""  # what a ratio is measured against
    least: float | None = None  # target: at least so much
    most: float | None = None  # target: at most so much

    @property
    def missed(self) -> bool:
        """True where there is a target and the value does not reach it; not a number reaches none."""
        reached = self.least is None or self.value >= self.least
        reached &= self.most is None or self.value <= self.most
        return not reached

    @property
    def target(self) -> str:
        """Return the target in words, nothing where there is none."""
        if self.least is not None:
            return f"at least {self.least:g}"
        return "" if self.most is None else f"at most {self.most:g}"

    @property
    def text(self) -> str:
        """Return value and unit, three digits of it where it is small."""
        number = f"{self.value:,.0f}" if abs(self.value) >= 100 else f"{self.value:.3g}"
        return f"{number}{self.unit}" if self.unit == TIMES else f"{number} {self.unit}"


@dataclass(frozen=True)
class Place:
    """Where and in earnest or not a module measures: on a CUDA device, or in a rehearsal on the processor."""

    device: str  # cuda:0 or cpu
    rehearsal: bool  # tiny sizes

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the seconds of one call of `work`, the device's part included."""
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def forget_peak(self) -> None:
        """Begin to look for the peak of the device's memory anew."""
        if self.device != "cpu":
            import torch

            torch.cuda.init()  # else there may be no allocator yet to reset
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory(self, name: str) -> Iterator[Figure]:
        """Yield the most memory of the card that tensors took since `forget_peak`; nothing on the processor."""
        if self.device != "cpu":
            import torch

            yield Figure(f"{name}: memory", torch.cuda.max_memory_allocated(self.device) / 2**30, "GiB")
