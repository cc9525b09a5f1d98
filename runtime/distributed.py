"""What the processes of one run say to each other: gradients of the global batch, counts, running statistics.

Every function is the identity where there is only one process.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from twinbench.protocols.house import UserError
from twinbench.runtime.process import Process, ProcessError

ResultT = TypeVar("ResultT")


def summed(values: Tensor, process: Process) -> Tensor:
    """Return the sum of `values` over all processes."""
    if process.world == 1:
        return values
    total = values.to(process.device)
    distributed.all_reduce(total)
    return total.cpu()


def meet(process: Process) -> None:
    """Return when every process has come here."""
    summed(torch.zeros(1), process)


def from_main(process: Process, make: Callable[[], ResultT]) -> ResultT:
    """Return what `make` returns in the main process, to all; its UserError is everybody's, so that nobody waits."""
    if process.world == 1:
        return make()
    told: list[Any] = [None, None]  # what was made, or the words of why not
    if process.is_main:
        try:
            told[0] = make()
        except UserError as error:
            told[1] = str(error)
    # gloo copies through the processor what lies on a GPU.
    device = process.device if distributed.get_backend() == "nccl" else "cpu"
    distributed.broadcast_object_list(told, src=0, device=torch.device(device))
    if told[1] is not None:
        raise UserError(told[1])
    return told[0]


def require_equal(process: Process, **found: object) -> None:
    """Raise ProcessError where this process has found something else than the main one, each thing by its name.

    Each process reads the files for itself. A node that still has last week's copy would train on it without a word,
    or make fewer steps than the others and leave them waiting.
    """
    expected = from_main(process, lambda: found)
    for name, value in found.items():
        if value != expected[name]:
            raise ProcessError(
                f"process {process.rank} on {os.uname().nodename} finds {name.replace('_', ' ')} {value}, process 0 "
                f"finds {expected[name]}; expected the same files for all; are they on a disk that all nodes share?"
            )


def average_gradients(model: nn.Module, images: int | Tensor, loss: Tensor, process: Process) -> Tensor:
    """Turn gradients of `loss`, summed over this process's `images`, into those of the global batch's mean loss.

    `images` may be a number of anything else that losses are of, as a tensor that need not be there yet.

    Exact for a last batch that does not divide evenly, where the mean of the processes' means is not. Returns the
    global batch's summed loss, or losses (H,) of several heads.
    """
    # Made there: a copy from here would wait for the step.
    count = images if isinstance(images, Tensor) else torch.full((), float(images), device=process.device)
    gradients = [_gradient(p) for p in model.parameters() if p.requires_grad]
    if process.world > 1:
        flat = torch.cat([values.flatten() for values in (count, loss, *gradients)])
        distributed.all_reduce(flat)
        count, losses, *parts = flat.split([1, loss.numel(), *(gradient.numel() for gradient in gradients)])
        loss = losses.view_as(loss)
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
    for gradient in gradients:
        gradient.div_(count.clamp(min=1))  # of nothing the gradient is 0
    return loss


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Return a parameter's gradient; zeros in a process that had no images."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def share_buffers(model: nn.Module, process: Process) -> None:
    """Give every process rank 0's batch-norm statistics, as DistributedDataParallel does before a forward pass."""
    if process.world > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
