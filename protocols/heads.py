"""Linear heads side by side: many rates on several features of a frozen backbone, trained in one pass over ImageNet.

DINOv2's and DINOv3's code reports the head that is best on the reported split itself, CAPI's one that is best on a
tenth of the training images. Of the first two a twin stands beside, which chooses as CAPI's does.

Sources, abbreviated: DINOv2 = facebookresearch/dinov2, dinov2/eval/linear.py; DINOv3 = facebookresearch/dinov3,
dinov3/eval/linear.py; CAPI = facebookresearch/capi, eval_classification.py.
"""

from dataclasses import replace

from twinbench.protocols.datasets import IMAGENET
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.protocols.schema import Protocol

THIRTEEN = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)

DINOV2 = HeadsRecipe(
    transform=ImageTransform(  # DINOv2 data/transforms.py: Resize(256), CenterCrop(224), bicubic
        resize=256, crop=224, shape="center-crop", interpolation="bicubic"
    ),
    train_interpolation="bicubic",  # DINOv2 data/transforms.py: RandomResizedCrop(224) and a flip
    heads_on=(
        "class",
        "class+patches",
        "class-4",
        "class-4+patches",
    ),  # DINOv2: the last 1 and 4 blocks, avgpool or not
    tokens="patches",  # of poolings: none
    rates=THIRTEEN,  # DINOv2: --learning-rates
    decays=(0.0,),  # DINOv2: weight_decay=0
    rate_per=256,  # DINOv2: scale_lr
    optimizer="sgd",  # DINOv2
    momentum=0.9,  # DINOv2
    betas=(0.9, 0.999),  # of sgd: none
    epsilon=1e-8,  # of sgd: none
    decays_bias=True,  # nothing decays
    decay_left=1.0,  # nothing decays
    clip=0.0,  # DINOv2: none
    batch_size=1024,  # DINOv2: 128 a GPU; run/submit.py: a node of 8
    epochs=10,  # DINOv2
    epoch_steps=1250,  # DINOv2: --epoch-length; its sampler has no end
    schedule="cosine",  # DINOv2: CosineAnnealingLR(max_iter, eta_min=0), once a step
    warmup_epochs=0.0,  # DINOv2: none
    head="linear",  # DINOv2: LinearClassifier
    norm_epsilon=1e-5,  # of a norm: none
    head_init_std=0.01,  # DINOv2: weight N(0, .01), bias 0
    chosen_on="test",  # DINOv2: the best on --val-dataset, ImageNet:split=VAL, which is what is reported
    chosen_epoch="last",  # DINOv2: the last evaluation counts
    held_out=0.0,  # DINOv2: none
    draw="trial",  # nothing is drawn
    precision="fp32",  # DINOv2: autocast to float16, whose 11 bits are nearer to float32's than bfloat16's 8 are
)
DINOV2_HELD_OUT = replace(
    DINOV2,
    chosen_on="held-out",  # ours: never on the reported split
    held_out=0.1,  # ours, as CAPI: val_proportion
    draw="numpy-42",  # ours, as CAPI: default_rng(42).permutation
)
DINOV3 = replace(
    DINOV2,
    transform=ImageTransform(  # DINOv3 data/transforms.py: Resize(256), CenterCrop(224), bicubic, on tensors there
        resize=256, crop=224, shape="center-crop", interpolation="bicubic"
    ),
    train_interpolation="bicubic",  # DINOv3 data/transforms.py: RandomResizedCrop(224) and a flip, on tensors there
    heads_on=("class+patches",),  # DINOv3: n_last_blocks_list (1,), avgpool always
    rates=THIRTEEN,  # DINOv3: learning_rates
    decays=(0.0,),  # DINOv3: weight_decay=0
    rate_per=256,  # DINOv3: scale_lr
    optimizer="sgd",  # DINOv3: optimizer_type
    momentum=0.9,  # DINOv3
    batch_size=1024,  # DINOv3: 128 a GPU; run/submit.py: a node of 8
    epochs=10,  # DINOv3
    epoch_steps=1250,  # DINOv3: epoch_length; its sampler has no end
    schedule="cosine",  # DINOv3: CosineAnnealingLR(max_iter, eta_min=0), once a step
    warmup_epochs=0.0,  # DINOv3: none
    head_init_std=0.01,  # DINOv3: weight N(0, .01), bias 0
    chosen_on="test",  # DINOv3: the best on train.val_dataset, which is what is reported
    chosen_epoch="last",  # DINOv3: the last evaluation counts; its best state is kept and not reported
    precision="fp32",  # DINOv3: float32, or autocast to what the model's own configuration says
)
DINOV3_HELD_OUT = replace(
    DINOV3,
    chosen_on="held-out",  # ours: never on the reported split
    held_out=0.1,  # ours, as CAPI: val_proportion
    draw="numpy-42",  # ours, as CAPI: default_rng(42).permutation
)
CAPI = replace(
    DINOV2,
    transform=ImageTransform(  # CAPI: Resize(256), CenterCrop(224), bicubic
        resize=256, crop=224, shape="center-crop", interpolation="bicubic"
    ),
    train_interpolation="bicubic",  # CAPI: RandomResizedCrop(224) and a flip
    heads_on=("class", "patches", "class+patches"),  # CAPI: cls, avg_patch, cls_avg_patch
    rates=(1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2),  # CAPI: learning_rates
    decays=(5e-4, 1e-3, 5e-2),  # CAPI: weight_decays
    rate_per=256,  # CAPI: base_lr
    optimizer="adamw",  # CAPI
    betas=(0.9, 0.95),  # CAPI
    epsilon=1.2e-6,  # PyTorch's 1e-8 on a loss that CAPI averages over its 120 heads; ours adds them up
    decays_bias=False,  # CAPI
    batch_size=1024,  # CAPI: 128 a GPU; train_distributed.py: a node of 8
    epochs=10,  # CAPI: n_iters=12_500, of which 1,250 are an epoch here: eval_period
    epoch_steps=1250,  # CAPI: n_iters=12_500; its sampler has no end
    schedule="cosine-met",  # CAPI: linspace(0, 1) and linspace(0, pi), whose ends are steps
    warmup_epochs=1.0,  # CAPI: warmup_iters=1250
    head_init_std=0.02,  # CAPI: trunc_normal_(std=.02), which cuts at 100 deviations; bias 0
    chosen_on="held-out",  # CAPI: val_dataset
    chosen_epoch="last",  # CAPI: after n_iters
    held_out=0.1,  # CAPI: val_proportion
    draw="numpy-42",  # CAPI: default_rng(42).permutation, the last tenth
    precision="fp32",  # CAPI: tf32, which only GPUs have
)

ON_REPORTED = "the reported split itself: the best head on it is what is reported"
ON_HELD_OUT = "10 % of the training images, which train nothing"


def on_imagenet(
    name: str,
    title: str,
    recipe: HeadsRecipe,
    selected_on: str,
    source: str,
    published_as: str = "",
    also: tuple[str, ...] = (),
) -> Protocol:
    """Return a protocol of many heads on ImageNet."""
    return Protocol(
        name=name,
        version=1,
        title=title,
        recipe=recipe,
        data_set=IMAGENET,
        metric="top1",
        selected_on=selected_on,
        trials=1,
        source=source,
        published_as=published_as,
        also=also,
    )


PROTOCOLS = (
    on_imagenet(
        "imagenet-linear-dinov2",
        "ImageNet linear heads, DINOv2's grid of 52 in one pass, the best on the reported split",
        DINOV2,
        ON_REPORTED,
        "DINOv2",
        published_as="imagenet_linear_dinov2",
    ),
    on_imagenet(
        "imagenet-linear-dinov2-heldout",
        "ImageNet linear heads, DINOv2's grid of 52 in one pass, chosen on 10 % of the training images",
        DINOV2_HELD_OUT,
        ON_HELD_OUT,
        "DINOv2; chosen as CAPI does",
    ),
    on_imagenet(
        "imagenet-linear-dinov3",
        "ImageNet linear heads, DINOv3's grid of 13 in one pass, the best on the reported split",
        DINOV3,
        ON_REPORTED,
        "DINOv3",
        published_as="imagenet_linear_dinov3",
    ),
    on_imagenet(
        "imagenet-linear-dinov3-heldout",
        "ImageNet linear heads, DINOv3's grid of 13 in one pass, chosen on 10 % of the training images",
        DINOV3_HELD_OUT,
        ON_HELD_OUT,
        "DINOv3; chosen as CAPI does",
    ),
    on_imagenet(
        "imagenet-linear-capi",
        "ImageNet linear heads, CAPI's grid of 90 in one pass, chosen on 10 % of the training images",
        CAPI,
        ON_HELD_OUT,
        "CAPI",
        also=tuple(f"top1-{name}" for name in CAPI.heads_on),  # CAPI reports each feature's best head
    ),
)
