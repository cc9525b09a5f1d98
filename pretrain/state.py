"""checkpoint.pth: all that a run needs to go on exactly, in the form Barlow Twins' main.py reads and writes.

Its keys `epoch`, `model` (names under `module.`) and `optimizer` are the original's; `twinbench` holds the rest.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from twinbench.convert import files
from twinbench.pretrain.images import Plan
from twinbench.pretrain.record import REMEDY, Record, ResumeError, record_of_checkpoint, require_same
from twinbench.protocols.house import RunEnded, UserError
from twinbench.protocols.pretraining import PretrainRecipe

PREFIX = "module."  # DistributedDataParallel's, on any number of processes


class OutError(UserError):
    """An OUT that cannot be written to."""


class RunError(RunEnded):
    """A run that failed for no fault of its command line; told in one line, exit code 1."""


def save(
    path: Path,
    plan: Plan,
    record: Record,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    more: dict[str, Any],
) -> None:
    """Write the state after `step` steps; RunError where the disk refuses, with the old file intact."""
    state = {
        "epoch": step // plan.steps_per_epoch,
        "model": {PREFIX + name: tensor for name, tensor in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "twinbench": {"step": step, "images": plan.images, "record": record.as_dict(), **more},
    }
    write(state, path)


def write(obj: object, path: Path) -> None:
    """Write a file whole or not at all, its tensors as a processor's; RunError where the disk refuses.

    A file remembers where its tensors lay: one written from a GPU cannot be read by a plain `torch.load` elsewhere.
    """
    try:
        files.save(_off_gpu(obj), path)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        reason = str(error).splitlines()[0]
        raise RunError(f"{path}: cannot be written ({reason}); make room and run the same command again") from error


def _off_gpu(obj: Any) -> Any:
    """Return nested dicts and lists with their tensors in the processor's memory; their strides stay."""
    if isinstance(obj, Tensor):
        return obj.cpu()
    if isinstance(obj, dict):
        return {key: _off_gpu(value) for key, value in obj.items()}
    return [_off_gpu(value) for value in obj] if isinstance(obj, list) else obj


def load(path: Path, plan: Plan, now: Record) -> dict[str, Any] | None:
    """Return the state to go on from, None where there is none; ResumeError where it belongs to another run."""
    if not path.exists():
        return None
    state = files.load(path)
    require_same(path, now, recorded(state, path, plan.recipe))
    images = state["twinbench"]["images"]
    if images != plan.images:  # what is left of the images without the damaged ones
        raise ResumeError(
            f"{path}: of another run, with {images} images instead of {plan.images}; {REMEDY}, or give back the images"
            " and the --skip-corrupt that it was started with"
        )
    return state


def recorded(state: Any, path: Path, recipe: PretrainRecipe) -> Record:
    """Return what the run of a checkpoint is of; ResumeError where it is no run of ours."""
    found = state.get("twinbench") if isinstance(state, dict) else None
    if not isinstance(found, dict):
        raise ResumeError(f"{path}: not a checkpoint of `twinbench pretrain`; {REMEDY}")
    try:
        return record_of_checkpoint(found, recipe)
    except (KeyError, TypeError, UserError) as error:
        raise ResumeError(f"{path}: not a checkpoint that this version can go on from ({error}); {REMEDY}") from None


def restore(state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the saved tensors back."""
    model.load_state_dict({name.removeprefix(PREFIX): tensor for name, tensor in state["model"].items()})
    optimizer.load_state_dict(state["optimizer"])
