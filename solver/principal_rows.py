"""Rows of features in their principal axes, and fast products with them: what every problem on the same images shares.

With x the rows and a constant 1 behind each (the regularised bias), z = x v where v are the eigenvectors of x^T x.
Weights in these axes have the same length and give the same scores.
Letters: N rows, M test rows, F features, R axes, P problems. Arrays have one problem a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

ALIGNED = 64  # bytes, the least that a processor fetches
NEGLIGIBLE = 1e-7  # eigenvalues under this part of the largest one are float32's noise


@dataclass(frozen=True)
class PrincipalRows:
    """Training rows in their principal axes."""

    z: Tensor  # (N, R), R <= F + 1
    features: Callable[
        [Tensor], Tensor
    ]  # weights (P, R) in these axes to weights of the features, bias last (P, F + 1)
    products: Tensor | None = None  # z z^T, where it is known

    @classmethod
    def of(cls, train: Tensor) -> "PrincipalRows":
        """Find the axes of train (N, F) through the smaller of its two products with itself; it is not copied."""
        return _by_features(train) if train.shape[1] < train.shape[0] else _by_rows(train)

    @cached_property
    def gram(self) -> Tensor:
        """The products of all rows, (N, N)."""
        return self_product(self.z) if self.products is None else self.products

    @cached_property
    def _rough(self) -> Tensor:
        return aligned(len(self.z), self.z.shape[1], self.z, rough_type(self.z.device)).copy_(self.z)

    @cached_property
    def _squares(self) -> Tensor:
        return torch.square(self._rough, out=aligned(len(self.z), self.z.shape[1], self.z, self._rough.dtype))

    def onto_rows(self, w: Tensor, *, rough: bool = False) -> Tensor:
        """Return w z^T (P, N) for w (P, R), in the device's fastest type if `rough`."""
        if not rough:
            return w @ self.z.T
        scores = self._rough @ w.to(self._rough.dtype).T  # in bfloat16 twice as fast as the other way round
        return w.new_empty(len(w), len(self.z)).copy_(scores.T)

    def onto_axes(self, b: Tensor, *, rough: bool = False) -> Tensor:
        """Return b z (P, R) for b (P, N), in the device's fastest type if `rough`."""
        return _product(b, self._rough if rough else self.z)

    def onto_squares(self, a: Tensor) -> Tensor:
        """Return a (z * z) (P, R) for a (P, N), roughly."""
        return _product(a, self._squares)

    def scores(self, w: Tensor, test: Tensor) -> Tensor:
        """Return the scores (P, M) of other rows `test` (M, F) for w (P, R)."""
        w = self.features(w)
        return torch.addmm(w[:, -1:], w[:, :-1], test.T)


def _by_features(x: Tensor) -> PrincipalRows:
    """Take the axes from the moments of the features and the bias, (F + 1, F + 1)."""
    total = x.sum(0)
    moments = torch.cat([self_product(x.T), total[None]])
    moments = torch.cat([moments, torch.cat([total, x.new_tensor([len(x)])])[:, None]], dim=1)
    v = torch.linalg.eigh(moments).eigenvectors
    z = aligned(len(x), v.shape[1], x, x.dtype)
    return PrincipalRows(torch.mm(x, v[:-1], out=z).add_(v[-1]), lambda w: w @ v.T)


def _by_rows(x: Tensor) -> PrincipalRows:
    """Take the axes from the products of the rows, (N, N)."""
    gram = self_product(x).add_(1)
    sizes, u = torch.linalg.eigh(gram)
    kept = sizes > NEGLIGIBLE * sizes[-1]
    length = sizes[kept].sqrt()
    u = u[:, kept]
    scaled = u / length

    def features(w: Tensor) -> Tensor:
        b = w @ scaled.T  # (P, N)
        return torch.cat([b @ x, b.sum(1, keepdim=True)], dim=1)

    return PrincipalRows(u.mul_(length), features, gram)


def self_product(x: Tensor) -> Tensor:
    """Return x x^T. On a CPU NumPy, which computes one triangle only, takes a third of torch's time."""
    if x.device.type != "cpu":
        return x @ x.T
    with threadpool_limits(torch.get_num_threads(), "blas"):
        array = x.numpy()
        return torch.from_numpy(array @ array.T)


def aligned(rows: int, columns: int, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return zeros (rows, columns), on the device of `like`, whose rows begin at multiples of 64 bytes.

    Products with rows of 2049 numbers, one behind the other, take up to half as long again; so do those with rows a
    power of two apart, which meet in the same places of the cache: the rows are an odd multiple apart. Between them are
    zeros, too: a processor's bfloat16 products of an odd number of columns read one more, times 0, which of what
    memory held before may be no number.
    """
    step = ALIGNED // dtype.itemsize
    return like.new_zeros(rows, step * (-(-columns // step) | 1), dtype=dtype)[:, :columns]


def rough_type(device: torch.device) -> torch.dtype:
    """Return the type in which the device multiplies fastest: bfloat16 where it has instructions for it."""
    if device.type == "cuda":
        has = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        found = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not tell
        has = bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return torch.bfloat16 if has else torch.float32


def _product(left: Tensor, right: Tensor) -> Tensor:
    return (left.to(right.dtype) @ right).float()
