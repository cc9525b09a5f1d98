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
KNN = KnnRecipe(
    transform=CENTER_CROP,
    neighbors=(10, 20, 100, 200),  # DINO eval_knn.py: --nb_knn
    temperature=0.07,  # DINO eval_knn.py: --temperature
)

IMAGENET = (1_281_167, 50_000)  # ILSVRC 2012
PROTOCOLS = (
    Protocol(
        name="voc07-svm",
        version=1,
        task="VOC07 classification, linear SVM per class on res5 (8192-d)",
        room="transfer",
        data="voc",
        classes=20,
        images=(5011, 4952),
        metric="mAP",
        selected_on="cross-validation on trainval",
        trials=1,
        source="VISSL eval_resnet_8gpu_transfer_voc07_svm.yaml, svm_trainer.py",
        recipe=VISSL_SVM,
        published_as="voc07_svm",
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
