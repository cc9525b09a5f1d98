"""The linear-SVM protocols, each constant beside its source.

Sources, abbreviated: VISSL = facebookresearch/vissl at 09270ed; VICReg = arXiv:2105.04906, appendix;
VirTex = kdexd/virtex at ae67b23; PCL = salesforce/PCL at 964da1f; MMSelfSup = open-mmlab/mmselfsup at db861f3, whose
recipe is that of open-mmlab/OpenSelfSup at 1db69ec.
"""

from dataclasses import replace

from twinbench.protocols.datasets import INAT18, PLACES205, VOC07, DataSet
from twinbench.protocols.kinds.base import ImageTransform, Recipe
from twinbench.protocols.kinds.svm import LowShotOneVsRestSvmRecipe, LowShotSvmRecipe, OneVsRestSvmRecipe, SvmRecipe
from twinbench.protocols.schema import Protocol

CENTER_CROP = ImageTransform(resize=256, crop=224, shape="center-crop")  # by torchvision, as most scripts
VIRTEX_CROP = replace(CENTER_CROP, backend="albumentations")  # VirTex factories.py: alb.SmallestMaxSize, alb.CenterCrop
SQUASH = ImageTransform(resize=256, crop=224, shape="squash")  # VISSL voc07 yaml: Resize(256), Resize([224, 224])
MMSELFSUP_SQUASH = replace(SQUASH, backend="opencv")  # MMSelfSup: the default of mmcls' ResizeEdge and mmcv's Resize

VISSL_SVM = SvmRecipe(
    transform=SQUASH,
    pooling="res5-avg6",  # VISSL voc07 yaml: res5 AvgPool2d(6, stride 1)
    costs=(0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0),  # VISSL voc07 yaml
    folds=3,  # VISSL svm_trainer.py: cross_val_score(cv=3), stratified, not shuffled
    positive_weight=2.0,  # VISSL svm_trainer.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # VISSL svm_trainer.py
    max_iterations=2000,  # VISSL svm_trainer.py and yaml
    normalize_epsilon=1e-5,  # VISSL svm_trainer.py: _normalize_features
    ignored_in_training="negative",  # VISSL svm_trainer.py: only 0 is re-coded, -1 stays a negative
    ignored_at_test="dropped",  # VISSL svm_trainer.py: rows with -1 are left out
    test_ap="envelope",  # VISSL svm_utils/evaluate.py: calculate_ap
)
GAP_SVM = replace(
    VISSL_SVM,
    transform=CENTER_CROP,  # VICReg C.3; barlowtwins issue 32: Resize(256), CenterCrop(224)
    pooling="gap",  # barlowtwins issue 32: VISSL's configuration without its pools, so the trunk's last output
)
VISSL_LOW_SHOT = LowShotSvmRecipe(
    transform=ImageTransform(resize=0, crop=224, shape="squash"),  # VISSL low-shot yaml: Resize([224, 224]) alone
    pooling="res5-avg6",  # VISSL low-shot yaml: res5 AvgPool2d(6, stride 1)
    costs=(0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0),  # VISSL low-shot yaml
    positive_weight=2.0,  # VISSL svm_low_shot_trainer.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # VISSL svm_low_shot_trainer.py
    max_iterations=2000,  # VISSL svm_low_shot_trainer.py and yaml
    normalize_epsilon=1e-5,  # VISSL svm_trainer.py: _normalize_features
    ignored_in_training="dropped",  # VISSL svm_low_shot_trainer.py: only drawn rows, and ignored ones are never drawn
    ignored_at_test="dropped",  # VISSL svm_low_shot_trainer.py: _get_cls_feats_labels
    shots=(1, 2, 4, 8, 16, 32, 64, 96),  # VISSL low-shot yaml; sheep has 96 images
    samples=5,  # VISSL low-shot yaml
    sampling="by-class",  # VISSL create_low_shot_samples.py: k images with the class, 19 k without, for each class
    test_ap="envelope",  # VISSL svm_utils/evaluate.py: calculate_ap
)
VIRTEX_SVM = replace(
    VISSL_SVM,
    transform=VIRTEX_CROP,  # VirTex voc07_clf.yaml, factories.py: alb.SmallestMaxSize(256), alb.CenterCrop(224)
    pooling="gap",  # VirTex clf_voc07.py: features.mean(dim=(2, 3))
    costs=(0.01, 0.1, 1.0, 10.0),  # VirTex clf_voc07.py
    folds=3,  # VirTex clf_voc07.py: cross_val_score(cv=3)
    positive_weight=2.0,  # VirTex clf_voc07.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # VirTex clf_voc07.py says none: LinearSVC's default
    max_iterations=2000,  # VirTex clf_voc07.py
    normalize_epsilon=1e-12,  # VirTex clf_voc07.py: F.normalize divides by |x|, or by 1e-12 where that is more
    ignored_in_training="negative",  # VirTex clf_voc07.py: only 0 is re-coded, -1 stays a negative
    ignored_at_test="dropped",  # VirTex clf_voc07.py: rows with -1 are left out
    test_ap="step",  # VirTex clf_voc07.py: scikit-learn's average_precision_score
)
PCL_SVM = replace(
    VISSL_SVM,
    transform=CENTER_CROP,  # PCL eval_svm_voc.py: Resize(256), CenterCrop(224)
    pooling="gap",  # PCL eval_svm_voc.py: torchvision's ResNet-50 without fc
    costs=(0.5,),  # PCL eval_svm_voc.py: default of --cost since 5c8b722; before: 0.1, 0.5, 1, the best at test
    folds=0,  # PCL eval_svm_voc.py: no cross-validation
    positive_weight=2.0,  # PCL eval_svm_voc.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # PCL eval_svm_voc.py
    max_iterations=2000,  # PCL eval_svm_voc.py
    normalize_epsilon=1e-5,  # PCL eval_svm_voc.py
    ignored_in_training="negative",  # PCL eval_svm_voc.py: VOC's 0 becomes -1
    ignored_at_test="negative",  # PCL eval_svm_voc.py: VOC's 0 becomes -1 here too
    test_ap="envelope",  # PCL eval_svm_voc.py: calculate_ap
)
PCL_LOW_SHOT = LowShotSvmRecipe(
    transform=CENTER_CROP,  # PCL eval_svm_voc.py: Resize(256), CenterCrop(224)
    pooling="gap",  # PCL eval_svm_voc.py: torchvision's ResNet-50 without fc
    costs=(0.5,),  # PCL eval_svm_voc.py: default of --cost since 5c8b722; before: 0.1, 0.5, 1, the best at test
    positive_weight=2.0,  # PCL eval_svm_voc.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # PCL eval_svm_voc.py
    max_iterations=2000,  # PCL eval_svm_voc.py
    normalize_epsilon=1e-5,  # PCL eval_svm_voc.py
    ignored_in_training="negative",  # PCL eval_svm_voc.py: VOC's 0 becomes -1
    ignored_at_test="negative",  # PCL eval_svm_voc.py: VOC's 0 becomes -1 here too
    test_ap="envelope",  # PCL eval_svm_voc.py: calculate_ap
    shots=(1, 2, 4, 8, 16),  # PCL eval_svm_voc.py: k_list
    samples=5,  # PCL eval_svm_voc.py: n_run
    sampling="pooled",  # PCL voc.py: k images of each class, put together; every class trains on all 20 k of them
)
MMSELFSUP_SVM = replace(
    VISSL_SVM,
    transform=MMSELFSUP_SQUASH,  # MMSelfSup svm_voc07.py: ResizeEdge(256), Resize(224), by cv2 as no backend is named
    pooling="res5-avg6",  # MMSelfSup multi_pooling.py: feat5, AvgPool2d(6, stride 1); its tables show the best layer
    costs=(1.0, 10.0, 100.0, *(0.5**n for n in range(4, 20))),  # MMSelfSup eval_svm_full.sh, svm_helper.py
    folds=3,  # MMSelfSup train_svm_kfold_parallel.py
    positive_weight=2.0,  # MMSelfSup train_svm_kfold_parallel.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # MMSelfSup train_svm_kfold_parallel.py
    max_iterations=2000,  # MMSelfSup train_svm_kfold_parallel.py
    normalize_epsilon=1e-5,  # MMSelfSup svm_helper.py
    ignored_in_training="negative",  # MMSelfSup train_svm_kfold_parallel.py: only 0 is re-coded
    ignored_at_test="dropped",  # MMSelfSup test_svm.py
    test_ap="envelope",  # MMSelfSup svm_helper.py: calculate_ap
)
MMSELFSUP_LOW_SHOT = LowShotSvmRecipe(
    transform=MMSELFSUP_SQUASH,  # MMSelfSup svm_voc07.py: ResizeEdge(256), Resize(224), by cv2 as no backend is named
    pooling="res5-avg6",  # MMSelfSup multi_pooling.py: feat5, AvgPool2d(6, stride 1); its tables show the best layer
    costs=(1.0, 10.0, 100.0, *(0.5**n for n in range(4, 20))),  # MMSelfSup eval_svm_lowshot.sh, svm_helper.py
    positive_weight=2.0,  # MMSelfSup train_svm_low_shot.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # MMSelfSup train_svm_low_shot.py
    max_iterations=2000,  # MMSelfSup train_svm_low_shot.py
    normalize_epsilon=1e-5,  # MMSelfSup svm_helper.py
    ignored_in_training="dropped",  # MMSelfSup svm_helper.py: only drawn rows, and ignored ones are never drawn
    ignored_at_test="dropped",  # MMSelfSup svm_helper.py: get_cls_feats_labels
    shots=(1, 2, 4, 8, 16, 32, 64, 96),  # MMSelfSup eval_svm_lowshot.sh
    samples=5,  # MMSelfSup eval_svm_lowshot.sh
    sampling="by-class",  # MMSelfSup create_voc_low_shot_challenge_samples.py
    test_ap="envelope",  # MMSelfSup svm_helper.py: calculate_ap
)
INAT_SVM = OneVsRestSvmRecipe(
    transform=CENTER_CROP,  # ours: as the probes on iNaturalist, VISSL inaturalist18 yaml: Resize(256), CenterCrop(224)
    pooling="gap",  # ours: 2048 numbers an image
    positive_weight=2.0,  # VISSL svm_trainer.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # VISSL svm_trainer.py
    max_iterations=2000,  # VISSL svm_trainer.py and yaml
    normalize_epsilon=1e-5,  # VISSL svm_trainer.py: _normalize_features
    cost=1.0,  # ours: one cost, so nothing is chosen on the reported split
)
PLACES_LOW_SHOT = LowShotOneVsRestSvmRecipe(
    transform=ImageTransform(resize=0, crop=224, shape="squash"),  # VISSL places205 low-shot yaml: Resize([224, 224])
    pooling="res5-avg6",  # VISSL places205 low-shot yaml: res5 AvgPool2d(6, stride 1), the first of two layers
    costs=(0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),  # VISSL places205 low-shot yaml
    positive_weight=2.0,  # VISSL svm_low_shot_trainer.py: class_weight {1: 2, -1: 1}
    tolerance=1e-4,  # VISSL svm_low_shot_trainer.py
    max_iterations=2000,  # VISSL svm_low_shot_trainer.py and yaml
    normalize_epsilon=1e-5,  # VISSL svm_trainer.py: _normalize_features
    shots=(10, 100),  # VISSL places205 low-shot yaml; FAIR's benchmark before it: 1, 2, 4, ..., 64, 96
    samples=5,  # VISSL places205 low-shot yaml
    test_ap="envelope",  # VISSL svm_utils/evaluate.py: calculate_ap
)
PLACES_LOW_SHOT_GAP = replace(
    PLACES_LOW_SHOT,
    pooling="gap",  # VISSL places205 low-shot yaml: res5avg Identity, the second of two layers
)

ON_TRAINVAL = "cross-validation on trainval"
ONE_COST = "nothing: one cost"
ON_TEST = "the test split: one cost for each k, as published; `mAP-heldout-k` chooses it on undrawn trainval images"

ON_TEST_SINGLE = (
    "the test split: one cost for each k, as published; `mAP-heldout-k` chooses it on images of the next sample"
)


def _voc07(
    name: str, title: str, source: str, recipe: Recipe, selected_on: str, published_as: str = "", version: int = 1
) -> Protocol:
    """Return a protocol on VOC2007."""
    return Protocol(
        name=name,
        version=version,
        title=title,
        recipe=recipe,
        data_set=VOC07,
        metric=recipe.metrics()[-1],
        selected_on=selected_on,
        trials=1,
        source=source,
        published_as=published_as,
    )


def _low_shot_on(data_set: DataSet, name: str, title: str, source: str, recipe: Recipe) -> Protocol:
    """Return a low-shot protocol on images of one class each."""
    return Protocol(name, 1, title, recipe, data_set, recipe.metrics()[-1], ON_TEST_SINGLE, 1, source)


PROTOCOLS = (
    _voc07(
        "voc07-svm",
        "VOC07 classification, linear SVM per class on res5 (8192-d)",
        "VISSL eval_resnet_8gpu_transfer_voc07_svm.yaml, svm_trainer.py",
        VISSL_SVM,
        ON_TRAINVAL,
        "voc07_svm",
    ),
    _voc07(
        "voc07-svm-gap",
        "VOC07 classification, linear SVM per class on the global average pool (2048-d), centre crop",
        "VISSL svm_trainer.py; transform and feature as papers describe them (VICReg C.3, barlowtwins issue 32)",
        GAP_SVM,
        ON_TRAINVAL,
        "voc07_svm_gap",
    ),
    _voc07(
        "voc07-svm-virtex",
        "VOC07 linear SVM as VirTex runs it",
        "VirTex clf_voc07.py, voc07_clf.yaml",
        VIRTEX_SVM,
        ON_TRAINVAL,
        "voc07_svm_virtex",
        version=2,  # 1 resized as torchvision does
    ),
    _voc07(
        "voc07-svm-pcl",
        "VOC07 linear SVM as PCL runs it",
        "PCL eval_svm_voc.py, voc.py",
        PCL_SVM,
        ONE_COST,
        "voc07_svm_pcl",
    ),
    _voc07(
        "voc07-svm-mmselfsup",
        "VOC07 linear SVM as OpenSelfSup and MMSelfSup run it, on res5 (8192-d)",
        "MMSelfSup tools/benchmarks/classification/svm_voc07",
        MMSELFSUP_SVM,
        ON_TRAINVAL,
        "voc07_svm_mmselfsup",
        version=2,  # 1 resized as torchvision does
    ),
    _voc07(
        "voc07-svm-lowshot",
        "VOC07 low-shot linear SVM, 1 to 96 images a class, mean of 5 samples",
        "VISSL eval_resnet_8gpu_transfer_voc07_low_shot_svm.yaml, svm_low_shot_trainer.py",
        VISSL_LOW_SHOT,
        ON_TEST,
    ),
    _voc07(
        "voc07-svm-lowshot-pcl",
        "VOC07 low-shot linear SVM as PCL runs it, 1 to 16 images a class, mean of 5 samples",
        "PCL eval_svm_voc.py --low-shot, voc.py",
        PCL_LOW_SHOT,
        ONE_COST,
        "voc07_svm_lowshot_pcl",
    ),
    _voc07(
        "voc07-svm-lowshot-mmselfsup",
        "VOC07 low-shot linear SVM as OpenSelfSup and MMSelfSup run it, 1 to 96 images a class, mean of 5 samples",
        "MMSelfSup tools/benchmarks/classification/svm_voc07",
        MMSELFSUP_LOW_SHOT,
        ON_TEST,
        "voc07_svm_lowshot_mmselfsup",
        version=2,  # 1 resized as torchvision does
    ),
    Protocol(
        name="inat18-svm",
        version=1,
        title="iNaturalist 2018, one-vs-rest linear SVMs on the global average pool (2048-d)",
        recipe=INAT_SVM,
        data_set=INAT18,
        metric="top1",
        selected_on=ONE_COST,
        trials=1,
        source="ours: VISSL's SVM on a data set where nobody has run it; the class of the highest score",
    ),
    _low_shot_on(
        PLACES205,
        "places205-svm-lowshot",
        "Places205 low-shot linear SVM, 10 and 100 images a class, mean of 5 samples, on res5 (8192-d)",
        "VISSL eval_resnet_8gpu_transfer_places205_low_shot_svm.yaml, svm_low_shot_trainer.py",
        PLACES_LOW_SHOT,
    ),
    _low_shot_on(
        PLACES205,
        "places205-svm-lowshot-gap",
        "Places205 low-shot linear SVM, 10 and 100 images a class, mean of 5 samples, on the global average pool",
        "VISSL eval_resnet_8gpu_transfer_places205_low_shot_svm.yaml, svm_low_shot_trainer.py",
        PLACES_LOW_SHOT_GAP,
    ),
)
