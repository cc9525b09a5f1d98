"""The classification protocols, each constant beside its source; with an SVM: svm.py; on several layers: layers.py.

Sources, abbreviated: BT = Barlow Twins, arXiv:2103.03230, appendix; BT code = its evaluate.py at 8e8d284;
PIRL = arXiv:1912.01991, appendix; VICReg = arXiv:2105.04906, appendix; VISSL = facebookresearch/vissl at 09270ed;
DINO = facebookresearch/dino at 7c446df.
"""

from dataclasses import replace

from twinbench.protocols import layers, svm
from twinbench.protocols.datasets import CIFAR10, IMAGENET, IMAGENET_1PCT, IMAGENET_10PCT, INAT18, PLACES205, DataSet
from twinbench.protocols.kinds.base import ImageTransform
from twinbench.protocols.kinds.finetuning import FineTuningRecipe
from twinbench.protocols.kinds.knn import KnnRecipe
from twinbench.protocols.kinds.probes import ProbeRecipe
from twinbench.protocols.kinds.sgd import SgdRecipe
from twinbench.protocols.schema import Protocol

CENTER_CROP = ImageTransform(resize=256, crop=224, shape="center-crop")  # BT code: Resize(256); B.1: 256 x 256

BT_LINEAR = ProbeRecipe(
    transform=CENTER_CROP,
    epochs=100,  # BT B.1 and code
    batch_size=256,  # BT code
    lr_head=0.3,  # BT B.1 and code, not scaled by the batch size
    momentum=0.9,  # BT code
    nesterov=False,  # BT code
    weight_decay=1e-6,  # BT B.1 and code, on the bias too
    schedule="cosine",  # BT code: CosineAnnealingLR(T_max=epochs), once an epoch, to 0
    milestones=(),
    gamma=1.0,
    head="linear",
    head_init_std=0.01,  # BT code: weight N(0, .01), bias 0
    train_crop="resized",  # BT code: RandomResizedCrop(224) and a flip
    jitter=0.0,  # BT code: none
    lighting=0.0,  # BT code: none
)
BT_SEMI = FineTuningRecipe(
    transform=CENTER_CROP,
    epochs=20,  # BT B.2 and code
    batch_size=256,  # BT code
    lr_head=0.5,  # BT B.2 and README
    lr_backbone=0.005,  # BT README since 046eec3; before, and in B.2: 0.002
    momentum=0.9,  # BT code
    nesterov=False,  # BT code
    weight_decay=0.0,  # BT B.2 and README
    schedule="cosine",  # BT code: CosineAnnealingLR(T_max=epochs), once an epoch, to 0
    milestones=(),
    gamma=1.0,
    head="linear",
    head_init_std=0.01,  # BT code: weight N(0, .01), bias 0
    norm_groups=8,  # BT code: DDP without SyncBN, 256 // GPUs images each; how many GPUs it doesn't say: a node of 8
    optimizer="sgd",  # BT code
    decayed="all",  # BT code: whole groups, norms and biases too
    smoothing=0.0,  # BT code: CrossEntropyLoss()
    mixup=0.0,  # BT code: none
    cutmix=0.0,  # BT code: none
    train_interpolation="bilinear",  # BT code: RandomResizedCrop(224) and a flip
    policy="",  # BT code: none
    erasing=0.0,  # BT code: none
    drop_last=False,  # BT code: DataLoader's default
)
BT_SEMI_STEPS = replace(
    BT_SEMI,
    lr_backbone=0.002,  # BT B.2
    schedule="steps",  # BT B.2; the code knows the cosine only
    milestones=(12, 16),  # BT B.2: after the 12th and 16th epoch
    gamma=0.2,  # BT B.2
)
INAT_LINEAR = ProbeRecipe(
    transform=CENTER_CROP,  # VISSL yaml: Resize(256), CenterCrop(224)
    epochs=84,  # VISSL inaturalist18 yaml; BT C.1
    batch_size=256,  # VISSL yaml: 8 x 32
    lr_head=0.01,  # VISSL yaml: 0.01 per 256; BT C.1
    momentum=0.9,  # VISSL yaml; BT C.1
    nesterov=True,  # VISSL yaml
    weight_decay=5e-4,  # VISSL yaml, on the bias too, not on the batch norm; BT C.1
    schedule="steps",  # VISSL yaml: multistep, once an epoch
    milestones=(24, 48, 72),  # VISSL yaml
    gamma=0.1,  # VISSL yaml; BT C.1
    head="batchnorm-linear",  # VISSL linear_eval_mlp.py: batch norm with eps 1e-5 and momentum 0.1 (defaults.yaml)
    head_init_std=0.0,  # VISSL mlp.py: PyTorch's default, times PARAMS_MULTIPLIER = 1
    feature="gap",  # VISSL inaturalist18 yaml: res5avg, the last of its six layers
    train_crop="resized",  # VISSL yaml: RandomResizedCrop(224) and a flip
    jitter=0.0,  # VISSL yaml: none
    lighting=0.0,  # VISSL yaml: none
)
PLACES_LINEAR = replace(
    INAT_LINEAR,
    epochs=14,  # VISSL places205 yaml; BT C.1
    milestones=(4, 8, 12),  # VISSL places205 yaml
    feature="res5-avg6",  # VISSL places205 yaml: res5, the last of its five layers
)
INAT_2DROPS = replace(
    INAT_LINEAR,
    nesterov=True,  # in neither BT C.1 nor PIRL C; VISSL yaml
    milestones=(28, 56),  # BT C.1, PIRL C: two equally spaced drops
    feature="res5-avg6",  # PIRL C, whose settings BT C.1 takes: each layer pooled to about 9,000 numbers
)
PLACES_2DROPS = replace(
    PLACES_LINEAR,
    nesterov=True,  # in neither BT C.1 nor PIRL C; VISSL yaml
    milestones=(5, 9),  # BT C.1, PIRL C: two equally spaced drops, here to the nearest epoch
    feature="res5-avg6",  # PIRL C, whose settings BT C.1 takes: each layer pooled to about 9,000 numbers
)
INAT_VICREG = replace(
    INAT_LINEAR,
    epochs=84,  # VICReg C.3
    batch_size=256,  # VICReg C.3
    lr_head=0.005,  # VICReg C.3
    momentum=0.9,  # VICReg C.3
    nesterov=True,  # not in VICReg C.3; the VISSL yaml that its author names (vicreg issue 17)
    weight_decay=1e-4,  # VICReg C.3
    milestones=(24, 48, 72),  # VICReg C.3
    gamma=0.1,  # VICReg C.3
    head="batchnorm-linear",  # not in VICReg C.3; the VISSL yaml that its author names
    feature="gap",  # not in VICReg C.3; the last layer of the VISSL yaml that its author names
)
PLACES_VICREG = replace(
    INAT_VICREG,
    epochs=28,  # VICReg C.3; VISSL places205 yaml: 14
    lr_head=0.003,  # VICReg C.3
    nesterov=True,  # not in VICReg C.3, which names VISSL; its places205 yaml
    milestones=(4, 8, 12),  # VICReg C.3, though for twice the epochs of the VISSL yaml
    head="batchnorm-linear",  # not in VICReg C.3, which names VISSL; its places205 yaml
    feature="res5-avg6",  # not in VICReg C.3, which names VISSL; the last layer of its places205 yaml
)

VISSL_LINEAR = replace(  # caltech101, dtd, fgvc_aircrafts, food101, gtsrb, oxford_flowers, oxford_pets, stanford_cars
    INAT_LINEAR,
    epochs=28,  # VISSL yamls
    lr_head=0.01,  # VISSL yamls: 0.01 per 256
    momentum=0.9,  # VISSL yamls
    weight_decay=5e-4,  # VISSL yamls, on the bias too, not on the batch norm
    milestones=(8, 16, 24),  # VISSL yamls
    gamma=0.1,  # VISSL yamls
    feature="gap",  # VISSL yamls: res5, AdaptiveAvgPool2d(1)
)
VISSL_RESIZED = replace(  # cifar10, cifar100, stl10, sun397
    VISSL_LINEAR,
    transform=ImageTransform(resize=0, crop=224, shape="squash"),  # VISSL yamls: Resize(224) of square images, no crop
    train_crop="none",  # VISSL yamls: Resize(224) and a flip
)

KNN = KnnRecipe(
    transform=replace(CENTER_CROP, interpolation="bicubic"),  # DINO eval_knn.py: Resize(256, 3), CenterCrop(224)
    neighbors=(10, 20, 100, 200),  # DINO eval_knn.py: --nb_knn
    temperature=0.07,  # DINO eval_knn.py: --temperature
)

LAST_EPOCH = "nothing: the last epoch is reported"


def _trained(name: str, title: str, source: str, recipe: SgdRecipe, data_set: DataSet, published_as: str) -> Protocol:
    """Return a linear-probe or fine-tuning protocol; three seeds where few labels are used."""
    return Protocol(
        name=name,
        version=2 if recipe.train_backbone else 1,  # 1 took the batch norm's groups as the processes cut them
        title=title,
        recipe=recipe,
        data_set=data_set,
        metric="top1",
        selected_on=LAST_EPOCH,
        trials=1 if data_set.subset == "100%" else 3,
        source=source,
        published_as=published_as,
    )


PROTOCOLS = (
    *svm.PROTOCOLS,
    *layers.PROTOCOLS,
    _trained(
        "inat18-linear",
        "iNaturalist 2018 linear classification, three rate drops",
        "VISSL inaturalist18 linear yaml",
        INAT_LINEAR,
        INAT18,
        "inat18_linear",
    ),
    _trained(
        "inat18-linear-2drops",
        "iNaturalist 2018 linear classification as Barlow Twins' and PIRL's texts have it, two rate drops",
        "BT C.1, PIRL C; the rest as VISSL's yaml",
        INAT_2DROPS,
        INAT18,
        "inat18_linear",
    ),
    _trained(
        "inat18-linear-vicreg",
        "iNaturalist 2018 linear classification as VICReg's text has it",
        "VICReg C.3; the rest as VISSL's yaml",
        INAT_VICREG,
        INAT18,
        "inat18_linear_vicreg",
    ),
    _trained(
        "places205-linear",
        "Places205 linear classification, three rate drops",
        "VISSL places205 linear yaml",
        PLACES_LINEAR,
        PLACES205,
        "places205_linear",
    ),
    _trained(
        "places205-linear-2drops",
        "Places205 linear classification as Barlow Twins' and PIRL's texts have it, two rate drops",
        "BT C.1, PIRL C; the rest as VISSL's yaml",
        PLACES_2DROPS,
        PLACES205,
        "places205_linear",
    ),
    _trained(
        "places205-linear-vicreg",
        "Places205 linear classification as VICReg's text has it, 28 epochs",
        "VICReg C.3; the rest as VISSL's yaml",
        PLACES_VICREG,
        PLACES205,
        "places205_linear_vicreg",
    ),
    _trained(
        "vissl-linear",
        "Linear classification as VISSL has it on most small sets, 28 epochs on the global average pool",
        "VISSL food101 linear yaml and seven more",
        VISSL_LINEAR,
        IMAGENET,
        "",
    ),
    _trained(
        "vissl-linear-resized",
        "Linear classification as VISSL has it on small or squashed images: resized to 224, 28 epochs",
        "VISSL cifar10 linear yaml and three more",
        VISSL_RESIZED,
        CIFAR10,
        "",
    ),
    _trained(
        "imagenet-linear",
        "ImageNet linear classification, frozen backbone",
        "BT B.1; BT code --weights freeze",
        BT_LINEAR,
        IMAGENET,
        "imagenet_linear",
    ),
    _trained(
        "imagenet-1pct",
        "ImageNet, fine-tuned on 1 % of the labels",
        "BT code --weights finetune --train-perc 1 with the README's flags (cosine schedule)",
        BT_SEMI,
        IMAGENET_1PCT,
        "imagenet_semi_1pct",
    ),
    _trained(
        "imagenet-1pct-steps",
        "ImageNet, fine-tuned on 1 % of the labels as Barlow Twins' text has it, two rate drops",
        "BT B.2; the rest as BT code",
        BT_SEMI_STEPS,
        IMAGENET_1PCT,
        "imagenet_semi_1pct",
    ),
    _trained(
        "imagenet-10pct",
        "ImageNet, fine-tuned on 10 % of the labels",
        "BT code --weights finetune --train-perc 10; same rates as 1 % (barlowtwins issue 14)",
        BT_SEMI,
        IMAGENET_10PCT,
        "imagenet_semi_10pct",
    ),
    _trained(
        "imagenet-10pct-steps",
        "ImageNet, fine-tuned on 10 % of the labels as Barlow Twins' text has it, two rate drops",
        "BT B.2; same rates as 1 % (barlowtwins issue 14); the rest as BT code",
        BT_SEMI_STEPS,
        IMAGENET_10PCT,
        "imagenet_semi_10pct",
    ),
    Protocol(
        name="imagenet-knn",
        version=2,  # 1 counted classes without a vote in its top-5
        title="ImageNet, weighted k-nearest neighbours on frozen features",
        recipe=KNN,
        data_set=IMAGENET,
        metric="top1-k20",
        selected_on="nothing: k = 20 is the headline, all k are reported",
        trials=1,
        source="DINO eval_knn.py",
        published_as="imagenet_knn20",
    ),
)
