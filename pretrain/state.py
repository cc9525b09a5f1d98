"""checkpoint.pth: all that a run needs to go on exactly, in the form Barlow Twins' main.py reads and writes.

Its keys `epoch`, `model` (names under `module.`) and `optimizer` are the original's; `twinbench` holds the rest.
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from twinbench.convert import files
from twinbench.pretrain.images import Plan
from twinbench.protocols.house import RunEnded, UserError

PREFIX = "module."  # DistributedDataParallel's, on any number of processes


class ResumeError(UserError):
    """A checkpoint that belongs to another run."""


class OutError(UserError):
    """An OUT that cannot be written to."""


class RunError(RunEnded):
    """A run that failed for no fault of its command line; told in one line, exit code 1."""


def save(
    path: Path, plan: Plan, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, more: dict[str, Any]
) -> None:
    """Write the state after `step` steps; RunError where the disk refuses, with the old file intact."""
    state = {
        "epoch": step // plan.steps_per_epoch,
        "model": {PREFIX + name: tensor for name, tensor in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "twinbench": {"step": step, **identity(plan), "recipe": dataclasses.asdict(plan.recipe), **more},
    }
    write(state, path)


def write(obj: object, path: Path) -> None:
    """Write a file whole or not at all; RunError where the disk refuses."""
    try:
        files.save(obj, path)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        reason = str(error).splitlines()[0]
        raise RunError(f"{path}: cannot be written ({reason}); make room and run the same command again") from error


def load(path: Path, plan: Plan) -> dict[str, Any] | None:
    """Return the state to go on from, None where there is none; ResumeError where it belongs to another run."""
    if not path.exists():
        return None
    state = files.load(path)
    found = state.get("twinbench") if isinstance(state, dict) else None
    if not isinstance(found, dict):
        raise ResumeError(f"{path}: not a checkpoint of `twinbench pretrain`; choose another OUT or remove it")
    ours = identity(plan)
    differing = [name for name in ours if found.get(name) != ours[name]]
    if differing:
        then, now = {**found, **found.get("recipe", {})}, {**ours, **dataclasses.asdict(plan.recipe)}
        names = [name for name in now if then.get(name) != now[name] and name not in ("fingerprint", "name", "source")]
        raise ResumeError(
            f"{path}: of another run, with {_settings(names, then)} instead of {_settings(names, now)}; "
            "choose another OUT, or remove it to start again"
        )
    return state


def _settings(names: list[str], values: dict[str, Any]) -> str:
    """Write settings as --set takes them."""
    return " ".join(f"{name}={values.get(name)}" for name in names)


def identity(plan: Plan) -> dict[str, Any]:
    """Return what must not change between two starts of one run."""
    return {"fingerprint": plan.recipe.fingerprint, "seed": plan.seed, "images": plan.images}


def restore(state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the saved tensors back."""
    model.load_state_dict({name.removeprefix(PREFIX): tensor for name, tensor in state["model"].items()})
    optimizer.load_state_dict(state["optimizer"])
