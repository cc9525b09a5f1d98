"""Attentive probes: heads that learn which of a frozen backbone's tokens to look at.

Efficient probing's code reports the best of its 90 epochs on the reported split. A twin stands beside each of its
protocols, which chooses the epoch on a tenth of the training images. What tokens it takes depends on the encoder: of
those that its own models_vit.py builds (MAE, DINO, iBOT, MoCo v3) the ones before the last norm, of all others those
after it; the class token besides (`-all`) where the encoder was trained by one.

Sources, abbreviated: EP = billpsomas/efficient-probing at b8f4fb8, main_linprobe.py unless another file is named;
CAPI = facebookresearch/capi at 98b4fa1, eval_classification.py; JEPA = facebookresearch/jepa at 51c59d5,
evals/image_classification_frozen/eval.py and configs/evals/vitl16_in1k.yaml.

AIM's own code has the head and no training of it, so its head stands here as EP's code trains it.
"""

from dataclasses import replace

from twinbench.protocols.heads import CAPI, ON_HELD_OUT, on_imagenet
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.heads import HeadsRecipe

BICUBIC = ImageTransform(
    resize=256,  # EP: Resize(224 * 256 / 224)
    crop=224,  # EP: --input_size
    shape="center-crop",  # EP: CenterCrop
    interpolation="bicubic",  # EP: interpolation=3
)
BILINEAR = ImageTransform(
    resize=256,  # JEPA: Resize(224 * 256 / 224)
    crop=224,  # JEPA: resolution
    shape="center-crop",  # JEPA: CenterCrop
    interpolation="bilinear",  # JEPA: torchvision's default
)

EP = HeadsRecipe(
    transform=BICUBIC,
    train_interpolation="bicubic",  # EP: RandomResizedCrop(224, interpolation=3) and a flip; it draws one box, not ten
    heads_on=("ep-32",),  # EP: --cls_features ep --ep_queries 32
    tokens="patches",  # EP models_more.py: the patches after the last norm
    rates=(0.1,),  # EP: --blr 0.1
    decays=(0.0,),  # EP: --weight_decay
    rate_per=256,  # EP: blr * eff_batch_size / 256
    optimizer="lars",  # EP
    momentum=0.9,  # EP util/lars.py
    betas=(0.9, 0.999),  # of lars: none
    epsilon=1e-8,  # of lars: none
    decays_bias=False,  # EP util/lars.py: p.ndim > 1
    decay_left=1.0,  # nothing decays
    clip=0.0,  # EP: max_norm=None
    batch_size=4096,  # EP README: effective batch 4096
    epochs=90,  # EP
    epoch_steps=0,  # EP: every image once an epoch; its last batch, which is smaller, it drops
    schedule="cosine",  # EP util/lr_sched.py: by steps, to --min_lr 0
    warmup_epochs=10.0,  # EP: --warmup_epochs
    head="standardized-linear",  # EP probe_heads.py: BatchNorm1d(affine=False), of each GPU; here of the whole batch
    norm_epsilon=1e-6,  # EP probe_heads.py
    head_init_std=0.0,  # EP probe_heads.py: nn.Linear as PyTorch draws it
    chosen_on="test",  # EP: max_accuracy on the val split
    chosen_epoch="best",  # EP README: the best epoch
    held_out=0.0,  # EP: none
    draw="trial",  # nothing is drawn
    precision="bf16",  # EP README: --amp bfloat16 in the commands of all rows but CAPI's
)
EP_HELD_OUT = replace(
    EP,
    chosen_on="held-out",  # ours: never on the reported split
    held_out=0.1,  # ours, as CAPI: val_proportion
    draw="numpy-42",  # ours, as CAPI: default_rng(42).permutation
)
EP_RAW = replace(EP, tokens="patches-raw")  # EP models_vit.py: the last block's patches, without the last norm
EP_RAW_HELD_OUT = replace(EP_HELD_OUT, tokens="patches-raw")  # EP models_vit.py
EP_ALL = replace(EP, tokens="class+patches")  # EP: --cls_features ep_all, models_more.py
EP_ALL_HELD_OUT = replace(EP_HELD_OUT, tokens="class+patches")  # EP: --cls_features ep_all, models_more.py
EP_ALL_RAW = replace(EP, tokens="class+patches-raw")  # EP: --cls_features ep_all, models_vit.py
EP_ALL_RAW_HELD_OUT = replace(EP_HELD_OUT, tokens="class+patches-raw")  # EP: --cls_features ep_all, models_vit.py
EP_LINEAR = replace(EP, heads_on=("class",))  # EP: --cls_features cls
EP_LINEAR_HELD_OUT = replace(EP_HELD_OUT, heads_on=("class",))  # EP: --cls_features cls
AIM = replace(EP, heads_on=("aim-16",))  # EP: --cls_features aim --num_heads 16
AIM_HELD_OUT = replace(EP_HELD_OUT, heads_on=("aim-16",))  # EP: --cls_features aim --num_heads 16

CAPI_ATTENTIVE = replace(
    CAPI,
    heads_on=("capi",),  # CAPI: AttnPoolClassifier
    tokens="patches",  # CAPI: representations, patch
    momentum=0.9,  # of adamw: none
    clip=0.0,  # CAPI: none
    head="linear",  # CAPI: AttnPoolClassifier
    chosen_epoch="last",  # CAPI: after n_iters
    precision="fp32",  # CAPI: no autocast
)
JEPA = HeadsRecipe(
    transform=BILINEAR,
    train_interpolation="bicubic",  # JEPA: interpolation; its auto_augment and re_prob are left out here
    heads_on=("jepa",),  # JEPA: AttentiveClassifier of encoder.num_heads, which of ViT-L are 64 wide
    tokens="patches",  # JEPA: all that its encoder gives, after its last norm; it has no class token
    rates=(0.001,),  # JEPA: lr
    decays=(0.001,),  # JEPA: weight_decay
    rate_per=0,  # JEPA: lr as it is
    optimizer="adamw",  # JEPA
    momentum=0.9,  # of adamw: none
    betas=(0.9, 0.999),  # JEPA: PyTorch's
    epsilon=1e-8,  # JEPA: PyTorch's
    decays_bias=False,  # JEPA: WD_exclude, of what has one axis
    decay_left=0.001,  # JEPA: final_wd=1e-6 of weight_decay 0.001
    clip=1.0,  # JEPA: clip_grad_norm_
    batch_size=1024,  # JEPA: 16 a GPU, on 8 nodes of 8
    epochs=20,  # JEPA: num_epochs
    epoch_steps=0,  # JEPA: every image once an epoch
    schedule="cosine",  # JEPA: WarmupCosineSchedule, by steps, to final_lr 0; each is here what it has a step earlier
    warmup_epochs=0.0,  # JEPA: warmup
    head="linear",  # JEPA: AttentiveClassifier
    norm_epsilon=1e-5,  # of a norm: none
    head_init_std=0.0,  # JEPA: nn.Linear as PyTorch draws it
    chosen_on="test",  # of one head and one epoch: no choice
    chosen_epoch="last",  # JEPA: it tests after every epoch and chooses none
    held_out=0.0,  # JEPA: none
    draw="trial",  # nothing is drawn
    precision="fp32",  # JEPA: autocast to float16, whose 11 bits are nearer to float32's than bfloat16's 8 are
)

BEST_REPORTED = "the reported split itself: the best of 90 epochs on it is what is reported"
NOTHING = "nothing: one head, its last epoch"


EPOCH_HELD_OUT = "chosen as CAPI chooses heads"
PROTOCOLS = (
    on_imagenet(
        "imagenet-ep",
        "ImageNet efficient probing, 32 queries on patches, the best epoch on the reported split",
        EP,
        BEST_REPORTED,
        "EP",
        published_as="imagenet_ep",
    ),
    on_imagenet(
        "imagenet-ep-heldout",
        "ImageNet efficient probing, 32 queries on patches, the epoch chosen on 10 % of the training images",
        EP_HELD_OUT,
        ON_HELD_OUT,
        f"EP; {EPOCH_HELD_OUT}",
    ),
    on_imagenet(
        "imagenet-ep-raw",
        "ImageNet efficient probing on patches before the last norm, the best epoch on the reported split",
        EP_RAW,
        BEST_REPORTED,
        "EP, of encoders of its models_vit.py",
        published_as="imagenet_ep_raw",
    ),
    on_imagenet(
        "imagenet-ep-raw-heldout",
        "ImageNet efficient probing on patches before the last norm, the epoch chosen on 10 % of the training images",
        EP_RAW_HELD_OUT,
        ON_HELD_OUT,
        f"EP, of encoders of its models_vit.py; {EPOCH_HELD_OUT}",
    ),
    on_imagenet(
        "imagenet-ep-all",
        "ImageNet efficient probing on class token and patches, the best epoch on the reported split",
        EP_ALL,
        BEST_REPORTED,
        "EP, ep_all",
        published_as="imagenet_ep_all",
    ),
    on_imagenet(
        "imagenet-ep-all-heldout",
        "ImageNet efficient probing on class token and patches, the epoch chosen on 10 % of the training images",
        EP_ALL_HELD_OUT,
        ON_HELD_OUT,
        f"EP, ep_all; {EPOCH_HELD_OUT}",
    ),
    on_imagenet(
        "imagenet-ep-all-raw",
        "ImageNet efficient probing on all tokens before the last norm, the best epoch on the reported split",
        EP_ALL_RAW,
        BEST_REPORTED,
        "EP, ep_all, of encoders of its models_vit.py",
        published_as="imagenet_ep_all_raw",
    ),
    on_imagenet(
        "imagenet-ep-all-raw-heldout",
        "ImageNet efficient probing on all tokens before the last norm, the epoch chosen on 10 % of training images",
        EP_ALL_RAW_HELD_OUT,
        ON_HELD_OUT,
        f"EP, ep_all, of encoders of its models_vit.py; {EPOCH_HELD_OUT}",
    ),
    on_imagenet(
        "imagenet-linear-ep",
        "ImageNet linear probe of efficient probing's table: class token, batch norm, LARS, the best epoch",
        EP_LINEAR,
        BEST_REPORTED,
        "EP, LP",
        published_as="imagenet_linear_ep",
    ),
    on_imagenet(
        "imagenet-linear-ep-heldout",
        "ImageNet linear probe of efficient probing's table, the epoch chosen on 10 % of the training images",
        EP_LINEAR_HELD_OUT,
        ON_HELD_OUT,
        f"EP, LP; {EPOCH_HELD_OUT}",
    ),
    on_imagenet(
        "imagenet-attentive-aim",
        "ImageNet attentive probe with AIM's pooling as efficient probing's code trains it, the best epoch",
        AIM,
        BEST_REPORTED,
        "EP, aim",
    ),
    on_imagenet(
        "imagenet-attentive-aim-heldout",
        "ImageNet attentive probe with AIM's pooling, the epoch chosen on 10 % of the training images",
        AIM_HELD_OUT,
        ON_HELD_OUT,
        f"EP, aim; {EPOCH_HELD_OUT}",
    ),
    on_imagenet(
        "imagenet-attentive-capi",
        "ImageNet attentive probes, CAPI's grid of 30 in one pass, chosen on 10 % of the training images",
        CAPI_ATTENTIVE,
        ON_HELD_OUT,
        "CAPI",
    ),
    on_imagenet(
        "imagenet-attentive-vjepa",
        "ImageNet attentive probe of V-JEPA's block, on crops and flips alone",
        JEPA,
        NOTHING,
        "JEPA",
    ),
)
