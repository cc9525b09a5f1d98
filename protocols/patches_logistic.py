"""The protocol of segmentation by logistic regression on patches, each constant beside its source.

Sources, abbreviated: CAPI = facebookresearch/capi, where "seg" is eval_segmentation.py; CUML = rapidsai/cuml, whose
solver it calls; README of CAPI has numbers of its k-NN alone.

C is scikit-learn's: CUML divides the losses by the number of rows (cpp/src/glm/qn/glm_base.cuh), and the penalty 1 / C
too (qn.cuh, penalty_normalized, which is true unless said), with a half before |W|^2 and free biases (glm_regularizer).
"""

from twinbench.protocols.datasets import ADE20K
from twinbench.protocols.kinds.patches_logistic import PatchesLogisticRecipe
from twinbench.protocols.schema import Protocol

ADE20K_LOGREG_CAPI = PatchesLogisticRecipe(
    side=224,  # CAPI seg: resolution
    interpolation="bicubic",  # CAPI seg: InterpolationMode.BICUBIC
    label_point="centre",  # CAPI seg: InterpolationMode.NEAREST, of Pillow's images
    blocks=1,  # CAPI utils.py, extract_features: the model's feature map
    precision="fp32",  # CAPI seg: autocast_dtype torch.float
    penalties=tuple(
        10 ** (-6 + 11 * step / 7) for step in range(8)
    ),  # CAPI seg, LogregClassifier: 10 ** linspace(-6, 5, 8)
    penalty="C",  # CAPI seg: C=, of CUML's LogisticRegression
    tolerance=1e-6,  # ours: |gradient| against that at zero; CAPI seg: 1,000 iterations of L-BFGS at most, tol 1e-12
    standardize=True,  # CAPI seg: StandardScaler
    held_out=0.1,  # CAPI seg, eval_model: n // 10 training images where there is no val set
    every=1,  # CAPI seg: train_set_subsampling
)

PROTOCOLS = (
    Protocol(
        name="ade20k-logreg-capi",
        version=1,
        title="ADE20K by logistic regression on patches, CAPI's grid of penalties",
        data_set=ADE20K,
        metric="mIoU",
        selected_on="training images held out: a tenth, as in the source",
        trials=1,
        source="CAPI eval_segmentation.py, LogregClassifier",
        recipe=ADE20K_LOGREG_CAPI,
    ),
)
