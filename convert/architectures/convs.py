"""Convolutional networks but ResNets, and Swins, told by a few shapes. Names are timm's, of torchvision's its own."""

from collections.abc import Iterator

from twinbench.convert.architectures.landmarks import Known
from twinbench.convert.architectures.library import LibraryNetwork

Sides = tuple[int | None, ...]


def _convnext(model: str, width: int, depth: int, *, is_second: bool = False, is_narrow: bool = False) -> Known:
    """Return the row of a ConvNeXt with `depth` blocks in its third stage.

    Version 2 has a response norm in place of a scale; the narrow ones of timm compute linear layers as convolutions.
    """
    block = "stages.0.blocks.0"
    axes = (1, 1) if is_narrow else ()
    landmarks: dict[str, Sides | None] = {
        "stem.0.weight": (width, 3, 4, 4),
        f"{block}.conv_dw.weight": (width, 1, 7, 7),
        f"{block}.mlp.fc1.weight": (4 * width, width, *axes),
        f"{block}.mlp.grn.weight": (4 * width,) if is_second else None,
        f"{block}.gamma": None if is_second else (width,),
        f"stages.2.blocks.{depth - 1}.conv_dw.weight": (4 * width, 1, 7, 7),
        f"stages.2.blocks.{depth}.conv_dw.weight": None,
        "head.pre_logits.fc.weight": None,  # CLIP's convnext_large_mlp
        "norm_pre.weight": None,  # timm's convnext_tiny_hnf
    }
    return Known(LibraryNetwork("timm", model), landmarks)


def _convnexts() -> Iterator[Known]:
    """Yield ConvNeXts; DINOv3's and CLIP's are the same networks."""
    for model, width, depth, is_narrow in (
        ("convnext_atto", 40, 6, True),
        ("convnext_femto", 48, 6, True),
        ("convnext_pico", 64, 6, True),
        ("convnext_nano", 80, 8, True),
        ("convnext_tiny", 96, 9, False),
        ("convnext_small", 96, 27, False),
        ("convnext_base", 128, 27, False),
        ("convnext_large", 192, 27, False),
        ("convnext_xlarge", 256, 27, False),
        ("convnext_xxlarge", 384, 30, False),
    ):
        yield _convnext(model, width, depth, is_narrow=is_narrow)
    for model, width, depth, is_narrow in (
        ("convnextv2_atto", 40, 6, True),
        ("convnextv2_femto", 48, 6, True),
        ("convnextv2_pico", 64, 6, True),
        ("convnextv2_nano", 80, 8, True),
        ("convnextv2_tiny", 96, 9, False),
        ("convnextv2_base", 128, 27, False),
        ("convnextv2_large", 192, 27, False),
        ("convnextv2_huge", 352, 27, False),
    ):
        yield _convnext(model, width, depth, is_second=True, is_narrow=is_narrow)


_SWINS = {  # width, heads of the first stage, blocks of the third, windows and image sizes; of V2 the latter in words
    "tiny": (96, 3, 6, {7: 224}, ("8_256", "16_256")),
    "small": (96, 3, 18, {7: 224}, ("8_256", "16_256")),
    "base": (128, 4, 18, {7: 224, 12: 384}, ("8_256", "16_256", "12_192", "12to16_192to256", "12to24_192to384")),
    "large": (192, 6, 18, {7: 224, 12: 384}, ("12_192", "12to16_192to256", "12to24_192to384")),
}


def _swins() -> Iterator[Known]:
    """Yield Swins, which the tables of their windows tell, and Swins V2, whose windows only the forward pass knows."""
    for size, (width, heads, depth, windows, second) in _SWINS.items():
        body: dict[str, Sides | None] = {
            "patch_embed.proj.weight": (width, 3, 4, 4),
            "layers.0.blocks.0.attn.qkv.weight": (3 * width, width),
            "layers.1.downsample.reduction.weight": (2 * width, 4 * width),
            f"layers.2.blocks.{depth - 1}.attn.qkv.weight": (12 * width, 4 * width),
            f"layers.2.blocks.{depth}.attn.qkv.weight": None,
        }
        for window, side in windows.items():
            table: Sides = ((2 * window - 1) ** 2, heads)
            landmarks = {**body, "layers.0.blocks.0.attn.relative_position_bias_table": table}
            yield Known(LibraryNetwork("timm", f"swin_{size}_patch4_window{window}_{side}"), landmarks)
        for words in second:
            landmarks = {**body, "layers.0.blocks.0.attn.logit_scale": (heads, 1, 1)}
            yield Known(LibraryNetwork("timm", f"swinv2_{size}_window{words}"), landmarks)


def _torchvision() -> Iterator[Known]:
    """Yield torchvision's, the depth of the third stage at `features.5`."""
    for model, width, depth in (
        ("convnext_tiny", 96, 9),
        ("convnext_small", 96, 27),
        ("convnext_base", 128, 27),
        ("convnext_large", 192, 27),
    ):
        landmarks: dict[str, Sides | None] = {
            "features.1.0.block.0.weight": (width, 1, 7, 7),
            f"features.5.{depth - 1}.block.0.weight": (4 * width, 1, 7, 7),
            f"features.5.{depth}.block.0.weight": None,
        }
        yield Known(LibraryNetwork("torchvision", model), landmarks)
    for size, width, heads, depth in (("t", 96, 3, 6), ("s", 96, 3, 18), ("b", 128, 4, 18)):
        landmarks = {
            "features.0.0.weight": (width, 3, 4, 4),
            f"features.5.{depth - 1}.attn.qkv.weight": (12 * width, 4 * width),
            f"features.5.{depth}.attn.qkv.weight": None,
        }
        scale = "features.1.0.attn.logit_scale"
        yield Known(LibraryNetwork("torchvision", f"swin_{size}"), {**landmarks, scale: None})
        yield Known(LibraryNetwork("torchvision", f"swin_v2_{size}"), {**landmarks, scale: (heads, 1, 1)})


# Blocks of each stage of EfficientNet-Lite, by its number: EfficientNet-B0's times Google's depth coefficient, rounded
# up, but for the first and the last stage (tensorflow/tpu efficientnet/lite/efficientnet_lite_builder.py).
LITE_BLOCKS = {
    0: (1, 2, 2, 3, 3, 4, 1),  # 1.0
    1: (1, 3, 3, 4, 4, 5, 1),  # 1.1
    2: (1, 3, 3, 4, 4, 5, 1),  # 1.2
    3: (1, 3, 3, 5, 5, 6, 1),  # 1.4
    4: (1, 4, 4, 6, 6, 8, 1),  # 1.8
}


def _efficientnets() -> Iterator[Known]:
    """Yield the EfficientNet-Lites, padded as TensorFlow does or as PyTorch does, which no tensor tells.

    Their widths are told by the last blocks of stages 5 and 6.
    """
    for size, width, last in ((0, 192, 320), (1, 192, 320), (2, 208, 352), (3, 232, 384), (4, 272, 448)):
        blocks = LITE_BLOCKS[size]
        landmarks: dict[str, Sides | None] = {
            "conv_stem.weight": (32, 3, 3, 3),
            "conv_head.weight": (1280, last, 1, 1),
            f"blocks.1.{blocks[1]}.conv_pwl.weight": None,
            f"blocks.5.{blocks[5] - 1}.conv_pwl.weight": (width, 6 * width, 1, 1),
            f"blocks.5.{blocks[5]}.conv_pwl.weight": None,
            "blocks.0.0.se.conv_reduce.weight": None,  # EfficientNet-B0
        }
        yield Known(LibraryNetwork("timm", f"tf_efficientnet_lite{size}"), landmarks, "tensorflow")
        yield Known(LibraryNetwork("timm", f"efficientnet_lite{size}"), landmarks, "pytorch")


def _clip_resnets() -> Iterator[Known]:
    """Yield CLIP's ResNets with their attention pooling: width, blocks of the third stage, positions."""
    for model, width, depth, positions in (
        ("resnet50_clip", 64, 6, 50),
        ("resnet101_clip", 64, 23, 50),
        ("resnet50x4_clip", 80, 10, 82),
        ("resnet50x16_clip", 96, 18, 145),
        ("resnet50x64_clip", 128, 36, 197),
    ):
        landmarks: dict[str, Sides | None] = {
            "stem.conv3.conv.weight": (width, width // 2, 3, 3),
            f"stages.2.{depth - 1}.conv1_1x1.conv.weight": (4 * width, 16 * width, 1, 1),
            f"stages.2.{depth}.conv1_1x1.conv.weight": None,
            "head.pos_embed": (positions, 32 * width),
        }
        yield Known(LibraryNetwork("timm", model), landmarks)


def _regnets() -> Iterator[Known]:
    """Yield torchvision's RegNets, SEER's among them: the first stage's channels, of a group, and the last stage's."""
    for model, first, group, last in (
        ("regnet_x_400mf", 32, 16, 400),
        ("regnet_x_800mf", 64, 16, 672),
        ("regnet_x_1_6gf", 72, 24, 912),
        ("regnet_x_3_2gf", 96, 48, 1008),
        ("regnet_x_8gf", 80, 80, 1920),
        ("regnet_x_16gf", 256, 128, 2048),
        ("regnet_x_32gf", 336, 168, 2520),
        ("regnet_y_400mf", 48, 8, 440),
        ("regnet_y_800mf", 64, 16, 784),
        ("regnet_y_1_6gf", 48, 24, 888),
        ("regnet_y_3_2gf", 72, 24, 1512),
        ("regnet_y_8gf", 224, 56, 2016),
        ("regnet_y_16gf", 224, 112, 3024),
        ("regnet_y_32gf", 232, 232, 3712),
        ("regnet_y_128gf", 528, 264, 7392),
    ):
        block = "trunk_output.block1.block1-0.f"
        landmarks: dict[str, Sides | None] = {
            f"{block}.b.0.weight": (first, group, 3, 3),
            f"{block}.se.fc1.weight": (None, first, 1, 1) if "_y_" in model else None,
            "trunk_output.block4.block4-0.f.a.0.weight": (last, None, 1, 1),
        }
        yield Known(LibraryNetwork("torchvision", model), landmarks)


CONVS = (*_convnexts(), *_swins(), *_torchvision(), *_efficientnets(), *_clip_resnets(), *_regnets())
