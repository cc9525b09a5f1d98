"""Batch norm over all processes' images, on any device and without a wait for it.

torch's own is faster where a batch norm takes part of the time, but needs GPUs, and waits for them in every pass.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


def synchronize(module: nn.Module, device: torch.device, group: dist.ProcessGroup | None = None) -> nn.Module:
    """Return `module` with every batch norm using the statistics of the global batch; tensors are the same ones.

    With a `group`, of what that group's processes hold of it.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module, group)
    if isinstance(module, _BatchNorm):
        return GlobalBatchNorm.of(module, group)
    for name, child in module.named_children():
        module.add_module(name, synchronize(child, device, group))
    return module


class GlobalBatchNorm(_BatchNorm):
    """Batch norm of (n, C, ...) whose mean and variance in training are those of all processes of a group together."""

    group: dist.ProcessGroup | None = None  # of all processes

    @classmethod
    def of(cls, norm: _BatchNorm, group: dist.ProcessGroup | None = None) -> "GlobalBatchNorm":
        """Return a norm that shares the parameters and the running statistics of `norm`."""
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine)
        new.weight, new.bias, new.group = norm.weight, norm.bias, group
        for name, buffer in norm.named_buffers():
            new.register_buffer(name, buffer)
        return new

    def forward(self, input: Tensor) -> Tensor:
        """Normalise in float32 or better; keep the input's type."""
        if not self.training:
            return super().forward(input)
        y, mean, variance, count = cast("tuple[Tensor, ...]", _Normalize.apply(input, self.eps, self.group))
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        if self.affine:
            y = y * _along_channels(self.weight, y) + _along_channels(self.bias, y)
        return y.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of axes."""


class _Normalize(torch.autograd.Function):
    """Normalise each channel over a group's processes; mean (C,), biased variance (C,) and count come along."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, eps: float, group: dist.ProcessGroup | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = x if x.dtype == torch.float64 else x.float()
        count = x.new_tensor(x.numel() / x.shape[1])
        sums = torch.cat((_channel_sums(x), count[None]))
        dist.all_reduce(sums, group=group)
        mean, count = sums[:-1] / sums[-1], sums[-1]
        x = x - _along_channels(mean, x)
        squares = _channel_sums(x.square())
        dist.all_reduce(squares, group=group)
        variance = squares / count
        scale = (variance + eps).rsqrt()
        y = x * _along_channels(scale, x)
        ctx.save_for_backward(y, scale, count)
        ctx.group = group
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:  # type: ignore[override]
        grad = grads[0]
        y, scale, count = ctx.saved_tensors
        sums = torch.stack((_channel_sums(grad), _channel_sums(grad * y)))
        dist.all_reduce(sums, group=ctx.group)
        mean, along = (_along_channels(part, y) for part in sums / count)
        return (grad - mean - y * along) * _along_channels(scale, y), None, None


def _channel_sums(x: Tensor) -> Tensor:
    """Sum over all axes but the second."""
    return x.sum([axis for axis in range(x.ndim) if axis != 1])


def _along_channels(values: Tensor, like: Tensor) -> Tensor:
    """Shape (C,) so that it spreads over (n, C, ...)."""
    return values.view(-1, *[1] * (like.ndim - 2))
