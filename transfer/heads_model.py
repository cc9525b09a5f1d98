"""Many heads on one frozen trunk: what each is fed, the module that holds them, and how each is trained.

What they are fed lies one behind the other in one row an image, each feature once however many heads it has. Letters:
N images, F numbers in a row, H heads, K classes, C channels, T tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor, nn

from twinbench.convert.architectures.trunk import Trunk
from twinbench.protocols.house import resolved
from twinbench.protocols.kinds.heads import POOLINGS, HeadsRecipe
from twinbench.runtime.batchnorm import GlobalBatchNorm
from twinbench.runtime.process import Process
from twinbench.runtime.seeds import draw_seed
from twinbench.transfer.batches import NormGroups
from twinbench.transfer.classifier import OnTrunk, draw_linear
from twinbench.transfer.features import Seen


def source(feature: str) -> str:
    """Return what heads on a feature are fed: the feature, or the tokens that a pooling of this name takes."""
    return f"tokens of {POOLINGS[feature].tokens}" if feature in POOLINGS else feature


def fed(trunk: Trunk, images: Tensor, features: Sequence[str]) -> dict[str, Tensor]:
    """Map images (N, 3, H, W) to what heads on some features are fed, by `source`: rows (N, C) or tokens (N, T, C)."""
    seen = Seen(trunk, images, features)
    found: dict[str, Tensor] = {}
    for feature in features:
        if source(feature) in found:
            continue
        if feature in POOLINGS:
            found[source(feature)] = seen.sequence(with_class=POOLINGS[feature].tokens != "patches")
        else:
            found[feature] = seen.features(feature).flatten(1)
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
                for name, found in fed(trunk.eval(), torch.zeros(1, 3, side, side), recipe.heads_on).items()
            }
        made: list[nn.Sequential] = []
        for head in recipe.heads:
            drawn_from = draw_seed(seed, int.from_bytes(head.feature.encode()))
            made.append(
                _new_head(recipe, head.feature, shapes[source(head.feature)], classes, drawn_from, process or Process())
            )
        self.head = SideBySide(shapes, [source(head.feature) for head in recipe.heads], made)
        self.shape = Size([sum(map(Size.numel, shapes.values()))])

    def frozen(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to rows (N, F)."""
        found = fed(self.trunk, images, self.recipe.heads_on).values()
        return torch.cat([each.float().flatten(1) for each in found], 1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return each head's, with its own rate and decay; biases apart, where they have none."""
        recipe, groups = self.recipe, list[dict[str, Any]]()
        for head, module in zip(recipe.heads, self.head.heads, strict=True):
            for is_bias in (False, True):
                params = [each for name, each in module.named_parameters() if name.endswith("bias") == is_bias]
                decay = head.decay if recipe.decays_bias or not is_bias else 0.0
                groups.append({"params": params, "base": head.rate * recipe.scale, "weight_decay": decay})
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
        fed = {name: part.unflatten(1, self.shapes[name]) for name, part in parts.items()}
        return torch.stack([head(fed[name]) for head, name in zip(self.heads, self.sources, strict=True)], 1)


def _new_head(
    recipe: HeadsRecipe, feature: str, shape: Size, classes: int, seed: int, process: Process
) -> nn.Sequential:
    """Return a fresh head for rows (C,) or tokens (T, C): a pooling, a norm, a linear layer, as far as it has them."""
    steps: list[nn.Module] = []
    if feature in POOLINGS:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            steps.append(resolved(POOLINGS[feature].module)(shape[-1]))
        with torch.no_grad():
            shape = steps[0](torch.zeros(1, *shape)).shape[1:]
    [width] = shape
    if recipe.head == "standardized-linear":
        steps.append((nn.BatchNorm1d if process.world == 1 else GlobalBatchNorm)(width, affine=False))
    linear = nn.Linear(width, classes)
    draw_linear(linear, recipe.head_init_std, torch.Generator().manual_seed(seed))
    return nn.Sequential(*steps, linear)
