"""Rows of the table of layouts for files that only some architectures are kept in; `layouts` has all others."""

from collections.abc import Iterator

from twinbench.convert.convention import HALF
from twinbench.convert.finding.conv_names import (
    CLIP_RESNET,
    CONVNEXT_ORIGINALS,
    EFFICIENTNET_LITE,
    OWN_CONVS,
    SWIN_ORIGINAL,
    TRANSFORMERS_CONVS,
)
from twinbench.convert.finding.layout import Layout
from twinbench.convert.finding.names import TRANSFORMERS
from twinbench.convert.finding.regnet_names import REGNET, REGNETS_TRANSFORMERS
from twinbench.convert.finding.vit_names import CLIP, TIMM, VITS
from twinbench.convert.finding.vit_names_transformers import SIGLIP, TRANSFORMERS_VITS

_FC = ("fc.*",)
_VIT_HEADS = ("head.*", "pre_logits.*")
_TRANSFORMERS_HEADS = ("pooler.*", "classifier.*", "decoder.*", "visual_projection.*", "text_*", "logit_*")


def conv_layouts() -> Iterator[Layout]:
    """Yield what ConvNeXts and Swins are kept in.

    Of what was trained and its average the former comes first, as in their authors' own resuming.
    """
    for naming in (*OWN_CONVS, REGNET):  # timm's ConvNeXts come with several conventions: CLIP's have their own
        for at in ((), ("state_dict",), ("model",)):
            heads = ("head.*", "classifier.*")
            yield Layout("timm", "timm, torchvision", at, "", heads, naming=naming, convention=None)
    for naming in CONVNEXT_ORIGINALS:  # published files have either as `model`
        yield Layout("convnext", "ConvNeXt", ("model",), "", ("head.*",), naming=naming)
        yield Layout("convnext", "ConvNeXt", ("model_ema",), "", ("head.*",), "ema", naming=naming)
        yield Layout("dinov3-convnext", "DINOv3, EUPE", (), "", ("head.*", "projectors.*"), naming=naming)
    yield Layout("swin", "Swin", ("model",), "", ("head.*",), naming=SWIN_ORIGINAL)
    # SimMIM's main_finetune.py and MoBY's moby_linear.py take `encoder`; MoBY's encoder_k is its average.
    beside = ("decoder.*", "encoder*", "projector*", "predictor*", "queue*")
    yield Layout("simmim", "SimMIM, MoBY", ("model",), "encoder.", beside, naming=SWIN_ORIGINAL)
    yield Layout("simmim", "MoBY", ("model",), "encoder_k.", beside, "key", naming=SWIN_ORIGINAL)
    yield Layout(
        "efficientnet-lite",
        "efficientnet_lite_pytorch",
        (),
        "",
        ("_fc.*",),
        naming=EFFICIENTNET_LITE,
        convention=HALF,  # Google's efficientnet_lite_builder.py: (image - 127) / 128; timm has it as 0.5
        variant="tensorflow",  # utils.py: get_same_padding_conv2d
    )


def vit_layouts() -> Iterator[Layout]:
    """Yield what only vision transformers are kept in. Where no convention stands, files come with several."""
    for naming in VITS:
        yield Layout(
            "vit", "timm, DINO, DINOv2, DINOv3, torchvision", (), "", _VIT_HEADS, naming=naming, convention=None
        )
    # iBOT's extract_backbone_weights.py; timm's trainer, of models with several conventions.
    yield Layout(
        "vit-state-dict", "iBOT, timm's trainer", ("state_dict",), "", _VIT_HEADS, naming=TIMM, convention=None
    )
    # All that is published so saw ImageNet's mean and std: MAE, DeiT, MoCo v3's convert_to_deit.py.
    yield Layout("mae", "MAE, DeiT", ("model",), "", ("decoder_*", *_VIT_HEADS), naming=TIMM)
    # MSN's evaluations load target_encoder (logistic_eval.py); so did I-JEPA's (its paper, A.1).
    yield Layout("jepa", "I-JEPA, MSN", ("target_encoder",), "", _FC, naming=TIMM)
    yield Layout("jepa", "I-JEPA, MSN", ("encoder",), "", _FC, "context", naming=TIMM)
    for naming in (CLIP, CLIP_RESNET):
        yield Layout("clip", "CLIP, open_clip", None, None, naming=naming, convention=None)


def transformers_layouts() -> Iterator[Layout]:
    """Yield what transformers keeps its networks in."""
    for naming in (
        TRANSFORMERS,
        *TRANSFORMERS_CONVS,
        *REGNETS_TRANSFORMERS,
    ):  # all published ones with ImageNet's mean and std
        yield Layout("transformers", "transformers", None, None, ("classifier.*", "decoder.*"), naming=naming)
    for naming in TRANSFORMERS_VITS:
        # SigLIP was trained with the tanh form of GELU, and transformers computes it so.
        variant = "gelu-tanh" if naming is SIGLIP else ""
        heads = _TRANSFORMERS_HEADS
        yield Layout("transformers", "transformers", None, None, heads, naming=naming, convention=None, variant=variant)
