"""The Barlow Twins loss (arXiv:2103.03230, equation 1), value and gradient of the global batch, in three forms.

Letters: N images in the global batch, n of them in this process, D projector outputs. z (n, D): embeddings of one
view. a, b (n, D): the two views' embeddings, each column normalised over all N images. C = a' b / N (D, D); d = its
diagonal.

    L = sum_i (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2

The gradient, by hand. With G = dL/dC (2 lambda C_ij off the diagonal, 2 (C_ii - 1) on it), dL/da = b G' / N and
dL/db = a G / N. Going back through the normalisation takes each column's mean and its part along a out of dL/da: the
mean is 0, since the columns of b sum to 0, and the part along a_i is r_i = sum_j G_ij C_ij / N. Hence
dL/dz1 = (b G' - a r N) / (N sigma1), and the same for z2 with a, G and column sums. Where C is divided by another B
than N, dL/da = b G' / B, r_i = B / N times as much, and dL/dz1 = (b G' - a r N) / (B sigma1).

- dense: C in one buffer, turned in place into G. 6 N D^2 operations, D^2 memory.
- chunked: the same, a block of C's rows at a time; memory falls to block * D.
- gram: with K1 = a a' and K2 = b b' (N, N), |C_i|^2 = a_i' K2 a_i / N^2 and b C' = K2 a / N: C is never made.
  8 N^2 D operations, N^2 memory: cheaper for N < 3/4 D. Its value subtracts |d|^2 from |C|^2; for N <= D that loses at
  most a factor 1 / (1 - (N - 1) / D) of precision, as C has rank N - 1; for N > D with C near 1 it can lose all.

The loss is a scalar, so its gradient is made along with it in the forward pass and only scaled in the backward pass,
which therefore communicates nothing: dense and chunked sum C over processes, gram gathers z once. Each process gets
the exact gradient of the global loss for its own z; summed (not averaged) over processes, parameters get theirs.
"""

import os
from typing import Any, Literal, cast, get_args

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from twinbench.protocols.house import UserError, unknown

EPSILON = 1e-5  # BatchNorm1d's default, which the paper's code uses
GRAM_BELOW = 0.75  # of N / D: where 8 N^2 D operations fall under 6 N D^2
CHUNK = 1024  # rows of C at a time
DENSE_SHARE = 1 / 16  # of the device's memory that C may take before it is made in chunks

Form = Literal["auto", "dense", "gram", "chunked"]


class LossError(UserError):
    """Embeddings that are no two views of one batch, or an unknown form of the loss."""


def barlow_twins_loss(
    z1: Tensor, z2: Tensor, lambd: float = 0.0051, *, form: Form = "auto", batch_size: int | None = None
) -> Tensor:
    """Return the loss (a scalar) of embeddings z1 and z2 (N, D), which the final batch norm has not seen yet.

    Columns are normalised here, with the biased variance and epsilon 1e-5. Computes in float32 or better whatever
    the inputs and autocast say. With a process group, z1 and z2 are this process's rows, equally many in each, and
    value and gradient are those of the global batch. `auto` is gram where N < 0.75 D, else dense, or chunked where
    C would take more than 1/16 of the device's memory. `batch_size` is what C is divided by, N unless it is given: the
    paper's code divides a short last batch by the size of a whole one. Not twice differentiable. Raises LossError.
    """
    if z1.ndim != 2 or z1.shape != z2.shape or z1.device != z2.device:
        raise LossError(
            f"embeddings are {tuple(z1.shape)} on {z1.device} and {tuple(z2.shape)} on {z2.device}; "
            "expected two (N, D) of one shape on one device"
        )
    if form not in get_args(Form):
        raise LossError(unknown("form of the loss", form, get_args(Form)))
    images = len(z1) * _world()
    if images < 2:
        raise LossError("one image in the batch; the correlation needs 2 or more")
    if form == "auto":
        form = choose_form(images, z1.shape[1], z1.device)
    with torch.autocast(z1.device.type, enabled=False):
        loss = _BarlowTwinsLoss.apply(at_least_float32(z1), at_least_float32(z2), lambd, form, batch_size or images)
    return cast(Tensor, loss)


def choose_form(images: int, features: int, device: torch.device) -> Form:
    """Return the cheapest form for N = `images` and D = `features`; the same on every run of one machine."""
    if images < GRAM_BELOW * features:
        return "gram"
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return "dense" if 4 * features**2 <= DENSE_SHARE * memory else "chunked"


def loss_floor(images: int, features: int, lambd: float) -> float:
    """Return the least value the loss can take: above 0 where N - 1 < D, as C then has rank N - 1 at most.

    With k = lambda (D / (N - 1) - 1) it is D k / (1 + k), reached near C_ii = 1 / (1 + k).
    """
    k = lambd * max(0.0, features / (images - 1) - 1)
    return features * k / (1 + k)


@torch.no_grad()
def correlation_statistics(z1: Tensor, z2: Tensor) -> dict[str, float]:
    """Return `on_diagonal` (the loss's first term), `mean_cii` and `mean_abs_cij` of the global batch."""
    a, _ = _normalize(at_least_float32(z1))
    b, _ = _normalize(at_least_float32(z2))
    images, features = len(a) * _world(), a.shape[1]
    on = diagonal = off = 0.0
    for start in range(0, features, CHUNK):
        c = _sum(a[:, start : start + CHUNK].T @ b / images)  # (CHUNK, D)
        d = c.diagonal(start).double()
        on += float((d - 1).square().sum())
        diagonal += float(d.sum())
        off += float(c.abs_().sum(dtype=torch.float64) - d.abs().sum())
    pairs = max(1, features * (features - 1))
    return {"on_diagonal": on, "mean_cii": diagonal / features, "mean_abs_cij": off / pairs}


class _BarlowTwinsLoss(torch.autograd.Function):
    """The loss with its gradient made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, z1: Tensor, z2: Tensor, lambd: float, form: Form, batch_size: int) -> Tensor:
        if form == "gram":
            loss, ctx.gradients = _gram(z1, z2, lambd, batch_size)
        else:
            loss, ctx.gradients = _blocks(z1, z2, lambd, CHUNK if form == "chunked" else z1.shape[1], batch_size)
        return loss.to(z1.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # type: ignore[override]
        if ctx.gradients is None:
            raise RuntimeError("a second backward pass through the same loss: compute the loss again")
        first, second = ctx.gradients
        ctx.gradients = None  # they are scaled in place
        return first.mul_(grads[0]), second.mul_(grads[0]), None, None, None


def _gram(z1: Tensor, z2: Tensor, lambd: float, batch: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the loss and the gradients (n, D) of z1 and z2 without making C."""
    a, scale1 = _normalize(gather(z1), summed=False)  # (N, D), (D,)
    b, scale2 = _normalize(gather(z2), summed=False)
    images = len(a)
    own = own_rows(z1)
    d = _column_dots(a, b) / batch  # (D,)
    h1 = (b[own] @ b.T) @ a  # K2 a: (n, N) (N, D) -> (n, D)
    h2 = (a[own] @ a.T) @ b  # K1 b
    squares = torch.stack((_column_dots(a[own], h1), _column_dots(b[own], h2)))
    squares = _sum(squares) / batch**2  # (2, D): |row i of C|^2, |column i of C|^2
    on, off = (d - 1).square().sum(), squares[0].sum() - d.square().sum()
    # r N, as the head of this module calls it, and the part of G that is not 2 lambda C.
    r1, r2 = (batch / images * 2 * (lambd * (squares - d.square()) + (d - 1) * d)).to(a.dtype)
    w = (2 * (d - 1) - 2 * lambd * d).to(a.dtype)
    h1.mul_(2 * lambd / batch).addcmul_(b[own], w).addcmul_(a[own], -r1).mul_(scale1 / batch)
    h2.mul_(2 * lambd / batch).addcmul_(a[own], w).addcmul_(b[own], -r2).mul_(scale2 / batch)
    return on + lambd * off, (h1, h2)


def _blocks(z1: Tensor, z2: Tensor, lambd: float, block: int, batch: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the loss and the gradients (n, D) of z1 and z2, making C `block` rows at a time."""
    a, scale1 = _normalize(z1)  # (n, D), (D,)
    b, scale2 = _normalize(z2)
    images, features = len(a) * _world(), a.shape[1]
    g1, g2 = torch.empty_like(a), torch.zeros_like(b)
    r1, r2 = torch.zeros_like(scale1), torch.zeros_like(scale2)
    loss = torch.zeros((), dtype=torch.float64, device=a.device)
    for start in range(0, features, block):
        rows = slice(start, start + block)
        c = _sum((a[:, rows].T @ b).div_(batch))  # (block, D)
        diagonal = c.diagonal(start)  # a view
        d = diagonal.clone()
        diagonal.zero_()  # before squaring: near C = 1, |C|^2 - |d|^2 would lose what is left
        squares = torch.linalg.vector_norm(c, dim=1).double().square()  # of one row each: exact enough in float32
        loss += (d.double() - 1).square().sum() + lambd * squares.sum()
        on = 2 * (d - 1) * d
        r1[rows] = 2 * lambd * squares.to(a.dtype) + on
        r2 += 2 * lambd * torch.linalg.vector_norm(c, dim=0).square()
        r2[rows] += on
        c.mul_(2 * lambd)
        diagonal.copy_(2 * (d - 1))  # c is G now
        torch.mm(b, c.T, out=g1[:, rows])
        g2.addmm_(a[:, rows], c)
    g1.addcmul_(a, -r1.mul_(batch / images)).mul_(scale1 / batch)
    g2.addcmul_(b, -r2.mul_(batch / images)).mul_(scale2 / batch)
    return loss, (g1, g2)


def _normalize(z: Tensor, *, summed: bool = True) -> tuple[Tensor, Tensor]:
    """Return z with its columns normalised and 1 / sigma (D,); `summed`: over all processes' rows."""
    images = len(z) * (_world() if summed else 1)
    total = z.sum(0)
    z = z - (_sum(total) if summed else total) / images
    total = _column_dots(z, z).to(z.dtype)
    variance = (_sum(total) if summed else total) / images
    scale = (variance + EPSILON).rsqrt()
    return z.mul_(scale), scale


def _column_dots(x: Tensor, y: Tensor) -> Tensor:
    """Return sum_p x_pi y_pi (D,) in float64, some columns at a time so that no third (N, D) is made."""
    return torch.cat(
        [(p * q).sum(0, dtype=torch.float64) for p, q in zip(x.split(512, 1), y.split(512, 1), strict=True)]
    )


def at_least_float32(z: Tensor) -> Tensor:
    """Return z in float32 unless it is more precise already."""
    return z if z.dtype == torch.float64 else z.float()


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if _world() > 1 else 0


def _sum(x: Tensor) -> Tensor:
    """Sum x over processes, in place."""
    if _world() > 1:
        dist.all_reduce(x)
    return x


def gather(z: Tensor) -> Tensor:
    """Return all processes' rows (N, D), in the order of ranks."""
    if _world() == 1:
        return z
    everyone = z.new_empty(len(z) * _world(), z.shape[1])
    dist.all_gather(list(everyone.chunk(_world())), z.contiguous())
    return everyone


def own_rows(z: Tensor) -> slice:
    """Return where this process's rows z (n, D) stand among all processes' rows."""
    return slice(_rank() * len(z), (_rank() + 1) * len(z))
