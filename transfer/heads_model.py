"""Many heads on one frozen trunk: what each is fed, the module that holds them, and how each is trained.

What they are fed lies one behind the other in one row an image, each feature once however many heads it has. Letters:
N images, F numbers in a row, H heads, K classes, C channels, T tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Size, Tensor, nn

from twinbench.convert.architectures.trunk import Trunk
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.protocols.kinds.poolings import POOLING
from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.process import Process
from twinbench.runtime.seeds import draw_seed
from twinbench.transfer.batches import NormGroups
from twinbench.transfer.classifier import OnTrunk, draw_linear
from twinbench.transfer.features import Seen
from twinbench.transfer.poolings import Pooled, TokenNorm, make_pooling, pooled_together, token_norms

TOKENS = "tokens"  # what all poolings are fed


def source(feature: str) -> str:
    """Return what heads on a feature are fed: the feature itself, or the tokens where it is a pooling of them."""
    return TOKENS if POOLING.holds(feature) else feature


def fed(trunk: Trunk, images: Tensor, recipe: HeadsRecipe) -> dict[str, Tensor]:
    """Map images (N, 3, H, W) to what a recipe's heads are fed, by `source`: rows (N, C) or tokens (N, T, C)."""
    seen = Seen(trunk, images, recipe.heads_on)
    found: dict[str, Tensor] = {}
    for name in dict.fromkeys(map(source, recipe.heads_on)):
        if name == TOKENS:
            found[name] = seen.sequence(with_class=recipe.with_class, normed=not recipe.tokens.endswith("raw"))
        else:
            found[name] = seen.features(name).flatten(1)
    return found


class ManyHeads(OnTrunk):
    """A frozen trunk with a head for each feature, rate and decay of a recipe."""

    def __init__(
        self, trunk: Trunk, classes: int, recipe: HeadsRecipe, seed: int, process: Process | None = None
    ) -> None:
        """Put fresh heads on `trunk`; those of one feature are drawn alike, from `seed` and the feature's name.

        Their batch norms see the whole batch in any number of processes.
        """
        super().__init__()
        self.trunk, self.recipe, self.precision, self.groups = trunk, recipe, recipe.precision, NormGroups()
        trunk.requires_grad_(False)
        side = recipe.transform.crop
        with torch.no_grad():
            shapes = {
                name: found.shape[1:]
                for name, found in fed(trunk.eval(), torch.zeros(1, 3, side, side), recipe).items()
            }
        batch_norm = nn.BatchNorm1d if process is None or process.world == 1 else GlobalBatchNorm
        norms = token_norms(shapes[TOKENS][-1], batch_norm) if TOKENS in shapes else {}
        made: list[nn.Sequential] = []
        for head in recipe.heads:
            drawn_from = draw_seed(seed, int.from_bytes(head.feature.encode()))
            width = shapes[source(head.feature)][-1]
            made.append(_new_head(recipe, head.feature, width, classes, drawn_from, batch_norm, norms))
        self.head = SideBySide(shapes, [source(head.feature) for head in recipe.heads], made)
        self.shape = Size([sum(map(Size.numel, shapes.values()))])

    def frozen(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to rows (N, F)."""
        found = fed(self.trunk, images, self.recipe).values()
        return torch.cat([each.float().flatten(1) for each in found], 1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return each head's, with its own rate and decay; biases and norms' scales apart, where they have none."""
        recipe, groups = self.recipe, list[dict[str, Any]]()
        for head, module in zip(recipe.heads, self.head.heads, strict=True):
            for is_bias in (False, True):  # or a scale: one axis, as no weight or query has
                params = [each for each in module.parameters() if (each.ndim == 1) == is_bias]
                decay = head.decay if recipe.decays_bias or not is_bias else 0.0
                rates = {"base": head.rate * recipe.scale, "weight_decay": decay, "decay": decay}
                groups.append({"params": params, **rates})
        return groups


class SideBySide(nn.Module):
    """Heads, each fed its own part of a row."""

    def __init__(self, shapes: dict[str, Size], sources: Sequence[str], heads: Sequence[nn.Sequential]) -> None:
        """Take the shapes of all parts of a row in their order, and of each head the part that it takes."""
        super().__init__()
        self.shapes, self.sources = shapes, list(sources)
        self.heads = list(heads)  # the same modules; of a ModuleList no type says that each is a Sequential
        self.parts = nn.ModuleList(heads)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (N, F) to logits (N, H, K)."""
        parts = dict(zip(self.shapes, rows.split([shape.numel() for shape in self.shapes.values()], 1), strict=True))
        pooled = iter(self._pooled(parts[TOKENS]) if TOKENS in parts else ())
        logits: list[Tensor] = []
        for head, name in zip(self.heads, self.sources, strict=True):
            logits.append(head[1:](next(pooled)) if name == TOKENS else head(parts[name]))
        return torch.stack(logits, 1)

    def _pooled(self, rows: Tensor) -> list[Tensor]:
        """Map tokens in rows (N, T C) to what each pooling makes of them (N, D), all at once."""
        poolings: list[Any] = [
            head[0] for head, name in zip(self.heads, self.sources, strict=True) if name == TOKENS
        ]  # of a Sequential no type says what its first part is
        return pooled_together(poolings, rows.unflatten(1, self.shapes[TOKENS]))


def _new_head(
    recipe: HeadsRecipe,
    feature: str,
    width: int,
    classes: int,
    seed: int,
    batch_norm: type[nn.Module],
    norms: Mapping[TokenNorm, nn.Module],
) -> nn.Sequential:
    """Return a fresh head for rows (C,) or tokens (T, C): a pooling, a norm, a linear layer, as far as it has them.

    Poolings share the `norms` of tokens, which are the same for all of them.
    """
    generator, steps = torch.Generator().manual_seed(seed), list[nn.Module]()
    if source(feature) == TOKENS:
        pooling = make_pooling(feature, width, generator)
        steps.append(Pooled(norms[pooling.norm], pooling))
        width = pooling.width
    if recipe.head == "standardized-linear":
        steps.append(batch_norm(width, eps=recipe.norm_epsilon, affine=False))
    linear = nn.Linear(width, classes)
    draw_linear(linear, recipe.head_init_std, generator)
    return nn.Sequential(*steps, linear)
