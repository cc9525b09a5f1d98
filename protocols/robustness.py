"""What one ImageNet classifier does on images it was not made for, and how well it knows what it knows.

Nothing is trained: the head is a finished trial's, kept beside its result, or the one that a released network comes
with. Each family says whose head it tests, by the protocol's name and fingerprint: two heads never share a column.

Sources, abbreviated: TIMM = huggingface/pytorch-image-models, validate.py and results/*.csv, which tell for each model
how images were shown; SSLT = linusericsson/ssl-transfer, temperature_scaling.py; HENDRYCKS = hendrycks/robustness,
ImageNet-C/test.py; AUGMIX = google-research/augmix, imagenet.py.
"""

from dataclasses import replace

from twinbench.protocols import classification
from twinbench.protocols.datasets import DataSet
from twinbench.protocols.datasets.large import (
    IMAGENET,
    IMAGENET_A,
    IMAGENET_C,
    IMAGENET_R,
    IMAGENET_REAL,
    IMAGENET_SKETCH,
    IMAGENET_V2,
)
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.tested import RELEASED, CorruptionTestRecipe, HeadTestRecipe, head_label
from twinbench.protocols.schema import Protocol

SIBLINGS = (IMAGENET_V2, IMAGENET_REAL, IMAGENET_A, IMAGENET_R, IMAGENET_SKETCH)
SINGLE_LABEL = (IMAGENET, *(entry for entry in SIBLINGS if entry is not IMAGENET_REAL))  # a temperature needs one label


def _head_of(name: str) -> str:
    """Return the label of the head that a protocol trains."""
    [found] = [entry for entry in classification.PROTOCOLS if entry.name == name]
    return head_label(name, found.fingerprint)


AS_TESTED = ImageTransform(resize=256, crop=224, shape="center-crop")  # BT code, of the head; TIMM: crop_pct .875
AS_THEY_ARE = ImageTransform(resize=0, crop=224, shape="center-crop")  # HENDRYCKS: CenterCrop(224), of 224 pixels

LINEAR = HeadTestRecipe(
    head=_head_of("imagenet-linear"),  # the head's
    transform=AS_TESTED,
    bins=15,  # SSLT: n_bins=15
    folds=0,  # nothing is fitted
)
PERCENT_1 = replace(LINEAR, head=_head_of("imagenet-1pct"))  # the head's
PERCENT_10 = replace(LINEAR, head=_head_of("imagenet-10pct"))  # the head's
AS_RELEASED = replace(LINEAR, head=RELEASED)  # as it comes: TIMM
CALIBRATION = replace(
    LINEAR,
    folds=5,  # SSLT: k=5, a temperature of each fifth for the other four
)
CALIBRATION_RELEASED = replace(CALIBRATION, head=RELEASED)  # as it comes
CORRUPTIONS = CorruptionTestRecipe(
    head=_head_of("imagenet-linear"),  # the head's
    transform=AS_THEY_ARE,
    bins=15,  # SSLT: n_bins=15
    folds=0,  # nothing is fitted
    corruptions=(
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "elastic_transform",
        "pixelate",
        "jpeg_compression",
    ),  # AUGMIX: CORRUPTIONS; HENDRYCKS: the first 15 of its 19
    reference_errors=(
        0.886428,
        0.894468,
        0.922640,
        0.819880,
        0.826268,
        0.785948,
        0.798360,
        0.866816,
        0.826572,
        0.819324,
        0.564592,
        0.853204,
        0.646056,
        0.717840,
        0.606500,
    ),  # AUGMIX: ALEXNET_ERR; DINOv3's imagenet_c.py has the same by severity
)
CORRUPTIONS_RELEASED = replace(CORRUPTIONS, head=RELEASED)  # as it comes

NOTHING = "nothing: no number of the recipe is chosen"
ON_FIFTHS = "test images: a temperature on a fifth of them, for the other four fifths"


def _family(
    name: str,
    title: str,
    recipe: HeadTestRecipe,
    sets: tuple[DataSet, ...],
    source: str,
    published_as: str = "",
    trials: int = 1,
) -> Protocol:
    """Return a test on several sets; where temperatures are fitted, how sure the classifier is leads, else top-1."""
    metric = "100-ece" if recipe.folds else "top1"
    also = ("100-ece-scaled",) if recipe.folds else ()
    selected_on = ON_FIFTHS if recipe.folds else NOTHING
    return Protocol(
        name=name,
        version=1,
        title=title,
        recipe=recipe,
        data_set=sets[0],
        metric=metric,
        selected_on=selected_on,
        trials=trials,
        source=source,
        published_as=published_as,
        also=also,
        sets=sets,
    )


PROTOCOLS = (
    _family(
        "robust-linear",
        "ImageNetV2, ReaL, A, R and Sketch by the head of imagenet-linear",
        LINEAR,
        SIBLINGS,
        "TIMM for what counts as a hit; the head's own images",
    ),
    _family(
        "robust-1pct",
        "ImageNetV2, ReaL, A, R and Sketch by the network that imagenet-1pct has fine-tuned",
        PERCENT_1,
        SIBLINGS,
        "TIMM for what counts as a hit; the head's own images",
        trials=3,
    ),
    _family(
        "robust-10pct",
        "ImageNetV2, ReaL, A, R and Sketch by the network that imagenet-10pct has fine-tuned",
        PERCENT_10,
        SIBLINGS,
        "TIMM for what counts as a hit; the head's own images",
        trials=3,
    ),
    _family(
        "robust-released",
        "ImageNet's val, ImageNetV2, ReaL, A, R and Sketch by a released classifier as it comes",
        AS_RELEASED,
        (IMAGENET, *SIBLINGS),
        "TIMM, for models of crop_pct .875 and bilinear interpolation",
        "robust_released",
    ),
    _family(
        "corruptions-linear",
        "ImageNet-C, 15 corruptions by 5 severities, by the head of imagenet-linear",
        CORRUPTIONS,
        (IMAGENET_C,),
        "HENDRYCKS, AUGMIX",
    ),
    _family(
        "corruptions-released",
        "ImageNet-C, 15 corruptions by 5 severities, by a released classifier as it comes",
        CORRUPTIONS_RELEASED,
        (IMAGENET_C,),
        "HENDRYCKS, AUGMIX",
    ),
    _family(
        "calibration-linear",
        "Expected calibration error of imagenet-linear's head, as it is and after temperature scaling",
        CALIBRATION,
        SINGLE_LABEL,
        "SSLT",
    ),
    _family(
        "calibration-released",
        "Expected calibration error of a released classifier, as it is and after temperature scaling",
        CALIBRATION_RELEASED,
        SINGLE_LABEL,
        "SSLT",
    ),
)
