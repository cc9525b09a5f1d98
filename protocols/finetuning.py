"""Fine-tuning of the whole network on all of ImageNet: lightly's recipe for ResNets, DeiT's and MAE's for transformers.

They are far apart: SGD for 30 epochs on plain crops, and AdamW for 50 to 150 on mixed ones. All three projects print
the best epoch on the validation images that they report; here it is the last one, as everywhere, at whose rate of
almost nothing there is little between them.

Sources, abbreviated: LIGHTLY = lightly-ai/lightly at e8d317f, benchmarks/imagenet/resnet50/finetune_eval.py and
lightly/utils/benchmarking/linear_classifier.py; MOCO3 = facebookresearch/moco-v3 at c349e6e, README.md, which runs
DeiT's main.py with its defaults; DEIT = facebookresearch/deit at 7e160fe, main.py and datasets.py; MAE =
facebookresearch/mae at efb2a80, FINETUNE.md, main_finetune.py and util/.
"""

from dataclasses import replace

from twinbench.protocols.classification import CENTER_CROP, LAST_EPOCH
from twinbench.protocols.datasets import IMAGENET
from twinbench.protocols.kinds.finetuning import FineTuningRecipe
from twinbench.protocols.schema import Protocol

LIGHTLY = FineTuningRecipe(
    transform=CENTER_CROP,  # LIGHTLY: Resize(256), CenterCrop(224)
    epochs=30,  # LIGHTLY: max_epochs
    batch_size=256,  # LIGHTLY: 128 a GPU, and its tables say 256
    lr_head=0.05,  # LIGHTLY: 0.05 per 256
    lr_backbone=0.05,  # LIGHTLY: one rate
    momentum=0.9,  # LIGHTLY
    nesterov=False,  # LIGHTLY: SGD's default
    weight_decay=0.0,  # LIGHTLY
    schedule="cosine-met",  # LIGHTLY: CosineWarmupScheduler, interval step, over all steps less one
    rate_floor=0.001,  # LIGHTLY: end_value
    milestones=(),
    gamma=1.0,
    head="linear",  # LIGHTLY
    head_init_std=0.0,  # LIGHTLY: Linear as PyTorch draws it
    norm_groups=2,  # LIGHTLY: the trainer does not synchronise batch norms here; 256 are two GPUs
    optimizer="sgd",  # LIGHTLY
    smoothing=0.0,  # LIGHTLY: CrossEntropyLoss()
    train_interpolation="bilinear",  # LIGHTLY: RandomResizedCrop(224) and a flip
    drop_last=True,  # LIGHTLY
    precision="fp32",  # LIGHTLY: 16-mixed, with a scaler, which ours has not
)
DEIT = FineTuningRecipe(
    transform=replace(
        CENTER_CROP, interpolation="bicubic"
    ),  # DEIT datasets.py: 224 / .875, interpolation 3, centre crop
    epochs=150,  # MOCO3: --epochs 150
    batch_size=1024,  # not said; DEIT README_deit.md: DeiT-B on 2 nodes of 8 GPUs, with 64 on each
    lr_head=1e-3,  # DEIT: 5e-4 per 512
    lr_backbone=1e-3,  # DEIT: one rate
    momentum=0.9,  # DEIT: AdamW's default betas
    nesterov=False,
    weight_decay=0.05,  # DEIT
    schedule="cosine-late",  # DEIT: timm's cosine, told of an epoch when it is over
    milestones=(),
    gamma=1.0,
    head="linear",  # DEIT: timm's
    head_init_std=0.02,  # DEIT: timm's trunc_normal_(std=.02), whose ends are a hundred deviations away; bias 0
    feature="gap",  # DEIT: timm's, the class token
    norm_groups=16,  # not said; DEIT run_with_submitit.py: DeiT-B on 16 GPUs, each of which mixes its own images
    optimizer="adamw",  # DEIT
    warmup_epochs=5,  # DEIT
    warmup_start=1e-3,  # DEIT: warmup-lr 1e-6
    rate_floor=0.01,  # DEIT: min-lr 1e-5
    layer_decay=1.0,  # DEIT: none
    decayed="weights",  # DEIT: timm's create_optimizer leaves out biases, norms, and what no_weight_decay() names
    drop_path=0.1,  # DEIT
    smoothing=0.1,  # DEIT
    mixup=0.8,  # DEIT
    cutmix=1.0,  # DEIT: one or the other (mixup-switch-prob .5), always (mixup-prob 1), one draw a GPU
    train_interpolation="bicubic",  # DEIT: train-interpolation
    policy="rand-m9-mstd0.5-inc1",  # DEIT: aa, which turns its color-jitter off
    erasing=0.25,  # DEIT: reprob; remode pixel, recount 1
    repeats=3,  # DEIT: repeated-aug is on; samplers.py: num_repeats=3
    drop_last=True,  # DEIT
    precision="bf16",  # DEIT: autocast to float16 with a scaler; bfloat16 has float32's range and needs none
)
MAE_BASE = FineTuningRecipe(
    transform=replace(CENTER_CROP, interpolation="bicubic"),  # MAE util/datasets.py: 256, bicubic, centre crop
    epochs=100,  # MAE FINETUNE.md, ViT-Base
    batch_size=1024,  # MAE FINETUNE.md: 32 a GPU, 8 GPUs, 4 nodes
    lr_head=2e-3,  # MAE FINETUNE.md, ViT-Base: blr 5e-4 per 256
    lr_backbone=2e-3,  # MAE: of the last block, before layer decay
    momentum=0.9,  # MAE: AdamW's default betas
    nesterov=False,
    weight_decay=0.05,  # MAE FINETUNE.md
    schedule="cosine-by-step",  # MAE util/lr_sched.py: half a cosine after the warm-up, per iteration
    milestones=(),
    gamma=1.0,
    head="layernorm-linear",  # MAE models_vit.py: fc_norm, a fresh one
    head_init_std=2e-5,  # MAE: trunc_normal_(std=2e-5), bias 0
    feature="prenorm-patches",  # MAE models_vit.py: global_pool, the mean of the patches, without the norm
    norm_groups=32,  # MAE FINETUNE.md: 32 GPUs, each of which mixes its own images
    optimizer="adamw",  # MAE
    warmup_epochs=5,  # MAE main_finetune.py: its default
    warmup_start=0.0,  # MAE util/lr_sched.py
    rate_floor=5e-4,  # MAE main_finetune.py: min_lr 1e-6
    layer_decay=0.65,  # MAE FINETUNE.md, ViT-Base
    decayed="weights",  # MAE util/lr_decay.py: nothing of one axis, and not what no_weight_decay() names
    drop_path=0.1,  # MAE FINETUNE.md, ViT-Base
    smoothing=0.1,  # MAE main_finetune.py: its default
    mixup=0.8,  # MAE FINETUNE.md
    cutmix=1.0,  # MAE FINETUNE.md; one or the other (mixup_switch_prob .5), always (mixup_prob 1), one draw a GPU
    train_interpolation="bicubic",  # MAE util/datasets.py
    policy="rand-m9-mstd0.5-inc1",  # MAE main_finetune.py: aa, its default
    erasing=0.25,  # MAE FINETUNE.md: reprob; remode pixel, recount 1
    drop_last=True,  # MAE
    precision="bf16",  # MAE: autocast to float16 with a scaler; bfloat16 has float32's range and needs none
)
MAE_LARGE = replace(
    MAE_BASE,
    epochs=50,  # MAE FINETUNE.md, ViT-Large
    lr_head=4e-3,  # MAE FINETUNE.md, ViT-Large: blr 1e-3 per 256
    lr_backbone=4e-3,  # MAE: of the last block, before layer decay
    rate_floor=2.5e-4,  # MAE main_finetune.py: min_lr 1e-6
    layer_decay=0.75,  # MAE FINETUNE.md, ViT-Large
    drop_path=0.2,  # MAE FINETUNE.md, ViT-Large; ViT-Huge: 0.3
)


def _tuned(name: str, title: str, recipe: FineTuningRecipe, source: str, published_as: str) -> Protocol:
    """Return a protocol on all of ImageNet."""
    return Protocol(name, 1, title, recipe, IMAGENET, "top1", LAST_EPOCH, 1, source, published_as)


PROTOCOLS = (
    _tuned(
        "imagenet-finetune-lightly",
        "ImageNet, fine-tuned on all labels for 30 epochs as lightly does: SGD, plain crops",
        LIGHTLY,
        "LIGHTLY, which has its rates from SimCLR",
        "imagenet_finetune",
    ),
    _tuned(
        "imagenet-finetune-deit",
        "ImageNet, fine-tuned on all labels for 150 epochs as MoCo v3 does: DeiT's training recipe",
        DEIT,
        "MOCO3 with DEIT's defaults",
        "imagenet_finetune_deit",
    ),
    _tuned(
        "imagenet-finetune-mae",
        "ImageNet, fine-tuned on all labels for 100 epochs as MAE does with ViT-B: layer decay, mixed images",
        MAE_BASE,
        "MAE, ViT-Base",
        "imagenet_finetune_mae",
    ),
    _tuned(
        "imagenet-finetune-mae-large",
        "ImageNet, fine-tuned on all labels for 50 epochs as MAE does with ViT-L: layer decay, mixed images",
        MAE_LARGE,
        "MAE, ViT-Large",
        "imagenet_finetune_mae_large",
    ),
)
