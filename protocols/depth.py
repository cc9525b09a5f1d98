"""The protocols of depth on the frozen places of a backbone, each constant beside its source.

Sources, abbreviated: DINOv3 = facebookresearch/dinov3, dinov3/eval/depth/, where "yaml" is configs/config-nyu.yaml.
Its frames and lists are those of BTS (cleinc/bts).
"""

from twinbench.protocols.datasets import NYUV2_DEPTH
from twinbench.protocols.kinds.linear_depth import LinearDepthRecipe
from twinbench.protocols.schema import Protocol

NYUV2_LINEAR_DINOV3 = LinearDepthRecipe(
    blocks=1,  # DINOv3 yaml: backbone_out_layers LAST
    padding="around",  # DINOv3 models/embed.py, CenterPadding; train.py: the map is resized to the depth's size
    norm="batch",  # DINOv3 yaml: use_batchnorm
    head_init_std=0.01,  # DINOv3 models/linear_head.py
    bins=256,  # DINOv3 yaml: n_output_channels
    spacing="linear",  # DINOv3 models/__init__.py, DecoderConfig: bins_strategy
    weights="linear",  # DINOv3 models/__init__.py, DecoderConfig: norm_strategy
    weight_floor=0.1,  # DINOv3 models/__init__.py, FeaturesToDepth: eps
    least_depth=0.001,  # DINOv3 yaml: min_depth, of the head and of eval
    most_depth=10.0,  # DINOv3 yaml: max_depth, of the head and of eval
    loss_images=2,  # DINOv3 yaml: bs, on each of 8 GPUs
    mean_weight=0.15,  # DINOv3 loss.py, SigLoss
    log_floor=0.001,  # DINOv3 loss.py, SigLoss: eps
    loss_warmup=100,  # DINOv3 loss.py, LossType: warm_iter
    lr=3e-4,  # DINOv3 yaml
    lr_start=1e-3,  # DINOv3 schedulers.py, WarmupOneCycleLR: max_lr / final_div_factor
    lr_end=4e-5,  # DINOv3 schedulers.py, WarmupOneCycleLR: 1 / (div_factor 25 * final_div_factor 1000)
    warmup_iterations=12_800,  # DINOv3 yaml: warmup_iters
    momenta=(0.85, 0.95),  # DINOv3 yaml: base_momentum, max_momentum
    beta2=0.99,  # DINOv3 yaml
    weight_decay=1e-4,  # DINOv3 yaml, on all parameters of the head
    clip=35.0,  # DINOv3 yaml: gradient_clip
    batch_size=16,  # DINOv3 yaml: bs 2, n_gpus 8
    iterations=38_400,  # DINOv3 yaml: total_iter
    train_area=(45, 472, 43, 608),  # DINOv3 transforms.py, NYUCrop
    rotated=0.5,  # DINOv3 transforms.py, MaybeApply
    rotation=2.5,  # DINOv3 config.py, TrainTransformConfig: rotation_angle
    flip=0.5,  # DINOv3 transforms.py: v2.RandomHorizontalFlip
    crop=(416, 544),  # DINOv3 yaml: random_crop
    coloured=0.5,  # DINOv3 transforms.py: ColorAugV2(prob=0.5)
    gamma=(0.9, 1.1),  # DINOv3 transforms.py, ColorAugV2: gamma_range
    brightness=(0.75, 1.25),  # DINOv3 yaml: brightness_range
    colours=(0.9, 1.1),  # DINOv3 transforms.py, ColorAugV2: color_range
    test_area=(45, 471, 41, 601),  # DINOv3 datasets/datasets_utils.py: NYU_EIGEN
    test_flip=True,  # DINOv3 yaml: use_tta
    precision="fp32",  # DINOv3 eval/setup.py: torch.float for a model of the hub; the yaml says none
)

PROTOCOLS = (
    Protocol(
        name="nyuv2-linear-dinov3",
        version=1,
        title="NYUv2 linear depth, DINOv3's recipe",
        data_set=NYUV2_DEPTH,
        metric="rmse",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="DINOv3 configs/config-nyu.yaml",
        recipe=NYUV2_LINEAR_DINOV3,
        also=("abs_rel", "d1"),
    ),
)
