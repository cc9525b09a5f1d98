"""What the processes of one probe say to each other: gradients of the global batch, counts, running statistics.

Every function is the identity where there is only one process.
"""

import torch
from torch import Tensor, distributed, nn

from slurm.process import Process


def summed(values: Tensor, process: Process) -> Tensor:
    """Return the sum of `values` over all processes."""
    if process.world == 1:
        return values
    total = values.to(process.device)
    distributed.all_reduce(total)
    return total.cpu()


def average_gradients(model: nn.Module, images: int, process: Process) -> None:
    """Turn gradients of a summed loss over this process's `images` into those of the global batch's mean loss.

    Exact for a last batch that does not divide evenly, where the mean of the processes' means is not.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    count = torch.tensor([float(images)], device=process.device)
    if process.world > 1:
        flat = torch.cat([count, *(gradient.flatten() for gradient in gradients)])
        distributed.all_reduce(flat)
        count, *parts = flat.split([1, *(gradient.numel() for gradient in gradients)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
    for gradient in gradients:
        gradient.div_(count)


def share_buffers(model: nn.Module, process: Process) -> None:
    """Give every process rank 0's batch-norm statistics, as DistributedDataParallel does before a forward pass."""
    if process.world > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
