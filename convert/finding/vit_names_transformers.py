"""How transformers names and keeps the tensors of vision transformers, from timm's names (`tables`).

Its files (save_pretrained) have the names of version 4. Modules of version 5 have others, which a state dict that is
saved by another library has too: `tidy` turns these into the former.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from twinbench.convert.finding.naming import Naming
from twinbench.convert.finding.tables import joiner, renamer, speller
from twinbench.convert.finding.vit_names import FLAT, REGISTERS

_LAYER = r"((?:encoder\.layer|layers)\.\d+"
_version_4 = renamer(
    (_LAYER + r"\.attention)\.q_proj\.", r"\1.attention.query."),
    (_LAYER + r"\.attention)\.k_proj\.", r"\1.attention.key."),
    (_LAYER + r"\.attention)\.v_proj\.", r"\1.attention.value."),
    (_LAYER + r"\.attention)\.o_proj\.", r"\1.output.dense."),
    (r"(^|\.)layers\.(\d+)\.mlp\.fc1\.", r"\1layers.\2.intermediate.dense."),
    (r"(^|\.)layers\.(\d+)\.mlp\.fc2\.", r"\1layers.\2.output.dense."),
    (r"(^|\.)layers\.(\d+)\.", r"\1encoder.layer.\2."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),  # DINOv2's ViT-g: gated, both halves in one
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
)
_EMBEDDINGS = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.*": "embeddings.patch_embeddings.projection.*",
    "norm.*": "layernorm.*",
}
_ATTENTION = {
    "blocks.N.attn.qkv.*": (
        "encoder.layer.N.attention.attention.query.*",
        "encoder.layer.N.attention.attention.key.*",
        "encoder.layer.N.attention.attention.value.*",
    ),
    "blocks.N.attn.proj.*": "encoder.layer.N.attention.output.dense.*",
}
_VIT_BLOCKS = {
    "blocks.N.norm1.*": "encoder.layer.N.layernorm_before.*",
    "blocks.N.norm2.*": "encoder.layer.N.layernorm_after.*",
    "blocks.N.mlp.fc1.*": "encoder.layer.N.intermediate.dense.*",
    "blocks.N.mlp.fc2.*": "encoder.layer.N.output.dense.*",
}
_DINOV2_BLOCKS = {
    "blocks.N.norm1.*": "encoder.layer.N.norm1.*",
    "blocks.N.norm2.*": "encoder.layer.N.norm2.*",
    "blocks.N.ls1.gamma": "encoder.layer.N.layer_scale1.lambda1",
    "blocks.N.ls2.gamma": "encoder.layer.N.layer_scale2.lambda1",
    "blocks.N.mlp.fc1.*": "encoder.layer.N.mlp.fc1.*",
    "blocks.N.mlp.fc2.*": "encoder.layer.N.mlp.fc2.*",
}
_MASKS = ("embeddings.mask_token",)

VIT = Naming(  # ViTModel, ViTMAEModel, ViTMSNModel, IJepaModel
    "transformers' ViT",
    ("patch_embed.proj.weight", "blocks.0.norm1.weight"),
    speller(_EMBEDDINGS | _ATTENTION | _VIT_BLOCKS),
    tidy=_version_4,
    unused=_MASKS,
)
DINOV2 = Naming(
    "transformers' DINOv2",
    ("patch_embed.proj.weight", "blocks.0.ls1.gamma"),
    speller(_EMBEDDINGS | _ATTENTION | _DINOV2_BLOCKS),
    tidy=_version_4,
    unused=_MASKS,
)
DINOV2_REGISTERS = Naming(
    "transformers' DINOv2 with registers",
    ("patch_embed.proj.weight", "reg_token"),
    speller(
        {
            **_EMBEDDINGS,
            "cls_token": ("embeddings.cls_token", "embeddings.position_embeddings"),
            "reg_token": "embeddings.register_tokens",
            **_ATTENTION,
            **_DINOV2_BLOCKS,
        }
    ),
    joiner(REGISTERS),
    _version_4,
    _MASKS,
)
DINOV3 = Naming(
    "transformers' DINOv3",
    ("patch_embed.proj.weight", "blocks.0.gamma_1"),
    speller(
        {
            "cls_token": "embeddings.cls_token",
            "reg_token": "embeddings.register_tokens",
            "patch_embed.proj.*": "embeddings.patch_embeddings.*",
            "blocks.N.norm1.*": "layer.N.norm1.*",
            "blocks.N.norm2.*": "layer.N.norm2.*",
            "blocks.N.gamma_1": "layer.N.layer_scale1.lambda1",
            "blocks.N.gamma_2": "layer.N.layer_scale2.lambda1",
            "blocks.N.attn.qkv.weight": (
                "layer.N.attention.q_proj.weight",
                "layer.N.attention.k_proj.weight",
                "layer.N.attention.v_proj.weight",
            ),
            "blocks.N.attn.q_bias": "layer.N.attention.q_proj.bias",
            "blocks.N.attn.v_bias": "layer.N.attention.v_proj.bias",
            "blocks.N.attn.proj.*": "layer.N.attention.o_proj.*",
            "blocks.N.mlp.fc1.*": "layer.N.mlp.up_proj.*",
            "blocks.N.mlp.fc1_g.*": "layer.N.mlp.gate_proj.*",
            "blocks.N.mlp.fc1_x.*": "layer.N.mlp.up_proj.*",
            "blocks.N.mlp.fc2.*": "layer.N.mlp.down_proj.*",
            "norm.*": "norm.*",
        }
    ),
    tidy=renamer((r"(^|\.)model\.layer\.", r"\1layer.")),
    unused=_MASKS,
)

_TOWER = {
    "pos_embed": "embeddings.position_embedding.weight",
    "patch_embed.proj.*": "embeddings.patch_embedding.*",
    "norm.*": "post_layernorm.*",
    "blocks.N.norm1.*": "encoder.layers.N.layer_norm1.*",
    "blocks.N.norm2.*": "encoder.layers.N.layer_norm2.*",
    "blocks.N.attn.qkv.*": (
        "encoder.layers.N.self_attn.q_proj.*",
        "encoder.layers.N.self_attn.k_proj.*",
        "encoder.layers.N.self_attn.v_proj.*",
    ),
    "blocks.N.attn.proj.*": "encoder.layers.N.self_attn.out_proj.*",
    "blocks.N.mlp.fc1.*": "encoder.layers.N.mlp.fc1.*",
    "blocks.N.mlp.fc2.*": "encoder.layers.N.mlp.fc2.*",
}
_NUMBERS = ("embeddings.position_ids",)  # of older versions: 0, 1, 2, ...

CLIP = Naming(
    "transformers' CLIP",
    ("norm_pre.weight", "patch_embed.proj.weight"),
    speller({**_TOWER, "cls_token": "embeddings.class_embedding", "norm_pre.*": "pre_layrnorm.*"}),
    joiner(FLAT),
    unused=_NUMBERS,
)


def _queries(parts: Sequence[Tensor]) -> Tensor:
    """Return the first of the three parts of an attention's joint weight or bias."""
    return parts[0].chunk(3)[0].contiguous()


def _keys_and_values(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(parts[0].chunk(3)[1:])


SIGLIP = Naming(
    "transformers' SigLIP",
    ("attn_pool.latent", "patch_embed.proj.weight"),
    speller(
        {
            **_TOWER,
            "attn_pool.latent": "head.probe",
            "attn_pool.q.*": "head.attention.in_proj_*",
            "attn_pool.kv.*": "head.attention.in_proj_*",
            "attn_pool.proj.*": "head.attention.out_proj.*",
            "attn_pool.norm.*": "head.layernorm.*",
            "attn_pool.mlp.fc1.*": "head.mlp.fc1.*",
            "attn_pool.mlp.fc2.*": "head.mlp.fc2.*",
        }
    ),
    joiner(
        {
            **FLAT,
            "attn_pool.q.weight": _queries,
            "attn_pool.q.bias": _queries,
            "attn_pool.kv.weight": _keys_and_values,
            "attn_pool.kv.bias": _keys_and_values,
        }
    ),
    unused=_NUMBERS,
)

TRANSFORMERS_VITS = (VIT, DINOV2, DINOV2_REGISTERS, DINOV3, CLIP, SIGLIP)
