"""The rows of the table of layouts that only vision transformers have."""

from collections.abc import Iterator

from twinbench.convert.finding.layout import Layout
from twinbench.convert.finding.vit_names import CLIP, TIMM, VITS
from twinbench.convert.finding.vit_names_transformers import SIGLIP, TRANSFORMERS_VITS, VIT

_HEADS = ("head.*", "pre_logits.*")
_TRANSFORMERS_HEADS = ("pooler.*", "classifier.*", "decoder.*", "visual_projection.*", "text_*", "logit_*")


def _vits() -> Iterator[Layout]:
    """Yield the rows. Where no convention stands, files come with several."""
    for naming in VITS:
        origins = "timm, DINO, DINOv2, DINOv3, torchvision"
        yield Layout("vit", origins, (), "", _HEADS, naming=naming, convention=None)
    # iBOT's extract_backbone_weights.py; timm's trainer, of models with several conventions. It scores both.
    for key, branch in (("state_dict", ""), ("state_dict_ema", "ema")):
        yield Layout("vit-state-dict", "iBOT, timm", (key,), "", _HEADS, branch, naming=TIMM, convention=None)
    # All that is published so saw ImageNet's mean and std: MAE, DeiT, MoCo v3's convert_to_deit.py.
    for key, branch in (("model", ""), ("model_ema", "ema")):
        yield Layout("mae", "MAE, DeiT", (key,), "", ("decoder_*", *_HEADS), branch, naming=TIMM)
    # MSN's evaluations load target_encoder (logistic_eval.py); so did I-JEPA's (its paper, A.1).
    for key, branch in (("target_encoder", ""), ("encoder", "context")):
        yield Layout("jepa", "I-JEPA, MSN", (key,), "", ("fc.*",), branch, naming=TIMM)
    # open_clip's ViT-L/14 of LAION-2B saw mean and std of 0.5, all others CLIP's.
    yield Layout("clip", "CLIP, open_clip", None, None, naming=CLIP, convention=None)
    for naming in TRANSFORMERS_VITS:
        # SigLIP was trained with the tanh form of GELU, and transformers computes it so.
        variant = "gelu-tanh" if naming is SIGLIP else ""
        yield Layout(
            "transformers",
            "transformers",
            None,
            None,
            _TRANSFORMERS_HEADS,
            naming=naming,
            convention=None,
            variant=variant,
            classifier="classifier" if naming is VIT else "",  # DINOv2's is on the mean of patches, too
        )


VIT_LAYOUTS = tuple(_vits())
