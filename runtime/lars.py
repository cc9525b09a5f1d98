"""LARS: each weight tensor moves by a distance in proportion to its own norm (arXiv:1708.03888)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """SGD with momentum on gradients scaled by eta * |p| / |g + weight_decay * p|, all tensors at once (foreach).

    Tensors of one dimension (biases, batch norm) get neither weight decay nor the scaling. A tensor without a
    gradient is left alone; where |p| or |g| is 0 the scale is 1. `params` are tensors or groups with rates of their
    own. State and group keys are those of Barlow Twins' main.py, so that its checkpoints and ours change places.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        eta: float = 0.001,
    ) -> None:
        options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "eta": eta}
        super().__init__(params, {**options, "weight_decay_filter": True, "lars_adaptation_filter": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step; `closure`, if given, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weights in (True, False):
                # One foreach call wants one device and one type.
                chosen = [p for p in group["params"] if (p.ndim != 1) == weights]
                for params in _alike(chosen):
                    self._step(params, [p.grad for p in params if p.grad is not None], group, scale=weights)
        return loss

    def _step(self, params: list[Tensor], grads: list[Tensor], group: dict[str, Any], *, scale: bool) -> None:
        """Move `params`: g = q (grad + decay p), mu = momentum mu + g, p = p - lr mu."""
        for p in params:
            if "mu" not in self.state[p]:
                self.state[p]["mu"] = torch.zeros_like(p)
        momenta = [self.state[p]["mu"] for p in params]
        if scale:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
            sizes, slopes = torch.stack(torch._foreach_norm(params)), torch.stack(torch._foreach_norm(grads))
            # Where one of them is 0 the gradient stays as it is.
            scales = torch.where((sizes > 0) & (slopes > 0), group["eta"] * sizes / slopes, 1.0)
            torch._foreach_mul_(grads, list(scales.unbind()))
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, grads)
        torch._foreach_add_(params, momenta, alpha=-group["lr"])


def _alike(params: list[Tensor]) -> list[list[Tensor]]:
    """Split the tensors that have a gradient into lists of one device and one type."""
    lists: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for p in params:
        if p.grad is None:
            continue
        lists.setdefault((p.device, p.dtype), []).append(p)
    return list(lists.values())
