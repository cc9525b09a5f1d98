"""The classification protocols, each constant beside its source.

Sources, abbreviated: BT = Barlow Twins, arXiv:2103.03230, appendix; BT code = its evaluate.py at 8e8d284;
VISSL = facebookresearch/vissl at 09270ed; DINO = facebookresearch/dino, eval_knn.py.
"""

from dataclasses import replace

from protocols.schema import ImageTransform, KnnRecipe, ProbeRecipe, Protocol, SvmRecipe

CENTER_CROP = ImageTransform(resize=256, crop=224, shape="center-crop")  # BT code: Resize(256), CenterCrop(224)
SQUASH = ImageTransform(resize=256, crop=224, shape="squash")  # VISSL voc07 yaml: Resize(256), Resize([224, 224])

VISSL_SVM = SvmRecipe(
    transform=SQUASH,
    pooling="res5-avg6",  # VISSL voc07 yaml: res5 AvgPool2d(6, stride 1)
    costs=(0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0),  # VISSL voc07 yaml
    folds=3,  # VISSL svm_trainer.py: cross_val_score(cv=3), stratified, not shuffled
    positive_weight=2.0,  # VISSL svm_trainer.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # VISSL svm_trainer.py
    max_iterations=2000,  # VISSL svm_trainer.py and yaml
    normalize_epsilon=1e-5,  # VISSL svm_helper.py
    ignored_in_training="negative",  # VISSL svm_trainer.py: only 0 is re-coded, -1 stays a negative
)

BT_LINEAR = ProbeRecipe(
    transform=CENTER_CROP,
    train_backbone=False,
    train_fraction="100%",
    epochs=100,  # BT B.1 and code
    batch_size=256,  # BT code
    lr_head=0.3,  # BT B.1 and code, not scaled by the batch size
    lr_backbone=0.0,
    momentum=0.9,  # BT code
    nesterov=False,  # BT code
    weight_decay=1e-6,  # BT B.1 and code, on the bias too
    schedule="cosine",  # BT code: CosineAnnealingLR(T_max=epochs), once an epoch, to 0
    milestones=(),
    gamma=1.0,
    head="linear",
    head_init_std=0.01,  # BT code: weight N(0, .01), bias 0
)
BT_SEMI = replace(
    BT_LINEAR,
    train_backbone=True,
    train_fraction="1%",
    epochs=20,  # BT B.2 and code
    lr_head=0.5,  # BT B.2 and README
    lr_backbone=0.005,  # BT README since 046eec3; B.2 says 0.002
    weight_decay=0.0,  # BT B.2 and README
)
VISSL_LOW_SHOT = replace(
    VISSL_SVM,
    transform=ImageTransform(resize=0, crop=224, shape="squash"),  # VISSL low-shot yaml: Resize([224, 224]) alone
    folds=0,  # VISSL svm_low_shot_trainer.py: no cross-validation
    ignored_in_training="dropped",  # VISSL svm_low_shot_trainer.py: only drawn rows, and ignored ones are never drawn
    shots=(1, 2, 4, 8, 16, 32, 64, 96),  # VISSL low-shot yaml; sheep has 96 images
    samples=5,  # VISSL low-shot yaml
)
VIRTEX_SVM = replace(
    VISSL_SVM,
    transform=CENTER_CROP,  # its yaml was not at hand; centre crop as VICReg's and PCL's texts
    pooling="gap",  # VirTex clf_voc07.py
    costs=(0.01, 0.1, 1.0, 10.0),  # VirTex clf_voc07.py
    test_ap="step",  # VirTex clf_voc07.py: scikit-learn's average_precision_score
)
PCL_SVM = replace(
    VISSL_SVM,
    transform=CENTER_CROP,  # PCL eval_svm_voc.py
    pooling="gap",  # PCL eval_svm_voc.py
    costs=(0.5,),  # PCL eval_svm_voc.py: --cost
    folds=0,  # a single cost, so nothing to choose
)
INAT_SVM = replace(PCL_SVM, costs=(1.0,))  # ours: one cost, so nothing is chosen on the reported split
INAT_LINEAR = ProbeRecipe(
    transform=CENTER_CROP,
    train_backbone=False,
    train_fraction="100%",
    epochs=84,  # BT C.1, VISSL inaturalist18 yaml
    batch_size=256,  # VISSL yaml: 8 x 32
    lr_head=0.01,  # BT C.1; VISSL: 0.01 per 256
    lr_backbone=0.0,
    momentum=0.9,  # BT C.1, VISSL
    nesterov=True,  # VISSL yaml
    weight_decay=5e-4,  # BT C.1, VISSL; on the bias too, not on the batch norm (VISSL)
    schedule="steps",
    milestones=(24, 48, 72),  # VISSL yaml; BT C.1 says two drops, see the variant
    gamma=0.1,  # BT C.1, VISSL
    head="batchnorm-linear",  # VISSL eval_mlp
    head_init_std=0.01,  # VISSL linear_eval_mlp.py
    feature="gap",  # VISSL inaturalist18 yaml: res5avg; which layer BT reports is not stated
)
PLACES_LINEAR = replace(
    INAT_LINEAR,
    epochs=14,  # BT C.1, VISSL places205 yaml
    milestones=(4, 8, 12),  # VISSL yaml; BT C.1 says two drops, see the variant
    feature="res5-avg6",  # VISSL places205 yaml: res5, the last of its five layers
)

KNN = KnnRecipe(
    transform=CENTER_CROP,
    neighbors=(10, 20, 100, 200),  # DINO eval_knn.py: --nb_knn
    temperature=0.07,  # DINO eval_knn.py: --temperature
)

IMAGENET = (1_281_167, 50_000)  # ILSVRC 2012
VOC07 = (5011, 4952)  # trainval, test
INAT18 = (437_513, 24_426)  # train, val
PLACES205 = (2_448_873, 20_500)  # train, val


def _svm(name: str, task: str, source: str, recipe: SvmRecipe, selected_on: str, published_as: str = "") -> Protocol:
    """Return a linear-SVM protocol on VOC2007."""
    return Protocol(
        name=name,
        version=1,
        task=task,
        room="transfer",
        data="voc",
        classes=20,
        images=VOC07,
        metric=f"mAP-k{recipe.shots[-1]}" if recipe.shots else "mAP",
        selected_on=selected_on,
        trials=1,
        source=source,
        recipe=recipe,
        published_as=published_as,
    )


def _linear(name: str, task: str, source: str, recipe: ProbeRecipe, published_as: str = "") -> Protocol:
    """Return a linear-probe protocol on iNaturalist 2018 or Places205."""
    data, classes, images = ("inat", 8142, INAT18) if name.startswith("inat") else ("places", 205, PLACES205)
    return Protocol(
        name=name,
        version=1,
        task=task,
        room="transfer",
        data=data,
        classes=classes,
        images=images,
        metric="top1",
        selected_on="nothing: the last epoch is reported",
        trials=1,
        source=source,
        recipe=recipe,
        published_as=published_as,
    )


PROTOCOLS = (
    _svm(
        "voc07-svm",
        "VOC07 classification, linear SVM per class on res5 (8192-d)",
        "VISSL eval_resnet_8gpu_transfer_voc07_svm.yaml, svm_trainer.py",
        VISSL_SVM,
        "cross-validation on trainval",
        "voc07_svm",
    ),
    _svm(
        "voc07-svm-gap",
        "VOC07 classification, linear SVM per class on the global average pool (2048-d), centre crop",
        "VISSL svm_trainer.py; transform and feature as papers describe them (VICReg C.3, barlowtwins issue 32)",
        replace(VISSL_SVM, transform=CENTER_CROP, pooling="gap"),
        "cross-validation on trainval",
    ),
    _svm(
        "voc07-svm-virtex",
        "VOC07 linear SVM as VirTex and RedCaps run it",
        "VirTex clf_voc07.py",
        VIRTEX_SVM,
        "cross-validation on trainval",
    ),
    _svm(
        "voc07-svm-pcl",
        "VOC07 linear SVM as PCL runs it",
        "PCL eval_svm_voc.py",
        PCL_SVM,
        "nothing: one cost",
        "voc07_svm_pcl",
    ),
    _svm(
        "voc07-svm-lowshot",
        "VOC07 low-shot linear SVM, 1 to 96 images a class, mean of 5 samples",
        "VISSL eval_resnet_8gpu_transfer_voc07_low_shot_svm.yaml, svm_low_shot_trainer.py",
        VISSL_LOW_SHOT,
        "the test split: one cost for each k, as published; `mAP-heldout-k` chooses it on undrawn trainval images",
        "voc07_svm_lowshot",
    ),
    _linear(
        "inat18-linear",
        "iNaturalist 2018 linear classification, three rate drops",
        "VISSL inaturalist18 linear yaml",
        INAT_LINEAR,
        "inat18_linear",
    ),
    _linear(
        "inat18-linear-2drops",
        "iNaturalist 2018 linear classification, two rate drops",
        "BT C.1: two equally spaced drops; the rest as VISSL's yaml",
        replace(INAT_LINEAR, milestones=(28, 56)),
    ),
    _linear(
        "places205-linear",
        "Places205 linear classification, three rate drops",
        "VISSL places205 linear yaml",
        PLACES_LINEAR,
        "places205_linear",
    ),
    _linear(
        "places205-linear-2drops",
        "Places205 linear classification, two rate drops",
        "BT C.1: two equally spaced drops; the rest as VISSL's yaml",
        replace(PLACES_LINEAR, milestones=(5, 9)),
    ),
    Protocol(
        name="inat18-svm",
        version=1,
        task="iNaturalist 2018, one-vs-rest linear SVMs on the global average pool (2048-d)",
        room="transfer",
        data="inat",
        classes=8142,
        images=INAT18,
        metric="top1",
        selected_on="nothing: one cost",
        trials=1,
        source="ours: VISSL's SVM on a data set where nobody has run it; the class of the highest score",
        recipe=INAT_SVM,
    ),
    Protocol(
        name="imagenet-linear",
        version=1,
        task="ImageNet linear classification, frozen backbone",
        room="transfer",
        data="imagenet",
        classes=1000,
        images=IMAGENET,
        metric="top1",
        selected_on="nothing: the last epoch is reported",
        trials=1,
        source="BT B.1; BT code --weights freeze",
        recipe=BT_LINEAR,
        published_as="imagenet_linear",
    ),
    Protocol(
        name="imagenet-1pct",
        version=1,
        task="ImageNet, fine-tuned on 1 % of the labels",
        room="transfer",
        data="imagenet",
        classes=1000,
        images=(12_811, 50_000),  # SimCLR's 1percent.txt
        metric="top1",
        selected_on="nothing: the last epoch is reported",
        trials=3,
        source="BT code --weights finetune --train-perc 1 with the README's flags (cosine schedule)",
        recipe=BT_SEMI,
        published_as="imagenet_semi_1pct",
    ),
    Protocol(
        name="imagenet-10pct",
        version=1,
        task="ImageNet, fine-tuned on 10 % of the labels",
        room="transfer",
        data="imagenet",
        classes=1000,
        images=(128_116, 50_000),  # SimCLR's 10percent.txt
        metric="top1",
        selected_on="nothing: the last epoch is reported",
        trials=3,
        source="BT code --weights finetune --train-perc 10; same rates as 1 % (barlowtwins issue 14)",
        recipe=replace(BT_SEMI, train_fraction="10%"),
        published_as="imagenet_semi_10pct",
    ),
    Protocol(
        name="imagenet-knn",
        version=1,
        task="ImageNet, weighted k-nearest neighbours on frozen features",
        room="transfer",
        data="imagenet",
        classes=1000,
        images=IMAGENET,
        metric="top1-k20",
        selected_on="nothing: k = 20 is the headline, all k are reported",
        trials=1,
        source="DINO eval_knn.py",
        recipe=KNN,
        published_as="imagenet_knn20",
    ),
)
