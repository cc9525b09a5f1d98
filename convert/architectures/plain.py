"""The plain vision transformers: nothing but patches, positions and pre-norm blocks, which other code can rebuild.

ViTDet's backbone (Detectron2's `ViT`) is such a network, and so are the encoders of MAE, DINO, iBOT, MoCo v3, MSN,
DeiT and of timm's supervised ViTs. DINOv2 and v3, CLIP, SigLIP and BEiT have layer scales, registers, further norms,
rotary or relative positions, or another activation: there a copy of the tensors would compute something else.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

PATCH = 16  # pixels: of other patches no pyramid has the strides 4, 8, 16 and 32
UNUSED = ("cls_token", "norm.weight", "norm.bias", "fc_norm.weight", "fc_norm.bias")  # where only patches are looked at


@dataclass(frozen=True)
class PlainVit:
    """What a plain vision transformer with patches of 16 px is told by: `mlp` is its hidden width, `side` the number
    of patches along a side of the images that it was trained on."""

    width: int
    depth: int
    heads: int
    mlp: int
    side: int
    has_class: bool


def plain_vit(model: nn.Module) -> PlainVit | None:
    """Return what a model of timm's is told by if it is a plain vision transformer, else None."""
    if type(model).__name__ != "VisionTransformer" or not type(model).__module__.startswith("timm."):
        return None
    model_: Any = model
    tensors = model.state_dict()
    depth = len(model_.blocks)
    if set(tensors) - set(UNUSED) != _names(depth) or tensors["patch_embed.proj.weight"].shape[-2:] != (PATCH, PATCH):
        return None
    if not all(_is_plain(block) for block in model_.blocks):
        return None
    has_class = "cls_token" in tensors
    _, count, width = tensors["pos_embed"].shape
    side = round((count - has_class) ** 0.5)
    if side**2 != count - has_class:
        return None
    mlp = len(tensors["blocks.0.mlp.fc1.weight"])
    return PlainVit(width, depth, model_.blocks[0].attn.num_heads, mlp, side, has_class)


def _names(depth: int) -> set[str]:
    """Return the names of the tensors that a plain vision transformer has, and all that it may have beside UNUSED."""
    names = {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    for number in range(depth):
        for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
            names |= {f"blocks.{number}.{part}.weight", f"blocks.{number}.{part}.bias"}
    return names


def _is_plain(block: Any) -> bool:
    """Say whether a block of these tensors is a pre-norm one with the exact GELU and LayerNorms of timm's eps."""
    act = block.mlp.act
    if type(block).__name__ != "Block" or not isinstance(act, nn.GELU) or act.approximate != "none":
        return False
    return all(isinstance(norm, nn.LayerNorm) and norm.eps == 1e-6 for norm in (block.norm1, block.norm2))
