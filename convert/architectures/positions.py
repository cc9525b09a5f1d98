"""Position embeddings at another image size than a vision transformer was trained at, as each origin's code does it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Positions:
    """How learned positions are resampled: bicubic, with antialiasing or not.

    `offset` is added to the new grid's sides before the scale is computed, which then differs from the sides' ratio.
    """

    name: str
    antialias: bool
    offset: float
    prefix: int = 1  # positions in front that belong to no patch


DINOV2 = Positions("dinov2", antialias=False, offset=0.1)  # dinov2 hub/backbones.py: interpolate_offset=0.1
DINOV2_REGISTERS = Positions("dinov2-registers", antialias=True, offset=0.0, prefix=0)  # with registers
POSITIONS = {rule.name: rule for rule in (DINOV2, DINOV2_REGISTERS)}


def at_grid(embedding: Tensor, grid: tuple[int, int], rule: Positions) -> Tensor:
    """Return embeddings (1, prefix + h w, C) for a `grid` of (h, w) patches from those of a square grid."""
    front, patches = embedding[:, : rule.prefix], embedding[:, rule.prefix :]
    side = round(patches.shape[1] ** 0.5)
    if grid == (side, side):
        return embedding
    square = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, C, side, side)
    keywords: dict[str, object] = {"size": grid}
    if rule.offset:
        scale = tuple((new + rule.offset) / side for new in grid)
        keywords = {"scale_factor": scale}
    found = functional.interpolate(square.float(), mode="bicubic", antialias=rule.antialias, **keywords)  # type: ignore[arg-type]
    assert found.shape[2:] == torch.Size(grid), (found.shape, grid)
    return torch.cat([front, found.flatten(2).transpose(1, 2).to(patches.dtype)], dim=1)
