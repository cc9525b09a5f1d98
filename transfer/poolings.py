"""Attentive poolings: an image's tokens (N, T, C) become one row (N, D), gathered by queries that are learned.

A query is the same for all images, so what its source does to keys and values need not be done for each token. With
keys k_t = K x_t + b a head's logits are q k_t = (K' q) x_t + q b: a direction in the space of tokens, and a constant
that the softmax over t does not see. Values V x_t + c are averaged by weights that sum to 1, which gives V (sum of
a_t x_t) + c: the tokens are averaged, and the mean is projected. The functions and their gradients are the sources',
but for rounding; the cost is that of H directions, not of two products C x C a token, and no token needs a gradient.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.poolings import HEAD_WIDTH, POOLING, PoolingForm, PoolingRule, pooling_form

TokenNorm = Literal["none", "batch", "layer"]

LAYER_EPS = 1e-5  # PyTorch's, which V-JEPA's attentive_pooler.py leaves as it is
BATCH_EPS = 1e-6  # AIM's layers.py
QUERY_STD = 0.02  # of all four


class PoolingError(UserError):
    """A pooling that cannot be made for such tokens."""


class Pooling(nn.Module):
    """One pooling. Tokens (N, T, C), standardised as `norm` says, are averaged along its `directions`.

    `width` is D. What it learns, and nothing else, are its parameters; a query has two axes (or more), because all
    four sources decay and scale it as they do weights, and biases of one axis not.
    """

    norm: TokenNorm = "none"  # what is done to tokens first; none of them learns a scale that is not folded in

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens, self.width = tokens, width  # C and D

    def directions(self) -> Tensor:
        """Return what tokens are multiplied by to get the logits of each weighted mean, (H, C)."""
        raise NotImplementedError

    def combined(self, means: Tensor) -> Tensor:
        """Map the weighted means (N, H, C) to rows (N, D)."""
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (N, T, C), standardised already, to rows (N, D)."""
        return self.combined(gathered(tokens, self.directions()))


def gathered(tokens: Tensor, directions: Tensor) -> Tensor:
    """Return the means (N, H, C) of tokens (N, T, C), weighted by the softmax of their products with each direction."""
    weights = (tokens @ directions.T).softmax(1)  # (N, T, H)
    return weights.transpose(1, 2) @ tokens


def all_gathered(poolings: Sequence[Pooling], tokens: Tensor) -> list[Tensor]:
    """Return the rows (N, D) of several poolings of the same tokens (N, T, C) by two products for all of them."""
    directions = [pooling.directions() for pooling in poolings]
    means = gathered(tokens, torch.cat(directions))
    parts = means.split([len(each) for each in directions], 1)
    return [pooling.combined(part) for pooling, part in zip(poolings, parts, strict=True)]


class TokenBatchNorm(nn.Module):
    """A batch norm of tokens (N, T, C) without a scale of its own: each channel over all tokens of all images."""

    def __init__(self, norm: nn.Module) -> None:
        """Take a norm of rows (N, C), which may be one of all processes."""
        super().__init__()
        self.norm = norm

    def forward(self, tokens: Tensor) -> Tensor:
        """Standardise tokens."""
        return self.norm(tokens.flatten(0, 1)).view_as(tokens)


class Pooled(nn.Module):
    """A pooling behind what its source does to tokens first; several may share one such norm."""

    def __init__(self, norm: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.norm, self.pooling = norm, pooling

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (N, T, C) to rows (N, D)."""
        return self.pooling(self.norm(tokens))


def token_norms(tokens: int, batch_norm: type[nn.Module]) -> dict[TokenNorm, nn.Module]:
    """Return the norms that poolings of tokens of that width ask for, made of this kind of batch norm."""
    return {
        "none": nn.Identity(),
        "batch": TokenBatchNorm(batch_norm(tokens, eps=BATCH_EPS, affine=False)),
        "layer": nn.LayerNorm(tokens, eps=LAYER_EPS, elementwise_affine=False),
    }


def pooled_together(poolings: Sequence[Pooled], tokens: Tensor) -> list[Tensor]:
    """Return the rows (N, D) of each of several poolings of the same tokens (N, T, C).

    Those that share a norm are standardised once, and gathered by two products for all of them.
    """
    found: dict[Pooled, Tensor] = {}
    for norm in dict.fromkeys(each.norm for each in poolings):
        sharing = [each for each in poolings if each.norm is norm]
        rows = all_gathered([each.pooling for each in sharing], norm(tokens))
        found |= dict(zip(sharing, rows, strict=True))
    return [found[each] for each in poolings]


class EfficientPooling(Pooling):
    """Efficient probing's poolings/ep.py: each of Q queries has its own part of the values, keys are the tokens."""

    def __init__(self, tokens: int, queries: int, generator: torch.Generator) -> None:
        if tokens % queries:
            raise PoolingError(
                f"pooling ep-{queries} on {tokens} channels: each query has an equal part of them; expected a divisor, "
                f"for example ep-{_divisor(tokens, 32)}"
            )
        super().__init__(tokens, tokens)
        self.query = nn.Parameter(QUERY_STD * torch.randn(queries, tokens, generator=generator))
        self.value = nn.Parameter(_default_weights(tokens, tokens, generator))

    def directions(self) -> Tensor:
        """Return the queries over the root of their width."""
        return self.query * self.tokens**-0.5

    def combined(self, means: Tensor) -> Tensor:
        """Project the mean of each query by its part of the values."""
        return _by_parts(means, self.value)


class CapiPooling(Pooling):
    """CAPI's eval_classification.py, AttnPoolClassifier: heads of 64, biases on keys and values.

    The keys' bias is left out: no output depends on it.
    """

    def __init__(self, tokens: int, heads: int, generator: torch.Generator) -> None:
        if tokens % HEAD_WIDTH:
            raise PoolingError(
                f"pooling capi on {tokens} channels: its heads are {HEAD_WIDTH} wide; expected a multiple of that; "
                f"take another, for example aim-{_divisor(tokens)}"
            )
        super().__init__(tokens, tokens)
        self.query = nn.Parameter(_truncated(torch.empty(1, tokens), generator))
        self.key = nn.Parameter(_truncated(torch.empty(tokens, tokens), generator))
        self.value = nn.Parameter(_truncated(torch.empty(tokens, tokens), generator))
        self.bias = nn.Parameter(torch.zeros(tokens))
        self.heads = heads

    def directions(self) -> Tensor:
        """Fold the keys' projection into the query."""
        return _folded(self.query, self.key, self.heads)

    def combined(self, means: Tensor) -> Tensor:
        """Project the mean of each head by its part of the values."""
        return _by_parts(means, self.value) + self.bias


class AimPooling(Pooling):
    """AIM's layers.py, AttentionPoolingClassifier: as CAPI's without biases, on tokens that a batch norm standardises.

    The batch norm has no scale of its own and sees all tokens of a batch; it is its owner's, who may share it.
    """

    norm = "batch"

    def __init__(self, tokens: int, heads: int, generator: torch.Generator) -> None:
        _require_heads("aim", tokens, heads)
        super().__init__(tokens, tokens)
        self.query = nn.Parameter(QUERY_STD * torch.randn(1, tokens, generator=generator))
        self.key = nn.Parameter(_default_weights(tokens, tokens, generator))
        self.value = nn.Parameter(_default_weights(tokens, tokens, generator))
        self.heads = heads

    def directions(self) -> Tensor:
        """Fold the keys' projection into the query."""
        return _folded(self.query, self.key, self.heads)

    def combined(self, means: Tensor) -> Tensor:
        """Project the mean of each head by its part of the values."""
        return _by_parts(means, self.value)


class JepaPooling(Pooling):
    """V-JEPA's attentive_pooler.py: cross-attention of one query, then a perceptron, each added to what it was given.

    Its layer norms' scales are learned; that of the tokens is folded in. The keys' bias is left out, as no output
    depends on it, and so is a projection that the source makes and never calls.
    """

    norm = "layer"

    def __init__(self, tokens: int, heads: int, generator: torch.Generator) -> None:
        _require_heads("jepa", tokens, heads)
        super().__init__(tokens, tokens)
        self.token = nn.Parameter(_truncated(torch.empty(1, tokens), generator))
        self.query = _linear(tokens, tokens, generator)
        self.key = nn.Parameter(_truncated(torch.empty(tokens, tokens), generator))
        self.value = _linear(tokens, tokens, generator)
        self.scale, self.shift = nn.Parameter(torch.ones(tokens)), nn.Parameter(torch.zeros(tokens))
        self.perceptron_norm = nn.LayerNorm(tokens, eps=LAYER_EPS)
        self.first, self.second = _linear(tokens, 4 * tokens, generator), _linear(4 * tokens, tokens, generator)
        with torch.no_grad():
            self.second.weight.div_(2**0.5)  # its _rescale_blocks, of the first block
        self.heads = heads

    def directions(self) -> Tensor:
        """Fold the keys' projection and the norm's scale into the query; the norm's shift adds the same to all."""
        return _folded(self.query(self.token), self.key, self.heads) * self.scale

    def combined(self, means: Tensor) -> Tensor:
        """Add the heads' values to the token that asked, and the perceptron's answer to both."""
        values = _by_parts(means * self.scale + self.shift, self.value.weight) + self.value.bias
        rows = self.token + values
        return rows + self.second(functional.gelu(self.first(self.perceptron_norm(rows))))


_RULES: dict[PoolingRule, Callable[[int, int, torch.Generator], Pooling]] = {
    "ep": EfficientPooling,
    "capi": CapiPooling,
    "aim": AimPooling,
    "jepa": JepaPooling,
}


def make_pooling(name: str, tokens: int, generator: torch.Generator) -> Pooling:
    """Return a fresh pooling of tokens of that width; PoolingError for a name or a width that it does not have."""
    form: PoolingForm | None = pooling_form(name)
    if form is None:
        raise PoolingError(f"pooling {name}: expected {POOLING.words}")
    return _RULES[form.rule](tokens, form.directions(tokens), generator)


def _folded(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Return the direction (H, C) of each head of a query (1, C) whose keys are `key` (C, C) times the tokens."""
    parts = key.unflatten(0, (heads, -1))  # (H, d, C)
    return torch.einsum("hd,hdc->hc", query.view(heads, -1), parts) * parts.shape[1] ** -0.5


def _by_parts(means: Tensor, weight: Tensor) -> Tensor:
    """Multiply mean h of (N, H, C) by the h-th of H equal parts of a weight (D, C), and join them to (N, D)."""
    parts = weight.unflatten(0, (means.shape[1], -1))  # (H, D / H, C)
    return torch.einsum("nhc,hdc->nhd", means, parts).flatten(1)


def _require_heads(name: str, tokens: int, heads: int) -> None:
    """Raise PoolingError unless tokens can be cut into that many heads."""
    if tokens % heads:
        raise PoolingError(
            f"pooling {name}-{heads} on {tokens} channels: heads are of one width; expected a divisor of {tokens}, "
            f"for example {name}-{_divisor(tokens)}"
        )


def _divisor(number: int, most: int = 16) -> int:
    """Return the largest whole number up to `most` that divides `number`."""
    return next(each for each in range(most, 0, -1) if number % each == 0)


def _truncated(empty: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from a normal distribution of deviation .02, which PyTorch cuts at 2."""
    return nn.init.trunc_normal_(empty, std=QUERY_STD, generator=generator)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a layer as V-JEPA draws it: weights of deviation .02, bias 0."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        _truncated(layer.weight, generator)
        layer.bias.zero_()
    return layer


def _default_weights(inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    """Draw the weights (outputs, inputs) of a layer as PyTorch does it."""
    bound = inputs**-0.5
    return torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator)
