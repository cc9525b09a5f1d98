"""The protocols on the frozen places of a backbone, each constant beside its source.

Sources, abbreviated: DINOv3 = facebookresearch/dinov3, dinov3/eval/segmentation/, where "yaml" is
configs/config-ade20k-linear-training.yaml; DINOv2 = facebookresearch/dinov2, dinov2/eval/segmentation/, where
"notebook" is notebooks/semantic_segmentation.ipynb and "config" the file that it loads,
dinov2_vitb14_ade20k_linear_config.py, as franchesoni/cheapseg keeps it
(configs/dinov2/original_dinov2_vitb14_ade20k_linear_config.py); VICRegL = facebookresearch/VICRegL, segmentation/;
MMSeg = open-mmlab/mmsegmentation 0.x, what DINOv2's and VICRegL's files run in; NeCo = vpariza/NeCo,
experiments/linear_segmentation/, where "yml" is configs/pascal/dinov2.yml.

All four are called linear segmentation. DINOv2's and DINOv3's score pixels in windows at the image's own size;
VICRegL's dilates a ResNet-50; NeCo's stretches images to a square and counts a grid of 100 x 100 places of it, with no
pixel between them.
"""

from dataclasses import replace

from twinbench.protocols.datasets import ADE20K, VOC12AUG_SEG
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe
from twinbench.protocols.schema import Protocol

ADE20K_LINEAR_DINOV3 = LinearSegmenterRecipe(
    blocks=1,  # DINOv3 yaml: backbone_out_layers LAST
    dilations=(),  # DINOv3: of a transformer
    norm="after-dropout",  # DINOv3 models/heads/linear_head.py, forward
    dropout=0.1,  # DINOv3 config.py, DecoderConfig
    head_init_std=0.01,  # DINOv3 linear_head.py
    grid=0,  # DINOv3 train.py: scores are resized to the labels' size
    loss_mean="all",  # DINOv3 loss.py, CrossEntropyLoss: no avg_non_ignore, a mean over all pixels
    optimizer="adamw",  # DINOv3 train.py
    momentum=0.0,  # AdamW
    betas=(0.9, 0.999),  # DINOv3 yaml
    weight_decay=1e-3,  # DINOv3 yaml, on all parameters of the head
    lr=1e-3,  # DINOv3 yaml
    schedule="one-cycle",  # DINOv3 schedulers.py, WarmupOneCycleLR, with pct_start 0 and final_div_factor inf
    poly_power=0.0,  # one-cycle
    lr_end=0.0,  # one-cycle
    steps=(),  # one-cycle
    warmup_iterations=1500,  # DINOv3 yaml
    warmup_ratio=1e-6,  # DINOv3 yaml
    batch_size=16,  # DINOv3 yaml: 2 on each of 8 GPUs
    iterations=40_000,  # DINOv3 yaml
    shape="short",  # DINOv3 transforms.py, FixedSideResize
    backend="pillow",  # DINOv3 transforms.py: torchvision's Resize of PIL images
    long_side=0,  # DINOv3: as it comes
    short_side=512,  # DINOv3 yaml: img_size, in training and evaluation
    train_crop="scaled",  # DINOv3 transforms.py, make_segmentation_train_transforms
    scale=(0.5, 2.0),  # DINOv3 yaml: random_img_size_ratio_range
    crop=512,  # DINOv3 yaml
    cat_max_ratio=0.75,  # DINOv3 transforms.py, RandomCropWithLabel
    flip=0.5,  # DINOv3 yaml
    distortion="torchvision",  # DINOv3 transforms.py, PhotoMetricDistortion
    test_mode="slide",  # DINOv3 yaml
    test_crop=512,  # DINOv3 yaml
    test_stride=341,  # DINOv3 yaml
    precision="fp32",  # DINOv3 yaml: model_dtype FLOAT32
)
ADE20K_LINEAR_DINOV2 = replace(
    ADE20K_LINEAR_DINOV3,
    blocks=1,  # DINOv2 config: in_index 3, of the last four blocks; notebook: with the backbone's final norm
    dilations=(),  # DINOv2: of a transformer
    norm="before-dropout",  # DINOv2 models/decode_heads/linear_head.py, BNHead: bn, then MMSeg's cls_seg
    dropout=0.0,  # DINOv2 config: dropout_ratio
    head_init_std=0.01,  # MMSeg decode_head.py: init_cfg
    grid=0,  # MMSeg decode_head.py: scores are resized to the labels' size
    loss_mean="all",  # MMSeg cross_entropy_loss.py: no avg_factor
    optimizer="adamw",  # DINOv2 config
    momentum=0.0,  # AdamW
    betas=(0.9, 0.999),  # DINOv2 config
    weight_decay=1e-4,  # DINOv2 config, on all parameters of the head
    lr=1e-3,  # DINOv2 config
    schedule="poly",  # DINOv2 config
    poly_power=1.0,  # DINOv2 config
    lr_end=0.0,  # DINOv2 config: min_lr
    steps=(),  # poly
    warmup_iterations=1500,  # DINOv2 config: warmup_iters, linear
    warmup_ratio=1e-6,  # DINOv2 config
    batch_size=16,  # DINOv2 config: samples_per_gpu 2, gpu_ids of 8
    iterations=40_000,  # DINOv2 config: max_iters
    shape="short",  # DINOv2 config: img_scale (99999999, 512) leaves the long side free
    backend="opencv",  # MMSeg: mmcv's imresize
    long_side=0,  # DINOv2: as it comes
    short_side=512,  # DINOv2 config: img_scale
    train_crop="scaled",  # DINOv2 config: Resize, RandomCrop
    scale=(0.5, 2.0),  # DINOv2 config: ratio_range
    crop=512,  # DINOv2 config: crop_size
    cat_max_ratio=0.75,  # DINOv2 config
    flip=0.5,  # DINOv2 config
    distortion="opencv",  # DINOv2 config: MMSeg's PhotoMetricDistortion
    test_mode="slide",  # DINOv2 config: test_cfg
    test_crop=512,  # DINOv2 config: test_cfg
    test_stride=341,  # DINOv2 config: test_cfg
    precision="fp32",  # DINOv2 config: fp16 None
    padding="around",  # DINOv2 notebook: CenterPadding in the backbone alone; MMSeg resizes scores to the crop's size
)
VOC12_LINEAR_VICREGL = replace(
    ADE20K_LINEAR_DINOV3,
    blocks=1,  # VICRegL linear_r50_512x512_40k_voc12aug.py: in_index 3
    dilations=(1, 1, 2, 4),  # VICRegL configs/linear_r50_512x512_40k_voc12aug.py, with contract_dilation
    norm="before-dropout",  # VICRegL models/linear_head.py: bn, then MMSeg's cls_seg with its dropout
    dropout=0.1,  # VICRegL linear_r50_512x512_40k_voc12aug.py: dropout_ratio
    head_init_std=0.01,  # MMSeg decode_head.py: init_cfg
    grid=0,  # MMSeg decode_head.py: scores are resized to the labels' size
    loss_mean="all",  # MMSeg cross_entropy_loss.py: no avg_factor
    optimizer="sgd",  # MMSeg schedules/schedule_40k.py
    momentum=0.9,  # MMSeg schedule_40k.py
    betas=(0.0, 0.0),  # SGD
    weight_decay=5e-4,  # MMSeg schedule_40k.py
    lr=0.01,  # MMSeg schedule_40k.py
    schedule="poly",  # MMSeg schedule_40k.py
    poly_power=0.9,  # MMSeg schedule_40k.py
    lr_end=1e-4,  # MMSeg schedule_40k.py
    steps=(),  # poly
    warmup_iterations=0,  # MMSeg schedule_40k.py: none
    warmup_ratio=0.0,  # none
    batch_size=16,  # MMSeg datasets/pascal_voc12.py: 4 a GPU; how many GPUs VICRegL took is not said: 4, as MMSeg
    iterations=40_000,  # MMSeg schedule_40k.py
    shape="fit",  # MMSeg datasets/pascal_voc12.py: img_scale with keep_ratio
    backend="opencv",  # MMSeg: mmcv's imresize
    long_side=2048,  # MMSeg pascal_voc12.py
    short_side=512,  # MMSeg pascal_voc12.py
    train_crop="scaled",  # MMSeg pascal_voc12.py: Resize, RandomCrop
    scale=(0.5, 2.0),  # MMSeg pascal_voc12.py: ratio_range
    crop=512,  # MMSeg pascal_voc12.py
    cat_max_ratio=0.75,  # MMSeg pascal_voc12.py
    flip=0.5,  # MMSeg pascal_voc12.py
    distortion="opencv",  # MMSeg pascal_voc12.py: PhotoMetricDistortion
    test_mode="whole",  # VICRegL linear_r50_512x512_40k_voc12aug.py: test_cfg
    test_crop=0,  # whole
    test_stride=0,  # whole
    precision="fp32",  # MMSeg: no fp16 setting
)
VOC12_LINEAR_NECO = replace(
    VOC12_LINEAR_VICREGL,
    blocks=1,  # NeCo linear_finetune.py: forward_backbone, the last block's
    dilations=(),  # NeCo linear_finetune.py: a transformer's patches as they are
    norm="none",  # NeCo linear_finetune.py: finetune_head is a 1 x 1 convolution
    dropout=0.0,  # NeCo linear_finetune.py: none
    head_init_std=0.0,  # default, PyTorch's Conv2d
    grid=100,  # NeCo linear_finetune.py: train_mask_size, val_mask_size
    loss_mean="labelled",  # NeCo linear_finetune.py: CrossEntropyLoss(ignore_index)
    optimizer="sgd",  # NeCo linear_finetune.py, configure_optimizers
    momentum=0.9,  # NeCo linear_finetune.py, configure_optimizers
    weight_decay=1e-4,  # NeCo linear_finetune.py, configure_optimizers
    lr=0.01,  # NeCo yml
    schedule="steps",  # NeCo linear_finetune.py: StepLR, gamma 0.1
    poly_power=0.0,  # steps
    lr_end=0.0,  # steps
    steps=(1640,),  # NeCo yml: drop_at 20 epochs of 82 whole batches
    warmup_iterations=0,  # NeCo: none
    batch_size=128,  # NeCo yml
    iterations=2050,  # NeCo yml: max_epochs 25 of 82 whole batches, 10,582 images
    shape="squash",  # NeCo linear_finetune.py: Resize of both sides
    backend="pillow",  # NeCo linear_finetune.py: torchvision's Resize of PIL images
    long_side=0,  # squash
    short_side=448,  # NeCo yml: size_crops
    train_crop="resized",  # NeCo linear_finetune.py: RandomResizedCrop
    scale=(0.8, 1.0),  # NeCo linear_finetune.py
    crop=448,  # NeCo yml: size_crops
    cat_max_ratio=1.0,  # NeCo: none
    flip=0.5,  # NeCo linear_finetune.py
    distortion="none",  # NeCo linear_finetune.py: none
    test_mode="whole",  # NeCo linear_finetune.py, validation_step
    precision="fp32",  # NeCo linear_finetune.py: Trainer without precision
)

PROTOCOLS = (
    Protocol(
        name="ade20k-linear-dinov3",
        version=1,
        title="ADE20K linear segmentation, DINOv3's recipe",
        data_set=ADE20K,
        metric="mIoU",
        selected_on="nothing: the last iteration is reported; the source reports the best of its evaluations on val",
        trials=1,
        source="DINOv3 configs/config-ade20k-linear-training.yaml",
        recipe=ADE20K_LINEAR_DINOV3,
    ),
    Protocol(
        name="ade20k-linear-dinov2",
        version=1,
        title="ADE20K linear segmentation, DINOv2's recipe",
        data_set=ADE20K,
        metric="mIoU",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="DINOv2 dinov2_vitb14_ade20k_linear_config.py",
        recipe=ADE20K_LINEAR_DINOV2,
        published_as="ade20k_linear_dinov2",
    ),
    Protocol(
        name="voc12-linear-vicregl",
        version=1,
        title="VOC12 linear segmentation with SBD, frozen R50-D8, VICRegL's recipe",
        data_set=VOC12AUG_SEG,
        metric="mIoU",
        selected_on="nothing: the last iteration is reported",
        trials=1,
        source="VICRegL segmentation/configs/linear_r50_512x512_40k_voc12aug.py",
        recipe=VOC12_LINEAR_VICREGL,
        published_as="voc12_linear_seg",
    ),
    Protocol(
        name="voc12-linear-neco",
        version=1,
        title="VOC12 linear segmentation with SBD, a grid of 100 x 100 places, NeCo's recipe",
        data_set=VOC12AUG_SEG,
        metric="mIoU",
        selected_on="nothing: the last iteration is reported; the source keeps the three best epochs on val",
        trials=1,
        source="NeCo experiments/linear_segmentation/linear_finetune.py",
        recipe=VOC12_LINEAR_NECO,
    ),
)
