"""Which process this is among how many, and on which device it computes.

The same worker command runs under plain Python, torchrun (RANK, WORLD_SIZE, LOCAL_RANK) and srun (SLURM_PROCID,
SLURM_NTASKS, SLURM_LOCALID).
"""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinbench.protocols.house import UserError

if TYPE_CHECKING:
    import torch

CPU_WORKERS, MOST_WORKERS = 2, 16  # loader processes, unless the user says otherwise


class ProcessError(UserError):
    """The environment describes no possible group of processes, or a device that is not there."""


@dataclass(frozen=True)
class Process:
    """One process of a run. `rank` counts over all nodes, `local_rank` on this one.

    `by_number` says that the GPU was asked for by its number, which others may have done, too.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    device: str = "cpu"
    by_number: bool = False

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files and speaks."""
        return self.rank == 0

    def share(self, count: int, what: str) -> int:
        """Return this process's part of a global `count`, which must divide evenly."""
        if count % self.world:
            raise ProcessError(f"{what} {count} does not divide by {self.world} processes; choose a multiple")
        return count // self.world


def current_process(device: str = "auto") -> Process:
    """Read rank and world from the environment and choose the device: `auto` is a GPU where there is one."""
    rank, world, local_rank = _from_environment()
    if not 0 <= rank < world:
        raise ProcessError(f"rank {rank} of {world} processes: expected 0 <= rank < world (RANK, WORLD_SIZE)")
    return Process(rank, world, local_rank, _device(device, local_rank), device.startswith("cuda:"))


def _device(asked: str, local_rank: int) -> str:
    """Return `cpu` or `cuda:N`, a GPU that this process sees.

    Under `srun --gpus-per-task=1` each task sees its own alone, as cuda:0, whatever its local rank. Whether two have
    come to one GPU shows when they meet (`process_group`).
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        asked = "cuda" if gpus else "cpu"
    device = f"cuda:{local_rank % max(1, gpus)}" if asked == "cuda" else asked
    if not re.fullmatch(r"cpu|cuda:\d{1,4}", device):
        raise ProcessError(f"--device {device}: expected auto, cpu, cuda, or one GPU as cuda:1")
    if device != "cpu" and not gpus:
        raise ProcessError(f"--device {device}: no usable GPU on this machine; use --device cpu")
    if device != "cpu" and int(device.removeprefix("cuda:")) >= gpus:
        raise ProcessError(
            f"--device {device}: this process sees {gpus} GPU(s), from cuda:0; expected one of them, or auto"
        )
    return device


def _from_environment() -> tuple[int, int, int]:
    """Return rank, world and local rank; a job step of one task is a world of one."""
    for names in (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")):
        values = [os.environ.get(name) for name in names]
        if all(values) and (names[0] == "RANK" or "SLURM_STEP_ID" in os.environ):
            try:
                rank, world, local = (int(value or "") for value in values)
            except ValueError:
                raise ProcessError(f"{', '.join(names)} are {values}; expected whole numbers") from None
            return rank, world, local
    return 0, 1, 0


def loader_workers(process: Process, asked: int | None) -> int:
    """Return how many processes load images for this one: as asked, or what suits the machine.

    A core decodes some 500 images/s and a GPU takes thousands: beside a GPU it is every core that this process may
    use, at most 16. On a processor the network is by far the slower half: two keep it busy.
    """
    if asked is not None:
        if asked < 0:
            raise ProcessError(f"--workers {asked}: expected 0 (images are loaded by the process itself) or more")
        return asked
    return min(own_cores(process), MOST_WORKERS) if process.device.startswith("cuda") else CPU_WORKERS


def own_cores(process: Process) -> int:
    """Return this process's part of the cores that it may use: srun may bind a task to its own, torchrun does not."""
    cores, torchrun = len(os.sched_getaffinity(0)), _number("LOCAL_WORLD_SIZE")
    if not torchrun and (each := _number("SLURM_CPUS_PER_TASK")):
        return min(cores, each)
    beside = torchrun or -(-process.world // max(1, _number("SLURM_STEP_NUM_NODES")))  # processes on this node
    return max(1, cores // beside)


def _number(name: str) -> int:
    """Return a variable of the environment as a whole number; 0 where it is none."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else 0


@contextmanager
def process_group(process: Process) -> Generator["torch.device"]:
    """Join the group of `process` for the length of the block; yield its device.

    The group exchanges by nccl on GPUs, by gloo on CPUs and where processes were told to share a GPU. When one of its
    processes fails or is killed, the others raise PeerLost, or are ended where they cannot (runtime/watch.py).
    """
    import torch
    import torch.distributed

    device = torch.device(process.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if process.world == 1:
        yield device
        return
    from twinbench.runtime.group import joined

    with joined(process):
        yield device
