"""Vision transformers told by a few shapes: which of timm's and torchvision's models a file's tensors are of.

Names of tensors are timm's; torchvision's models keep their own. A row is a model; the shapes that tell it are those
of its patch embedding and its positions, and which of the optional parts it has.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from twinbench.convert.architectures.landmarks import Known
from twinbench.convert.architectures.library import LibraryNetwork
from twinbench.convert.architectures.positions import DINOV2, DINOV2_REGISTERS, Positions

Sides = tuple[int | None, ...]

# What some vision transformers have and others have not. A row says which it has.
OPTIONAL = (
    "cls_token",
    "pos_embed",
    "reg_token",
    "norm_pre.weight",
    "attn_pool.latent",
    "blocks.0.ls1.gamma",
    "blocks.0.gamma_1",
    "blocks.0.attn.q_bias",
    "blocks.0.mlp.fc1_g.weight",
)


def _vit(
    model: str,
    width: int,
    patch: int,
    has: Mapping[str, Sides],
    variant: str = "",
    options: Mapping[str, Any] | None = None,
    positions: Positions | None = None,
) -> Known:
    """Return the row of a model of timm's that `has` these of the optional tensors, and none of the others."""
    network = LibraryNetwork("timm", model, tuple(sorted((options or {}).items())), positions)
    first = {"patch_embed.proj.weight": (width, 3, patch, patch)}
    return Known(network, {**first, **dict.fromkeys(OPTIONAL), **has}, variant)


def _positions(width: int, count: int | None) -> dict[str, Sides]:
    """Return what a ViT with a class token has; of `count` positions, None for any number.

    A model of the usual image size takes any number, so that its proof says what is wrong with a file of another.
    """
    return {"cls_token": (1, 1, width), "pos_embed": (1, count, width)}


def _plain() -> Iterator[Known]:
    """Yield ViTs with a class token: timm's and Google's own, DINO's, iBOT's, MSN's, MAE's, DeiT's, MoCo v3's."""
    for model, width, patch in (
        ("vit_tiny_patch16_224", 192, 16),
        ("vit_small_patch8_224", 384, 8),
        ("vit_small_patch16_224", 384, 16),
        ("vit_small_patch32_224", 384, 32),
        ("vit_base_patch8_224", 768, 8),
        ("vit_base_patch16_224", 768, 16),
        ("vit_base_patch32_224", 768, 32),
        ("vit_large_patch14_224", 1024, 14),
        ("vit_large_patch16_224", 1024, 16),
        ("vit_huge_patch14_224", 1280, 14),
    ):
        yield _vit(model, width, patch, _positions(width, None))
    for size, width in (("tiny", 192), ("small", 384), ("base", 768), ("large", 1024)):
        yield _vit(f"vit_{size}_patch16_384", width, 16, _positions(width, 577))
    # MSN's ViT-B/4 and ViT-L/7 (msn src/deit.py): ViT-B and ViT-L in all but the patches.
    yield _vit("vit_base_patch16_224", 768, 4, _positions(768, 3137), options={"patch_size": 4})
    yield _vit("vit_large_patch16_224", 1024, 7, _positions(1024, 1025), options={"patch_size": 7})
    # MoCo v3's ViT-S has 12 heads of 32 (moco-v3 vits.py: vit_small), everybody else's 6 of 64.
    yield _vit("vit_small_patch16_224", 384, 16, _positions(384, None), "mocov3", {"num_heads": 12})


def _ijepa() -> Iterator[Known]:
    """Yield I-JEPA's encoders, which have no class token: their feature is the mean of the patches'."""
    for model, width, patch, count in (
        ("vit_huge_patch14_gap_224", 1280, 14, 256),
        ("vit_huge_patch16_gap_448", 1280, 16, 784),
        ("vit_giant_patch16_gap_224", 1408, 16, 196),
    ):
        yield _vit(model, width, patch, {"pos_embed": (1, count, width)})


def _dinov2() -> Iterator[Known]:
    """Yield DINOv2's, without and with registers, as published (518 px) and as its code trains them (224 px).

    Franca's ViT-g/14 is the latter; its ViT-B and ViT-L have gated MLPs, which timm has of no such width.
    """
    for size, width in (("small", 384), ("base", 768), ("large", 1024), ("giant", 1536)):
        scale = {"blocks.0.ls1.gamma": (width,)}
        registers = {**scale, "cls_token": (1, 1, width), "reg_token": (1, 4, width)}
        plain, with_four = f"vit_{size}_patch14_dinov2", f"vit_{size}_patch14_reg4_dinov2"
        for count, options in ((None, {}), (256, {"img_size": 224})):
            has = {**scale, **_positions(width, count and count + 1)}
            yield _vit(plain, width, 14, has, options=options, positions=DINOV2)
            has = {**registers, "pos_embed": (1, count, width)}
            yield _vit(with_four, width, 14, has, options=options, positions=DINOV2_REGISTERS)


def _dinov3() -> Iterator[Known]:
    """Yield DINOv3's and EUPE's. Their feature is the class token, where timm's default is the mean of the patches.

    Published files have biases of queries and values, those of keys masked; timm's own leave out biases that are zero.
    """
    for size, width, is_gated in (
        ("tiny", 192, False),
        ("small", 384, False),
        ("small_plus", 384, True),
        ("base", 768, False),
        ("large", 1024, False),
        ("huge_plus", 1280, True),
        ("7b", 4096, True),
    ):
        has: dict[str, Sides] = {
            "cls_token": (1, 1, width),
            "reg_token": (1, 4, width),
            "blocks.0.gamma_1": (width,),
            **({"blocks.0.mlp.fc1_g.weight": (None, width)} if is_gated else {}),
        }
        if size != "tiny":
            yield _vit(f"vit_{size}_patch16_dinov3", width, 16, has, options={"global_pool": "token"})
        if size != "7b":
            has = {**has, "blocks.0.attn.q_bias": (width,)}
            yield _vit(f"vit_{size}_patch16_dinov3_qkvb", width, 16, has, options={"global_pool": "token"})


def _clip() -> Iterator[Known]:
    """Yield the image towers of CLIP: OpenAI's have an activation (quick GELU) that most of open_clip's have not."""
    for model, width, patch, side, is_quick, is_exact in (
        ("vit_base_patch32_clip{}_224", 768, 32, None, True, True),
        ("vit_base_patch32_clip{}_256", 768, 32, 8, False, True),
        ("vit_base_patch16_clip{}_224", 768, 16, None, True, True),
        ("vit_large_patch14_clip{}_224", 1024, 14, None, True, True),
        ("vit_large_patch14_clip{}_336", 1024, 14, 24, True, True),
        ("vit_huge_patch14_clip{}_224", 1280, 14, None, True, True),
        ("vit_huge_patch14_clip{}_378", 1280, 14, 27, True, True),
        ("vit_giant_patch14_clip{}_224", 1408, 14, None, False, True),
        ("vit_gigantic_patch14_clip{}_224", 1664, 14, None, True, True),
    ):
        has = {**_positions(width, side and side**2 + 1), "norm_pre.weight": (width,)}
        if is_quick:
            yield _vit(model.format("_quickgelu"), width, patch, has, "quick-gelu")
        if is_exact:
            yield _vit(model.format(""), width, patch, has, "gelu")


def _siglip() -> Iterator[Known]:
    """Yield the image towers of SigLIP and SigLIP 2, whose feature a query gathers from the patches.

    They were trained with the tanh form of GELU (big_vision models/vit.py: nn.gelu), which transformers has. timm, and
    open_clip with it, compute some of version 1 with the exact form: features differ in the third digit.
    """
    for size, width, patch, sides, is_tanh in (
        ("base", 768, 32, (256,), True),
        ("base", 768, 16, (224, 256, 384, 512), False),
        ("large", 1024, 16, (256, 384), False),
        ("large", 1024, 16, (512,), True),
        ("so400m", 1152, 14, (224, 384), False),
        ("so400m", 1152, 16, (256, 384, 512), True),
        ("giantopt", 1536, 16, (256, 384), True),
    ):
        for side in sides:
            model = f"vit_{size}_patch{patch}_siglip_{side}"
            has = {"pos_embed": (1, (side // patch) ** 2, width), "attn_pool.latent": (1, 1, width)}
            yield _vit(model, width, patch, has)
            if not is_tanh:
                yield _vit(model, width, patch, has, "gelu-tanh", {"act_layer": "gelu_tanh"})


def _torchvision() -> Iterator[Known]:
    """Yield torchvision's, with the image sizes of its weights."""
    for model, width, patch, size in (
        ("vit_b_16", 768, 16, None),
        ("vit_b_16", 768, 16, 384),
        ("vit_b_32", 768, 32, None),
        ("vit_l_16", 1024, 16, None),
        ("vit_l_16", 1024, 16, 512),
        ("vit_l_32", 1024, 32, None),
        ("vit_h_14", 1280, 14, None),
        ("vit_h_14", 1280, 14, 518),
    ):
        options = () if size is None else (("image_size", size),)
        count = None if size is None else (size // patch) ** 2 + 1
        landmarks = {"conv_proj.weight": (width, 3, patch, patch), "encoder.pos_embedding": (1, count, width)}
        yield Known(LibraryNetwork("torchvision", model, options), landmarks)


VITS = (*_plain(), *_ijepa(), *_dinov2(), *_dinov3(), *_clip(), *_siglip(), *_torchvision())
