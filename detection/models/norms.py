"""The norms of a detector, by a recipe's word for them.

A recipe's `norm` is SyncBN wherever it runs; what computes it depends on the place. PyTorch's SyncBatchNorm runs on
GPUs, and in a run of one process, where it is plain batch norm. Among several processes on processors it raises: there,
a layer with the same statistics takes its place.
"""

from collections.abc import Callable, Container
from typing import Any

import torch
from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm
from torch import nn

from twinbench.convert.named import ModelError
from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.process import Process

TRAINED: dict[str, Callable[..., nn.Module]] = {"SyncBN": nn.SyncBatchNorm, "naiveSyncBN": NaiveSyncBatchNorm}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


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
                setattr(parent, name, _activated(ProcessorSyncBatchNorm.of(child), child))
    return model


def convert_norms(trunk: nn.Module, kind: str, frozen: Container[str] = ()) -> None:
    """Make each batch norm in `trunk` one of `kind`, with the same numbers; other norms stay what they are.

    Those whose weight is called by a name in `frozen` become FrozenBN, as Detectron2 freezes a stage. Raises ModelError
    for a kind that has no place in a foreign network.
    """
    for path, norm in list(trunk.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            parent, _, name = path.rpartition(".")
            chosen = "FrozenBN" if f"{path}.weight" in frozen else kind
            setattr(trunk.get_submodule(parent), name, _of_kind(norm, chosen))


def _of_kind(norm: nn.BatchNorm2d, kind: str) -> nn.Module:
    """Return a norm of `kind` with the tensors of `norm` and the activation that some of timm's have behind them."""
    if kind == "BN":
        return norm
    if kind == "FrozenBN":
        return _activated(_frozen(norm), norm)
    if kind not in TRAINED:
        raise ModelError(f"norm={kind}: the network has batch norms; expected BN, FrozenBN, {', '.join(TRAINED)}")
    new = TRAINED[kind](norm.num_features, eps=norm.eps, momentum=norm.momentum, affine=norm.affine)
    for name, tensor in norm.named_parameters(recurse=False):
        new.register_parameter(name, tensor)  # type: ignore[arg-type]
    for name, tensor in norm.named_buffers(recurse=False):
        new.register_buffer(name, tensor)
    return _activated(new, norm)


def _frozen(norm: nn.BatchNorm2d) -> FrozenBatchNorm2d:
    """Return Detectron2's norm of fixed numbers."""
    new = FrozenBatchNorm2d(norm.num_features, norm.eps)
    for name, tensor in norm.state_dict().items():
        if name != STATISTICS[-1]:
            new.get_buffer(name).copy_(tensor)
    return new


def _activated(new: nn.Module, old: nn.Module) -> nn.Module:
    """Give a norm the activation of the one that it replaces. timm's BatchNormAct2d computes both in one module."""
    if hasattr(old, "act"):
        new.add_module("drop", old.get_submodule("drop"))
        new.add_module("act", old.get_submodule("act"))
        new.register_forward_hook(_act)
    return new


def _act(norm: Any, _: Any, normalized: torch.Tensor) -> torch.Tensor:
    """Return what a norm with an activation gives."""
    return norm.act(norm.drop(normalized))
