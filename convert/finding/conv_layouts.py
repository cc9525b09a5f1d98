"""The rows of the table of layouts that only convolutional networks and Swins have."""

from collections.abc import Iterator

from twinbench.convert.convention import HALF
from twinbench.convert.finding.conv_names import (
    CLIP_RESNET,
    CONVNEXT_ORIGINALS,
    EFFICIENTNETS_LITE,
    OWN_CONVS,
    SWIN_ORIGINAL,
    TRANSFORMERS_CONVS,
)
from twinbench.convert.finding.layout import Layout
from twinbench.convert.finding.names import TRANSFORMERS
from twinbench.convert.finding.regnet_names import REGNET, REGNETS_TRANSFORMERS


def _convs() -> Iterator[Layout]:
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
    for naming in EFFICIENTNETS_LITE:
        yield Layout(
            "efficientnet-lite",
            "efficientnet_lite_pytorch",
            (),
            "",
            ("_fc.*",),
            naming=naming,
            convention=HALF,  # Google's efficientnet_lite_builder.py: (image - 127) / 128; timm has it as 0.5
            variant="tensorflow",  # utils.py: get_same_padding_conv2d
            classifier="_fc",
        )
    yield Layout("clip", "CLIP, open_clip", None, None, naming=CLIP_RESNET, convention=None)
    for naming in (TRANSFORMERS, *TRANSFORMERS_CONVS, *REGNETS_TRANSFORMERS):
        # All that is published so saw ImageNet's mean and std.
        heads = ("classifier.*", "decoder.*")
        layer = "classifier.1" if naming in (TRANSFORMERS, *REGNETS_TRANSFORMERS) else "classifier"  # behind a Flatten
        yield Layout("transformers", "transformers", None, None, heads, naming=naming, classifier=layer)


CONV_LAYOUTS = tuple(_convs())
