"""How convolutional networks and Swins name their tensors. Ours are timm's names, and torchvision's of its own models.

Sources: facebookresearch/ConvNeXt models/convnext.py, ConvNeXt-V2 models/convnextv2.py, microsoft/Swin-Transformer
models/swin_transformer.py and swin_transformer_v2.py, transformers' modeling files and what its save_pretrained writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from twinbench.convert.architectures.convs import LITE_BLOCKS
from twinbench.convert.finding.naming import Naming, Spelled, only
from twinbench.convert.finding.tables import speller

# --- ConvNeXt ---

_CONVNEXT_MARKS = ("stages.0.blocks.0.conv_dw.weight", "stem.0.weight")
_POINTWISE = ("mlp.fc1.weight", "mlp.fc2.weight")


def _without_axes(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Drop the axes of length 1 that scales of the response norm have elsewhere: (1, 1, 1, C) becomes (C,)."""
    return parts[0].flatten() if ".grn." in name else only(name, parts)


def _as_convolutions(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Make pointwise linear layers (O, I) the convolutions (O, I, 1, 1) that timm's small ConvNeXts have."""
    return parts[0][..., None, None] if name.endswith(_POINTWISE) else _without_axes(name, parts)


def _convnext(block: str, words: Mapping[str, str], around: Mapping[str, Spelled]) -> dict[str, Spelled]:
    """Return a table: what a `block` is called, what its parts are, and the names around the blocks."""
    return {**{f"stages.N.blocks.N.{ours}": f"{block}.{theirs}" for ours, theirs in words.items()}, **around}


CONVNEXT = Naming("timm's ConvNeXt", _CONVNEXT_MARKS, unused=("head.fc.*",))
CONVNEXT_ORIGINAL = Naming(
    "ConvNeXt",
    _CONVNEXT_MARKS,
    speller(
        _convnext(
            "stages.N.N",
            {
                "conv_dw.*": "dwconv.*",
                "norm.*": "norm.*",
                "mlp.fc1.*": "pwconv1.*",
                "mlp.fc2.*": "pwconv2.*",
                "mlp.grn.weight": "grn.gamma",
                "mlp.grn.bias": "grn.beta",
                "gamma": "gamma",
            },
            {
                "stem.N.*": "downsample_layers.0.N.*",
                "stages.N.downsample.N.*": "downsample_layers.N.N.*",
                "head.norm.*": "norm.*",
            },
        )
    ),
    _without_axes,
    unused=("norms.*",),  # DINOv3's norms of maps, of which the last is `norm` again
)
CONVNEXT_TRANSFORMERS = Naming(
    "transformers' ConvNeXt",
    _CONVNEXT_MARKS,
    speller(
        _convnext(
            "encoder.stages.N.layers.N",
            {
                "conv_dw.*": "dwconv.*",
                "norm.*": "layernorm.*",
                "mlp.fc1.*": "pwconv1.*",
                "mlp.fc2.*": "pwconv2.*",
                "mlp.grn.*": "grn.*",
                "gamma": "layer_scale_parameter",
            },
            {
                "stem.0.*": "embeddings.patch_embeddings.*",
                "stem.1.*": "embeddings.layernorm.*",
                "stages.N.downsample.N.*": "encoder.stages.N.downsampling_layer.N.*",
                "head.norm.*": "layernorm.*",
            },
        )
    ),
    _without_axes,
)
CONVNEXT_DINOV3 = Naming(
    "transformers' DINOv3 ConvNeXt",
    _CONVNEXT_MARKS,
    speller(
        _convnext(
            "stages.N.layers.N",
            {
                "conv_dw.*": "depthwise_conv.*",
                "norm.*": "layer_norm.*",
                "mlp.fc1.*": "pointwise_conv1.*",
                "mlp.fc2.*": "pointwise_conv2.*",
                "gamma": "gamma",
            },
            {
                "stem.N.*": "stages.0.downsample_layers.N.*",
                "stages.N.downsample.N.*": "stages.N.downsample_layers.N.*",
                "head.norm.*": "layer_norm.*",
            },
        )
    ),
)
CONVNEXT_TORCHVISION = Naming(
    "torchvision's ConvNeXt", ("features.1.0.block.0.weight", "features.0.0.weight"), unused=("classifier.2.*",)
)

# --- Swin ---

_SWIN_MARKS = ("layers.0.blocks.0.attn.qkv.weight", "patch_embed.proj.weight")
# Tables of indices and masks that follow from the window; what takes a patch's place where it is masked in training.
_COMPUTED = ("*.relative_position_index", "*.relative_coords_table", "*.attn_mask", "*mask_token")
# timm shrinks a map before a stage, all others after the one in front of it.
_SHRINKS = {f"layers.{stage}.downsample": f"layers.{stage - 1}.downsample" for stage in (1, 2, 3)}


def _original_swin(name: str) -> str:
    start = ".".join(name.split(".")[:3])
    return name.replace(start, _SHRINKS.get(start, start), 1)


def _swin_table() -> dict[str, Spelled]:
    """Return transformers' table: that of its files, which version 5 has kept although its modules have other names."""
    block = "encoder.layers.N.blocks.N"
    query, key, value = (f"{block}.attention.self.{part}" for part in ("query", "key", "value"))
    return {
        "patch_embed.proj.*": "embeddings.patch_embeddings.projection.*",
        "patch_embed.norm.*": "embeddings.norm.*",
        "layers.N.blocks.N.norm1.*": f"{block}.layernorm_before.*",
        "layers.N.blocks.N.norm2.*": f"{block}.layernorm_after.*",
        "layers.N.blocks.N.attn.qkv.*": (f"{query}.*", f"{key}.*", f"{value}.*"),
        "layers.N.blocks.N.attn.q_bias": f"{query}.bias",  # Swin V2, which has no bias of keys
        "layers.N.blocks.N.attn.v_bias": f"{value}.bias",
        "layers.N.blocks.N.attn.proj.*": f"{block}.attention.output.dense.*",
        "layers.N.blocks.N.attn.relative_position_bias_table": f"{block}.attention.self.relative_position_bias_table",
        "layers.N.blocks.N.attn.logit_scale": f"{block}.attention.self.logit_scale",
        "layers.N.blocks.N.attn.cpb_mlp.N.*": f"{block}.attention.self.continuous_position_bias_mlp.N.*",
        "layers.N.blocks.N.mlp.fc1.*": f"{block}.intermediate.dense.*",
        "layers.N.blocks.N.mlp.fc2.*": f"{block}.output.dense.*",
        "norm.*": "layernorm.*",
        **{f"{ours}.norm.*": f"encoder.{theirs}.norm.*" for ours, theirs in _SHRINKS.items()},
        **{f"{ours}.reduction.*": f"encoder.{theirs}.reduction.*" for ours, theirs in _SHRINKS.items()},
    }


SWIN = Naming("timm's Swin", _SWIN_MARKS, unused=_COMPUTED)
SWIN_ORIGINAL = Naming("Swin", _SWIN_MARKS, _original_swin, unused=_COMPUTED)
SWIN_TRANSFORMERS = Naming(
    "transformers' Swin",
    _SWIN_MARKS,
    speller(_swin_table()),
    unused=_COMPUTED,
)
SWIN_TORCHVISION = Naming("torchvision's Swin", ("features.1.0.attn.qkv.weight", "features.0.0.weight"))

# --- EfficientNet-Lite (efficientnet_lite_pytorch model.py, after EfficientNet-PyTorch) ---

_FIRST_BLOCK = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
_BLOCK = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}


def _lite(blocks: Sequence[int]) -> dict[str, Spelled]:
    """Return the names of a network with so many blocks in each stage, which are numbered through."""
    spelled: dict[str, Spelled] = {
        "conv_stem.*": "_conv_stem.*",
        "bn1.*": "_bn0.*",
        "conv_head.*": "_conv_head.*",
        "bn2.*": "_bn1.*",
    }
    places = [f"{stage}.{block}" for stage, count in enumerate(blocks) for block in range(count)]
    for number, place in enumerate(places):
        for ours, theirs in (_BLOCK if number else _FIRST_BLOCK).items():
            spelled[f"blocks.{place}.{ours}.*"] = f"_blocks.{number}.{theirs}.*"
    return spelled


_LITE_MARKS = ("blocks.0.0.conv_dw.weight", "conv_stem.weight")
EFFICIENTNET = Naming("timm's EfficientNet", _LITE_MARKS)
EFFICIENTNETS_LITE = tuple(
    Naming("efficientnet_lite_pytorch", _LITE_MARKS, speller(_lite(blocks)))
    for blocks in dict.fromkeys(LITE_BLOCKS.values())
)

# --- CLIP's ResNets (openai/CLIP clip/model.py: ModifiedResNet); the last projection is timm's classifier ---

_CLIP_BLOCK = {
    "conv1_1x1.conv": "conv1",
    "conv1_1x1.bn": "bn1",
    "conv2_kxk.conv": "conv2",
    "conv2_kxk.bn": "bn2",
    "conv3_1x1.conv": "conv3",
    "conv3_1x1.bn": "bn3",
    "shortcut.conv.conv": "downsample.0",
    "shortcut.conv.bn": "downsample.1",
}
_CLIP: dict[str, Spelled] = {
    "stem.convN.conv.*": "convN.*",
    "stem.convN.bn.*": "bnN.*",
    "head.pos_embed": "attnpool.positional_embedding",
    **{f"head.{part}.*": f"attnpool.{part}_proj.*" for part in "qkv"},
    **{
        f"stages.{stage}.N.{ours}.*": f"layer{stage + 1}.N.{theirs}.*"
        for stage in range(4)
        for ours, theirs in _CLIP_BLOCK.items()
    },
}
_CLIP_MARKS = ("stages.0.0.conv1_1x1.conv.weight", "stem.conv1.conv.weight")
CLIP_RESNET = Naming("CLIP's ResNets", _CLIP_MARKS, speller(_CLIP), unused=("attnpool.c_proj.*",))
CLIP_RESNET_TIMM = Naming("timm's ByobNet", _CLIP_MARKS, unused=("head.proj.*",))

# --- What a layout's row can ask for ---

_MADE_CONVOLUTIONS = tuple(
    replace(naming, name=f"{naming.name}, made convolutions", join=_as_convolutions)
    for naming in (CONVNEXT_ORIGINAL, CONVNEXT_TRANSFORMERS)
)
OWN_CONVS = (CONVNEXT, CONVNEXT_TORCHVISION, SWIN, SWIN_TORCHVISION, EFFICIENTNET, CLIP_RESNET_TIMM)
CONVNEXT_ORIGINALS = (CONVNEXT_ORIGINAL, _MADE_CONVOLUTIONS[0])
TRANSFORMERS_CONVS = (CONVNEXT_TRANSFORMERS, _MADE_CONVOLUTIONS[1], CONVNEXT_DINOV3, SWIN_TRANSFORMERS)
CONVS = (*OWN_CONVS, *CONVNEXT_ORIGINALS, SWIN_ORIGINAL, *TRANSFORMERS_CONVS, *EFFICIENTNETS_LITE, CLIP_RESNET)
