"""Where a training run stands: written every few minutes and when told to stop, read back to the bit."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from torch import nn, optim
from torch.nn.modules.batchnorm import _BatchNorm

from twinbench.convert.files import load, save
from twinbench.detection.training.normalizer import Normalizer
from twinbench.detection.training.step import DivergedError
from twinbench.protocols.house import UserError
from twinbench.protocols.identity import NOT_RECORDED, Identity
from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.distributed import from_main, meet
from twinbench.runtime.process import Process
from twinbench.runtime.shared import is_there
from twinbench.runtime.stopping import StopAsked, Stopper

KEPT = 2  # the newest and, against a bad disk, the one before
DIGITS = 12  # of a sha256, in a message


class ResumeError(UserError):
    """A folder that holds the state of another run."""


@dataclass(frozen=True)
class Owner:
    """What a run's files belong to. Beside the identities, the number of processes that it began with decides which
    image comes when: it is kept."""

    identity: Identity
    processes: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Return what a file keeps."""
        return {**self.identity.as_dict(), "processes": self.processes}

    def require_own(self, path: Path, found: dict[str, Any]) -> None:
        """Raise ResumeError, naming each part that differs, unless `found`, which `path` keeps, is of this run."""
        ours = self.identity.as_dict()
        recorded = {name: found.get(name, NOT_RECORDED) for name in ours}
        differing = list(self.identity.differences(Identity(**recorded)))
        if differing:
            theirs = ", ".join(f"{name} {_short(found.get(name))}" for name in differing)
            mine = ", ".join(_short(ours[name]) for name in differing)
            raise ResumeError(
                f"{path}: belongs to a run with {theirs}, this one has {mine}; "
                "choose another OUT, or remove it to start anew"
            )

    def require_shared_streams(self, path: Path, streams: int, model: nn.Module) -> None:
        """Raise ResumeError where a run that began with `streams` processes cannot go on with this one's number.

        Each process goes on with several of their streams of images, or a part of one. What the norms see must not
        change with that: statistics of a process's own images do.
        """
        here = f"{path}: the state of a run that began with {streams} processes, and this one has {self.processes}"
        if streams == self.processes:
            return
        if streams % self.processes and self.processes % streams:
            raise ResumeError(
                f"{here}; expected a number that divides the other, so that each process takes over whole shares of the"
                " images; start as many, or remove it to start anew"
            )
        if norm := own_statistics(model):
            raise ResumeError(
                f"{here}; {norm} depends on how many images each process has at once; expected {streams} processes; "
                "start as many, or remove it to start anew"
            )


def own_statistics(model: nn.Module) -> str:
    """Return the class of a norm whose statistics are of each process's own images; empty where there is none."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm | GlobalBatchNorm):
            return type(module).__name__
    return ""


def _short(value: object) -> str:
    """Show a part of an identity: the first digits of a sha256, and what an older file does not have."""
    return "not recorded" if value is None else str(value)[:DIGITS]


@dataclass(frozen=True)
class State:
    """The parts of a run that its next iteration depends on; the data are a function of the iteration (stream.py)."""

    model: nn.Module
    optimizer: optim.Optimizer
    scheduler: Any  # Detectron2's LRMultiplier
    scaler: Any  # of losses, torch's GradScaler
    owner: Owner  # a checkpoint of another one is refused
    normalizer: Normalizer  # of RetinaNet's losses

    def save(self, folder: Path, iteration: int, streams: int = 0) -> None:
        """Write the state after `iteration` iterations and remove all but the KEPT newest ones.

        `streams` is the number of processes that the run began with, 0: as many as now.
        """
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "normalizers": self.normalizer.values,
            "iteration": iteration,
            "identity": self.owner.as_dict() | ({"processes": streams} if streams else {}),
        }
        save(state, folder / f"iteration_{iteration:07d}.pth")
        for path in checkpoints(folder)[:-KEPT]:
            path.unlink()

    def resume(self, folder: Path, process: Process) -> tuple[int, int]:
        """Take up the newest state in `folder`; return the number of iterations done, and the run's streams of images:
        the number of processes that it began with. None done if there is none.

        All processes take up the one that is the newest for the main one.
        """
        newest = from_main(process, lambda: [path.name for path in checkpoints(folder)[-1:]])
        if not newest:
            return 0, process.world
        path = folder / newest[0]
        is_there(path, process)
        found = load(path)
        self.owner.require_own(path, found["identity"])
        streams = found["identity"].get("processes", process.world)
        self.owner.require_shared_streams(path, streams, self.model)
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.scheduler.load_state_dict(found["scheduler"])
        self.scaler.load_state_dict(found.get("scaler", {}))
        self.normalizer.restore(found.get("normalizers", []))
        return found["iteration"], streams

    def require_finite(self, iteration: int) -> None:
        """Raise DivergedError where a weight is no number: a step may lose it whose losses were numbers still."""
        lost = [name for name, values in self.model.named_parameters() if not values.isfinite().all()]
        if lost:
            raise DivergedError(
                f"iteration {iteration}: the training has diverged (weights of {lost[0]} are no numbers after its "
                "step); expected finite weights; the state before it is kept; choose a lower rate, --set lr=..., and "
                "another OUT"
            )


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, oldest first."""
    written = re.compile(r"iteration_\d+")
    return sorted(path for path in folder.glob("iteration_*.pth") if written.fullmatch(path.stem))


class Checkpoints(HookBase):
    """Saves the state every `seconds`, after the last iteration, and when a signal asks the run to stop.

    Every process has this hook, the last of all: they stop after the same iteration. Only the main one writes.
    """

    def __init__(
        self, state: State, folder: Path, process: Process, stopper: Stopper, seconds: float, streams: int
    ) -> None:
        self.state, self.folder, self.seconds, self.streams = state, folder, seconds, streams
        self.process, self.stopper = process, stopper
        self.saved = time.monotonic()

    def after_step(self) -> None:
        """Save if it is time; StopAsked if any process was told to stop, DivergedError where the weights are lost."""
        done, end = self.trainer.iter + 1, self.trainer.max_iter
        stop = self.stopper.agreed_now()
        is_time = done == end or time.monotonic() - self.saved >= self.seconds
        if self.process.is_main and (stop or is_time):
            self.state.require_finite(done - 1)
            self.state.save(self.folder, done, self.streams)
            self.saved = time.monotonic()
        if stop:
            # torchrun ends all processes when the first one exits: none may before the state is on disk.
            meet(self.process)
            raise StopAsked(f"stopped after iteration {done} of {end}; state in {self.folder}")
