"""SyncBN where PyTorch has none: among several processes on processors.

A recipe's `norm` is SyncBN wherever it runs; what computes it depends on the place. PyTorch's SyncBatchNorm runs on
GPUs, and in a run of one process, where it is plain batch norm. Among several processes on processors it raises: there,
a layer with the same statistics takes its place.
"""

from torch import nn

from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.process import Process


class ProcessorSyncBatchNorm(GlobalBatchNorm, nn.BatchNorm2d):
    """SyncBN on processors. It is a BatchNorm2d for those who look for norms by their class.

    Precise batch norm (fvcore) would pass over any other class, and Detectron2's optimiser would decay its weights,
    both without a word.
    """


def with_synchronized_norms(model: nn.Module, process: Process) -> nn.Module:
    """Return `model` with each SyncBatchNorm replaced, tensors and all, where it would not run."""
    if process.world == 1 or process.device != "cpu":
        return model
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.SyncBatchNorm):
                setattr(parent, name, ProcessorSyncBatchNorm.of(child))
    return model
