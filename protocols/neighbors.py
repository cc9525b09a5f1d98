"""Nearest neighbours on frozen features, as sources beside DINO (`imagenet-knn`, classification.py) have them.

Most are DINO's script with something changed: how images are resized, which token is the feature, k and temperature, or
that both are chosen, on the very images that are reported.

Sources, abbreviated: DINOv2 = facebookresearch/dinov2 at b8931f7, dinov2/eval/knn.py; EP = billpsomas/efficient-probing
at b8f4fb8, main_linprobe.py and tools/; LIGHTLY = lightly-ai/lightly at e8d317f, benchmarks/imagenet/resnet50/;
MMSS = open-mmlab/mmselfsup at db861f3; MSF = UMBCvision/MSF at 130191c, eval_knn.py.
"""

from dataclasses import replace

from twinbench.protocols.datasets import IMAGENET
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.knn import FewShotKnnRecipe, KnnGridRecipe, KnnRecipe, NeighborsRecipe
from twinbench.protocols.schema import Protocol

BICUBIC = ImageTransform(  # DINOv2 transforms.py: Resize(256), CenterCrop(224)
    resize=256, crop=224, shape="center-crop", interpolation="bicubic"
)
BILINEAR = replace(BICUBIC, interpolation="bilinear")

DINOV2 = KnnRecipe(
    transform=BICUBIC,  # DINOv2 transforms.py: make_classification_eval_transform
    neighbors=(10, 20, 100, 200),  # DINOv2: nb_knn
    temperature=0.07,  # DINOv2: temperature; a softmax over the largest k, which ranks classes as DINO's exponentials
    feature="class",  # DINOv2: what its ViT gives, the class token behind the last norm
)
DINOV2_SHOTS = FewShotKnnRecipe(
    transform=BICUBIC,  # DINOv2 transforms.py: make_classification_eval_transform
    neighbors=(10, 20, 100, 200),  # DINOv2: nb_knn, of which those up to the images a class count, and their number
    temperature=0.07,  # DINOv2: temperature
    feature="class",  # DINOv2: what its ViT gives, the class token behind the last norm
    shots=(1, 2, 5, 10, 20),  # ours: DINOv2's n_per_class_list is all images
    draws=5,  # ours: DINOv2's n_tries is 1
)
EP = KnnGridRecipe(
    transform=replace(BICUBIC, interpolation="bicubic"),  # EP build_transforms: Resize(256, 3), CenterCrop(224)
    neighbors=(5, 10, 15, 20, 50, 100, 200),  # EP run_knn_eval
    temperatures=(0.07, 0.1, 0.2),  # EP tools/gen_leaderboard.py: --T_sweep
    # EP results.csv: lp_variant; of encoders without a class token the mean of patches. Of most ViTs EP takes it before
    # the last norm, which its logs put at 0.1 to 0.5 points of DINO, iBOT and MoCo v3, and at 19 of MAE.
    feature="class",  # EP results.csv: lp_variant cls
    chosen_on="test",  # EP tools/parse_knn.py: the best of the grid on val
    held_out=0.0,  # EP: none
)
EP_HELD_OUT = replace(
    EP,
    chosen_on="held-out",  # ours
    held_out=0.1,  # ours, as DINOv2's and CAPI's choices: 10 % of train
)
LIGHTLY = KnnRecipe(
    transform=BILINEAR,  # LIGHTLY knn_eval.py: Resize(256), CenterCrop(224)
    neighbors=(200,),  # LIGHTLY main.py: --knn-k
    temperature=0.1,  # LIGHTLY main.py: --knn-t; its ViTs' is 0.07
    feature="gap",  # LIGHTLY barlowtwins.py and the others: forward, flattened
)
MMSELFSUP = KnnRecipe(
    transform=BILINEAR,  # MMSS knn_imagenet.py: short side 256, centre 224; by Pillow at v0.8.0, by OpenCV since v1.0
    neighbors=(10, 20, 100, 200),  # MMSS test_knn.py: --num-knn
    temperature=0.07,  # MMSS test_knn.py: --temperature
    feature="gap",  # MMSS knn_imagenet.py: pool_cfg
)
MSF = KnnRecipe(
    transform=BILINEAR,  # MSF: Resize(256), CenterCrop(224)
    neighbors=(1, 20),  # MSF main_worker
    temperature=1.0,  # none: votes are equal
    votes="equal",  # MSF faiss_knn: the most frequent class; of equal ones any, here the first
)

EVERY_K = "nothing: k = 20 is the headline, all k are reported"


def _neighbors(
    name: str,
    title: str,
    recipe: NeighborsRecipe,
    metric: str,
    selected_on: str,
    source: str,
    published_as: str = "",
) -> Protocol:
    """Return a protocol on ImageNet."""
    return Protocol(name, 1, title, recipe, IMAGENET, metric, selected_on, 1, source, published_as)


PROTOCOLS = (
    _neighbors(
        "imagenet-knn-dinov2",
        "ImageNet, weighted k-nearest neighbours of the class token, as DINOv2",
        DINOV2,
        "top1-k20",
        EVERY_K,
        "DINOv2",
        published_as="imagenet_knn_dinov2",
    ),
    _neighbors(
        "imagenet-knn-dinov2-shots",
        "ImageNet, weighted k-nearest neighbours among 1 to 20 images a class, five draws, DINOv2's procedure",
        DINOV2_SHOTS,
        "top1-n20-k20",
        "nothing: k = 20 among 20 images a class is the headline, all are reported",
        "DINOv2, with ours of what it leaves open",
    ),
    _neighbors(
        "imagenet-knn-ep",
        "ImageNet, weighted k-nearest neighbours at the best of 21 settings, as efficient-probing's leaderboard",
        EP,
        "top1",
        "the reported split: k and temperature; `imagenet-knn-ep-heldout` chooses them on training images",
        "EP",
        published_as="imagenet_knn_ep",
    ),
    _neighbors(
        "imagenet-knn-ep-heldout",
        "ImageNet, weighted k-nearest neighbours, efficient-probing's 21 settings, chosen on training images",
        EP_HELD_OUT,
        "top1",
        "10 % of the training images: k and temperature; then all of them are neighbours",
        "EP; ours: what chooses",
    ),
    _neighbors(
        "imagenet-knn-lightly",
        "ImageNet, weighted k-nearest neighbours as lightly's ResNet-50 benchmark, k = 200",
        LIGHTLY,
        "top1-k200",
        "nothing: one k and one temperature",
        "LIGHTLY",
        published_as="imagenet_knn_lightly",
    ),
    _neighbors(
        "imagenet-knn-mmselfsup",
        "ImageNet, weighted k-nearest neighbours as MMSelfSup, images resized bilinearly",
        MMSELFSUP,
        "top1-k20",
        EVERY_K,
        "MMSS",
        published_as="imagenet_knn_mmselfsup",
    ),
    _neighbors(
        "imagenet-knn-msf",
        "ImageNet, the most frequent class among the nearest neighbours, as MSF",
        MSF,
        "top1-k20",
        "nothing: k = 20 is the headline, k = 1 beside it",
        "MSF",
        published_as="imagenet_knn_msf",
    ),
)
