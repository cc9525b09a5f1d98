"""The number format of the network's forward and backward pass; statistics, loss and weights stay in float32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from twinbench.protocols.house import UserError, unknown

PRECISIONS = ("auto", "bf16", "fp16", "fp32")


class PrecisionError(UserError):
    """A number format that does not exist."""


class Precision:
    """Autocast to one format; fp16 comes with a scaler that keeps small gradients above zero.

    `auto` is bf16 on GPUs and on processors that multiply it in hardware, else fp32.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Choose the format called `name` for `device`; PrecisionError lists the known ones."""
        if name not in PRECISIONS:
            raise PrecisionError(unknown("precision", name, PRECISIONS))
        self.name = ("bf16" if _fast_bf16(device) else "fp32") if name == "auto" else name
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if self.name == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for the forward pass."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.name == "bf16" else torch.float16)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Go backward from `loss` and step; with fp16, gradients that overflowed skip the step."""
        if self.scaler is None:
            loss.backward()
            optimizer.step()
            return
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"precision": self.name, "scaler": self.scaler.state_dict() if self.scaler else None}

    def restore(self, found: dict[str, Any]) -> None:
        """Go on with a checkpoint's scaler, if both it and this run have one."""
        if self.scaler and found.get("scaler"):
            self.scaler.load_state_dict(found["scaler"])


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
