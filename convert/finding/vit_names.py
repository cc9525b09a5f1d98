"""How the authors' own codes name and keep the tensors of vision transformers, from timm's names (`tables`)."""

from collections.abc import Sequence

from torch import Tensor

from twinbench.convert.files import CheckpointError
from twinbench.convert.finding.naming import Naming
from twinbench.convert.finding.tables import Join, joiner, renamer, speller

# --- timm's own names, which DINO, iBOT, MSN, MAE, DeiT, MoCo v3, I-JEPA and DINOv2 have, too ---

# What takes a patch's place where it is masked in training: DINOv2's and MAE's, iBOT's.
_MASKS = ("mask_token", "masked_embed")

# DINOv2's training code keeps blocks in chunks, numbered on: block 7 is blocks.1.7 (vision_transformer.py: BlockChunk).
# Its gated MLPs have both halves in one tensor as timm's, under other names (layers/swiglu_ffn.py).
_dinov2_code = renamer(
    (r"((?:^|\.)blocks)\.\d+\.(\d+)\.", r"\1.\2."), (r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2.")
)

TIMM = Naming("timm's ViT", ("patch_embed.proj.weight", "blocks.0.norm1.weight"), tidy=_dinov2_code, unused=_MASKS)


def class_with_position(parts: Sequence[Tensor]) -> Tensor:
    """Add the first position's embedding to the class token, in float32 as the forward pass does.

    timm's networks with registers have positions for patches only.
    """
    token, positions = parts
    return token.float() + positions.float()[:, :1]


REGISTERS = {"cls_token": class_with_position, "pos_embed": lambda parts: parts[0][:, 1:].contiguous()}
_WITH_REGISTERS = {"reg_token": "register_tokens", "cls_token": ("cls_token", "pos_embed")}

DINOV2_REGISTERS = Naming(
    "DINOv2 with registers",
    ("patch_embed.proj.weight", "reg_token"),
    lambda name: _WITH_REGISTERS.get(name, name),
    joiner(REGISTERS),
    _dinov2_code,
    _MASKS,
)

# --- DINOv3's own code ---


def _masked_third(third: int) -> Join:
    """Return the function that takes queries' (0) or values' (2) part of a bias under its mask.

    The original adds bias * mask (layers/attention.py: LinearKMaskedBias); timm's network has no bias of keys.
    """

    def join(parts: Sequence[Tensor]) -> Tensor:
        bias, mask = parts
        thirds = (bias * mask).chunk(3)
        if not bias.is_meta and thirds[1].any():
            raise CheckpointError(
                "attn.qkv.bias_mask: leaves a bias of keys; expected 0 for them, as DINOv3's code has it; get it "
                "again, or save the model after init_weights"
            )
        return thirds[third].contiguous()

    return join


_BIAS = ("blocks.N.attn.qkv.bias", "blocks.N.attn.qkv.bias_mask")

DINOV3 = Naming(
    "DINOv3",
    ("patch_embed.proj.weight", "blocks.0.gamma_1"),
    speller(
        {
            "cls_token": "cls_token",
            "reg_token": "storage_tokens",
            "patch_embed.proj.*": "patch_embed.proj.*",
            "blocks.N.gamma_1": "blocks.N.ls1.gamma",
            "blocks.N.gamma_2": "blocks.N.ls2.gamma",
            "blocks.N.attn.qkv.weight": "blocks.N.attn.qkv.weight",
            "blocks.N.attn.q_bias": _BIAS,
            "blocks.N.attn.v_bias": _BIAS,
            "blocks.N.attn.proj.*": "blocks.N.attn.proj.*",
            "blocks.N.norm1.*": "blocks.N.norm1.*",
            "blocks.N.norm2.*": "blocks.N.norm2.*",
            "blocks.N.mlp.fc1.*": "blocks.N.mlp.fc1.*",
            "blocks.N.mlp.fc1_g.*": "blocks.N.mlp.w1.*",
            "blocks.N.mlp.fc1_x.*": "blocks.N.mlp.w2.*",
            "blocks.N.mlp.fc2.*": "blocks.N.mlp.fc2.*",
            "norm.*": "norm.*",
        }
    ),
    joiner({"attn.q_bias": _masked_third(0), "attn.v_bias": _masked_third(2)}),
    renamer((r"\.mlp\.w3\.", ".mlp.fc2.")),
    # The periods of rotary positions are computed; the norm of local crops is for training.
    unused=(*_MASKS, "rope_embed.periods", "local_cls_norm.*"),
)

# --- CLIP's own code (openai/CLIP clip/model.py: VisionTransformer) and open_clip's ---


def with_batch(parts: Sequence[Tensor]) -> Tensor:
    """Put axes of length 1 in front, until there are three."""
    [values] = parts
    return values.reshape((1,) * (3 - values.ndim) + tuple(values.shape))


FLAT = {"cls_token": with_batch, "pos_embed": with_batch}

CLIP = Naming(
    "CLIP",
    ("norm_pre.weight", "patch_embed.proj.weight"),
    speller(
        {
            "cls_token": "class_embedding",
            "pos_embed": "positional_embedding",
            "patch_embed.proj.weight": "conv1.weight",
            "norm_pre.*": "ln_pre.*",
            "norm.*": "ln_post.*",
            "blocks.N.norm1.*": "transformer.resblocks.N.ln_1.*",
            "blocks.N.norm2.*": "transformer.resblocks.N.ln_2.*",
            "blocks.N.attn.qkv.*": "transformer.resblocks.N.attn.in_proj_*",
            "blocks.N.attn.proj.*": "transformer.resblocks.N.attn.out_proj.*",
            "blocks.N.mlp.fc1.*": "transformer.resblocks.N.mlp.c_fc.*",
            "blocks.N.mlp.fc2.*": "transformer.resblocks.N.mlp.c_proj.*",
        }
    ),
    joiner(FLAT),
    unused=("proj",),  # into the space shared with texts; a backbone's feature is what enters it
)

# torchvision's models keep their names; this finds its vision transformers.
TORCHVISION = Naming("torchvision's ViT", ("conv_proj.weight", "class_token"))

VITS = (TIMM, DINOV2_REGISTERS, DINOV3, CLIP, TORCHVISION)
