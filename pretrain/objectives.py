"""What a pretraining minimises: the Barlow Twins loss, its ablations, and the losses of VICReg and SimCLR.

All but the first are written as their sources define them and left to autograd: they are there to compare objectives
on one recipe, and cost what they cost. z1, z2 (N, D) are the embeddings of the global batch.

| objective     | minimises                                                                                      |
|---------------|------------------------------------------------------------------------------------------------|
| barlow-twins  | equation 1 of the paper, see loss.py; with lambd 0 its invariance term alone                   |
| redundancy    | its second term alone                                                                          |
| covariance    | the same of the cross-covariance: columns are centred and not scaled                           |
| feature-norm  | the same of rows on the unit sphere, normalised after the columns; their products are summed   |
| cross-entropy | -log sum_i exp(C_ii / t) + lambda log sum_{i != j} exp(max(C_ij, 0) / t)                       |
| vicreg        | similarity, variance and covariance of facebookresearch/vicreg's main_vicreg.py                |
| simclr        | NT-Xent of google-research/simclr's objective.py                                               |
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from twinbench.pretrain.loss import EPSILON, Form, at_least_float32, barlow_twins_loss, gather, own_rows
from twinbench.protocols.pretraining import PretrainRecipe

VARIANCE_EPSILON = 1e-4  # main_vicreg.py: sqrt(var + 0.0001)
APART = 1e9  # objective.py: LARGE_NUM, taken off an image's likeness to itself


def objective(z1: Tensor, z2: Tensor, recipe: PretrainRecipe, form: Form) -> Tensor:
    """Return what `recipe` minimises (a scalar) of this process's embeddings z1 and z2 (n, D), in float32 or better.

    Value and gradient are those of the global batch: the gradient for this process's own rows, to be summed over
    processes. `form` is of the Barlow Twins loss.
    """
    if recipe.objective == "barlow-twins":
        return barlow_twins_loss(z1, z2, recipe.lambd, form=form, batch_size=recipe.batch_size)
    with torch.autocast(z1.device.type, enabled=False):
        return OTHERS[recipe.objective](_everyone(z1), _everyone(z2), recipe)


def _everyone(z: Tensor) -> Tensor:
    """Return all processes' rows (N, D), of which only this process's are differentiated."""
    z = at_least_float32(z)
    rows = gather(z.detach())
    own = own_rows(z)
    return torch.cat((rows[: own.start], z, rows[own.stop :]))


def _redundancy(z1: Tensor, z2: Tensor, recipe: PretrainRecipe) -> Tensor:
    return recipe.lambd * _off_diagonal(_columns(z1).T @ _columns(z2) / recipe.batch_size).square().sum()


def _covariance(z1: Tensor, z2: Tensor, recipe: PretrainRecipe) -> Tensor:
    return _equation1((z1 - z1.mean(0)).T @ (z2 - z2.mean(0)) / recipe.batch_size, recipe.lambd)


def _feature_norm(z1: Tensor, z2: Tensor, recipe: PretrainRecipe) -> Tensor:
    a, b = F.normalize(_columns(z1)), F.normalize(_columns(z2))
    return _equation1(a.T @ b, recipe.lambd)


def _cross_entropy(z1: Tensor, z2: Tensor, recipe: PretrainRecipe) -> Tensor:
    c = _columns(z1).T @ _columns(z2) / recipe.batch_size
    on = torch.logsumexp(c.diagonal() / recipe.temperature, 0)
    off = torch.logsumexp(_off_diagonal(c).clamp_min(0) / recipe.temperature, 0)
    return recipe.lambd * off - on


def _vicreg(z1: Tensor, z2: Tensor, recipe: PretrainRecipe) -> Tensor:
    similarity, variance, covariance = recipe.terms
    loss = similarity * F.mse_loss(z1, z2)
    for z in (z1 - z1.mean(0), z2 - z2.mean(0)):
        deviation = (z.var(0) + VARIANCE_EPSILON).sqrt()
        loss = loss + variance * F.relu(1 - deviation).mean() / 2
        off = _off_diagonal(z.T @ z / (recipe.batch_size - 1))
        loss = loss + covariance * off.square().sum() / z.shape[1]
    return loss


def _simclr(z1: Tensor, z2: Tensor, recipe: PretrainRecipe) -> Tensor:
    a, b = F.normalize(z1), F.normalize(z2)
    labels = torch.arange(len(a), device=a.device)
    itself = torch.eye(len(a), device=a.device, dtype=a.dtype) * APART
    loss = a.new_zeros(())
    for x, y in ((a, b), (b, a)):
        likeness = torch.cat((x @ y.T / recipe.temperature, x @ x.T / recipe.temperature - itself), 1)
        loss = loss + F.cross_entropy(likeness, labels)
    return loss


def _columns(z: Tensor) -> Tensor:
    """Return z with its columns normalised, as loss.py does."""
    return F.batch_norm(z, None, None, training=True, eps=EPSILON)


def _equation1(c: Tensor, lambd: float) -> Tensor:
    """Return the Barlow Twins loss of a matrix C (D, D)."""
    return (c.diagonal() - 1).square().sum() + lambd * _off_diagonal(c).square().sum()


def _off_diagonal(c: Tensor) -> Tensor:
    """Return the entries of a square matrix that are not on its diagonal, (D (D - 1),)."""
    size = len(c)
    return c.flatten()[:-1].view(size - 1, size + 1)[:, 1:].flatten()


OTHERS: dict[str, Callable[[Tensor, Tensor, PretrainRecipe], Tensor]] = {
    "redundancy": _redundancy,
    "covariance": _covariance,
    "feature-norm": _feature_norm,
    "cross-entropy": _cross_entropy,
    "vicreg": _vicreg,
    "simclr": _simclr,
}
