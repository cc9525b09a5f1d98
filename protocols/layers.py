"""Linear probes of each layer of a ResNet-50, from the stem to the global average, all heads trained in one pass.

Each map is averaged to about 9,000 numbers (PIRL, arXiv:1912.01991, appendix C). VISSL and MMSelfSup share that and
differ in nearly all else: epochs, weight decay, the norm before a head, and what is done to training images.

Sources, abbreviated: VISSL = facebookresearch/vissl at 09270ed, its linear yaml of imagenet1k; MMSL =
open-mmlab/mmselfsup at 6faad816, branch 0.x, the mhead files of configs/benchmarks/classification/ and what they run.
"""

from dataclasses import replace

from twinbench.protocols.datasets import IMAGENET, PLACES205, DataSet
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.probes import LayerProbeRecipe
from twinbench.protocols.schema import Protocol

LAST_EPOCH = "nothing: the last epoch is reported"

VISSL_LAYERS = LayerProbeRecipe(
    transform=ImageTransform(resize=256, crop=224, shape="center-crop"),  # VISSL: Resize(256), CenterCrop(224)
    epochs=28,  # VISSL
    batch_size=256,  # VISSL: 8 x 32
    lr_head=0.01,  # VISSL: 0.01 per 256
    momentum=0.9,  # VISSL
    nesterov=True,  # VISSL
    weight_decay=5e-4,  # VISSL, on the bias too, not on the batch norm
    schedule="steps",  # VISSL: multistep, once an epoch
    milestones=(8, 16, 24),  # VISSL
    gamma=0.1,  # VISSL
    head="batchnorm-linear",  # VISSL: eval_mlp, but for the last head, a bare mlp
    head_init_std=0.0,  # VISSL mlp.py: PyTorch's default, times PARAMS_MULTIPLIER = 1
    layers=("conv1", "res2", "res3", "res4", "res5", "res5avg", "res5avg-linear"),  # VISSL: its seven heads
    kernels=(10, 16, 13, 8, 6),  # VISSL: AvgPool2d
    strides=(10, 8, 5, 3, 1),  # VISSL: AvgPool2d
    paddings=(4, 0, 0, 0, 0),  # VISSL: AvgPool2d
    train_crop="resized",  # VISSL: RandomResizedCrop(224) and a flip
    jitter=0.0,  # VISSL: none
    lighting=0.0,  # VISSL: none
)
MMSL_IMAGENET = replace(
    VISSL_LAYERS,
    transform=ImageTransform(resize=256, crop=224, shape="center-crop"),  # MMSL: torchvision's Resize(256), CenterCrop
    epochs=90,  # MMSL
    batch_size=256,  # MMSL: 8 x 32
    lr_head=0.01,  # MMSL
    momentum=0.9,  # MMSL
    nesterov=True,  # MMSL
    weight_decay=1e-4,  # MMSL, on the bias too
    schedule="steps",  # MMSL: policy step, once an epoch
    milestones=(30, 60, 90),  # MMSL; after the last epoch nothing is left to train
    gamma=0.1,  # mmcv's default
    head="standardized-linear",  # MMSL: SyncBN with affine=False
    head_init_std=0.01,  # MMSL multi_cls_head.py
    layers=("conv1", "res2", "res3", "res4", "res5"),  # MMSL: Feature1 to Feature5
    kernels=(10, 16, 13, 8, 6),  # MMSL multi_pooling.py
    strides=(10, 8, 5, 3, 1),  # MMSL multi_pooling.py
    paddings=(4, 0, 0, 0, 0),  # MMSL multi_pooling.py
    train_crop="resized",  # MMSL: RandomResizedCrop(224) and a flip
    jitter=0.4,  # MMSL: ColorJitter of 0.4, no hue
    lighting=0.1,  # MMSL: Lighting, alphastd
)
MMSL_PLACES = replace(
    MMSL_IMAGENET,
    epochs=28,  # MMSL
    milestones=(7, 14, 21),  # MMSL
    train_crop="random",  # MMSL: 224 of Resize(256), CenterCrop(256), and a flip
    jitter=0.0,  # MMSL: none
    lighting=0.0,  # MMSL: none
)


def _layers(
    name: str, title: str, recipe: LayerProbeRecipe, data_set: DataSet, metric: str, source: str, published_as: str = ""
) -> Protocol:
    """Return a protocol whose table has a column for each layer, the headline's first."""
    columns = tuple(f"top1-{layer}" for layer in recipe.layers)
    return Protocol(
        name=name,
        version=1,
        title=title,
        recipe=recipe,
        data_set=data_set,
        metric=metric,
        also=tuple(column for column in columns if column != metric),
        selected_on=LAST_EPOCH,
        trials=1,
        source=source,
        published_as=published_as,
    )


PROTOCOLS = (
    _layers(
        "imagenet-layers-vissl",
        "ImageNet linear classification on each layer, VISSL's seven heads in 28 epochs",
        VISSL_LAYERS,
        IMAGENET,
        "top1-res5avg",
        "VISSL imagenet1k linear yaml",
    ),
    _layers(
        "imagenet-layers-mmselfsup",
        "ImageNet linear classification on each layer, MMSelfSup's Feature1 to Feature5",
        MMSL_IMAGENET,
        IMAGENET,
        "top1-res5",
        "MMSL imagenet/resnet50_mhead_linear-8xb32-steplr-90e_in1k.py",
        published_as="imagenet_layers_mmselfsup",
    ),
    _layers(
        "places205-layers-mmselfsup",
        "Places205 linear classification on each layer, MMSelfSup's Feature1 to Feature5",
        MMSL_PLACES,
        PLACES205,
        "top1-res5",
        "MMSL places205/resnet50_mhead_8xb32-steplr-28e_places205.py",
        published_as="places205_layers_mmselfsup",
    ),
)
