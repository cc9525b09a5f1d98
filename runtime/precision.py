"""The number format of a network, one policy for every worker.

| name | the network's convolutions and matrix products                                                            |
|------|------------------------------------------------------------------------------------------------------------|
| fp32 | exact float32 on every device                                                                              |
| tf32 | float32 with 10 bits of mantissa inside products, on GPUs                                                  |
| bf16 | autocast to bfloat16; weights, statistics and loss stay float32                                            |
| fp16 | autocast to float16; a network that is trained needs a scaler, which keeps small gradients above zero      |

`fp32` has to be enforced: PyTorch by itself lets a GPU's convolutions take TF32, and in some containers
(TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1) its matrix products, too. Pretraining and detection used to take it unsaid.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from twinbench.protocols.house import UserError, unknown

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
_BACKENDS: Any = torch.backends  # its newer interface is unknown to type checkers
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class PrecisionError(UserError):
    """A number format that does not exist, or not on this device."""


def resolve_precision(name: str, device: torch.device | str) -> Precision:
    """Return the format called `name`; `auto` is the one that `device` computes fast, for networks that are trained.

    On GPUs that is bf16, or fp16 where bf16 is only emulated (V100), or fp32 where neither is fast; on a processor
    bf16 where it is multiplied in hardware, else fp32. Whoever resolves `auto` records what it became.
    """
    if name == "auto":
        return _fast(torch.device(device))
    if name not in PRECISIONS:
        raise PrecisionError(unknown("precision", name, ("auto", *PRECISIONS)))
    _require_device(name, str(device))
    return name


def _fast(device: torch.device) -> Precision:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability(device) >= (7, 0) else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def _require_device(precision: Precision, device: str) -> None:
    """Raise PrecisionError for tf32 anywhere but on a GPU."""
    if precision == "tf32" and not device.startswith("cuda"):
        raise PrecisionError(
            f"precision tf32 on {device}: expected a GPU; leave fp32, or use bf16 on a frozen backbone"
        )


@contextmanager
def network_precision(
    precision: Precision, device: torch.device | str, *, exact_products: bool = False
) -> Generator[None]:
    """Have a network compute in `precision` for the length of the block; what was set before comes back on exit.

    tf32 lets convolutions and matrix products take TF32, with `exact_products` the convolutions only; PrecisionError
    off GPUs. bf16 and fp16 are autocast: results are to be made float32 again. Blocks may stand within each other and
    the inner one counts: a worker opens one of fp32 around all it does, and the recipe's around the network.
    """
    device = str(device)
    _require_device(precision, device)
    tf32 = precision == "tf32"
    lower = torch.float16 if precision == "fp16" else torch.bfloat16
    autocast = torch.autocast(torch.device(device).type, lower, enabled=precision in ("bf16", "fp16"))
    try:
        with autocast, float32_products(convolutions=tf32, products=tf32 and not exact_products):
            yield
    finally:
        # PyTorch keeps the cast weights until the outermost autocast ends: within another block, every step of a
        # training would compute with the weights of the first one.
        torch.clear_autocast_cache()


@contextmanager
def float32_products(*, convolutions: bool, products: bool) -> Generator[None]:
    """Let float32 convolutions, and other matrix products, take TF32 or not for the length of the block.

    The part of `network_precision` that a backward pass needs, which does not belong under autocast.
    """
    put_back = [_put_back_products(), _put_back_convolutions(), _put_back(_defaults())]
    for place in _defaults():
        place.fp32_precision = "none"
    # Set by the older of PyTorch's two interfaces, which Detectron2 and others read: after a change by the newer one
    # (torch 2.9) alone, as PyTorch's pages now advise it, reading the older one raises RuntimeError.
    torch.set_float32_matmul_precision("high" if products else "highest")
    torch.backends.cudnn.allow_tf32 = convolutions
    try:
        yield
    finally:
        for restore in put_back:
            restore()


def _put_back_products() -> Callable[[], None]:
    """Return what sets matrix products to what they are now, and whether each interface can read them.

    Three switches hold them: the older word for all, the older one of GPUs, the newer one of each place. The
    word alone leaves a processor's products at tf32 where they were at none; a later `allow_tf32 = False` then made the
    older interface refuse to read what it had set.
    """
    gpu = _BACKENDS.cuda.matmul
    if not hasattr(gpu, "fp32_precision"):  # torch before 2.9 has the word only, and no mkldnn.matmul
        word = torch.get_float32_matmul_precision()
        return lambda: torch.set_float32_matmul_precision(word)
    cpu = _BACKENDS.mkldnn.matmul
    word, allowed = _readable(torch.get_float32_matmul_precision), _readable(lambda: gpu.allow_tf32)
    on_gpu, on_cpu = gpu.fp32_precision, cpu.fp32_precision

    def restore() -> None:
        if word is not None:
            torch.set_float32_matmul_precision(word)
        elif allowed is not None:
            gpu.allow_tf32 = allowed
        if allowed is None or gpu.fp32_precision != on_gpu:
            gpu.fp32_precision = on_gpu
        if cpu.fp32_precision != on_cpu:
            cpu.fp32_precision = on_cpu

    return restore


def _readable(read: Callable[[], Any]) -> Any:
    """Return what the older interface says; None where it refuses, after a change by the newer one."""
    try:
        return read()
    except RuntimeError:
        return None


def _put_back_convolutions() -> Callable[[], None]:
    """Return what sets a GPU's convolutions to what they are now."""
    try:
        before = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return _put_back([_BACKENDS.cudnn.conv, _BACKENDS.cudnn.rnn])
    return lambda: setattr(torch.backends.cudnn, "allow_tf32", before)


def _defaults() -> list[Any]:
    """Return the places of the newer interface that stay in force when the older one says no.

    With `torch.backends.fp32_precision = "tf32"` a GPU's convolutions take TF32 after `cudnn.allow_tf32 = False`.
    """
    backends = torch.backends
    places = [backends, backends.cudnn, backends.mkldnn, getattr(backends.mkldnn, "conv", None)]
    return [place for place in places if hasattr(place, "fp32_precision")]


def _put_back(places: list[Any]) -> Callable[[], None]:
    """Return what sets places of the newer interface to what they are now."""
    before = [place.fp32_precision for place in places]

    def restore() -> None:
        for place, setting in zip(places, before, strict=True):
            place.fp32_precision = setting

    return restore


class TrainingPrecision:
    """A precision for a network that is trained: the context of its forward pass, its backward pass, and a scaler.

    The scaler comes with fp16 alone. Losses are computed outside the context of the forward pass.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Choose the format called `name`, which may be `auto`, for `device`; PrecisionError lists the known ones."""
        self.name: Precision = resolve_precision(name, device)
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type) if self.name == "fp16" else None

    def forward(self) -> AbstractContextManager[None]:
        """Return the context of the network's forward pass."""
        return network_precision(self.name, self.device)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Go backward from `loss` and step; with fp16, gradients that overflowed skip the step."""
        tf32 = self.name == "tf32"
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        with float32_products(convolutions=tf32, products=tf32):
            scaled.backward()
        if self.scaler is None:
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"precision": self.name, "scaler": self.scaler.state_dict() if self.scaler else None}

    def restore(self, found: dict[str, Any]) -> None:
        """Go on with a checkpoint's scaler, if both it and this run have one."""
        if self.scaler and found.get("scaler"):
            self.scaler.load_state_dict(found["scaler"])
