"""The protocols of segmentation by nearest patches, each constant beside its source.

Sources, abbreviated: Hummingbird = vpariza/open-hummingbird-eval, hbird/ (2.0.0), the public implementation of
Balazevic et al., arXiv:2306.01667, whose own code is not public; README is its table. CAPI = facebookresearch/capi,
where "seg" is eval_segmentation.py.

Hummingbird's bank holds so many patches of each image, with the shares of classes in each; CAPI's all of them, with the
class of every pixel.
"""

from dataclasses import replace

from twinbench.protocols.datasets import ADE20K, VOC12AUG_SEG
from twinbench.protocols.kinds.nearest_patches import NearestPatchesGridRecipe, NearestPatchesRecipe
from twinbench.protocols.schema import Protocol

VOC12_HUMMINGBIRD = NearestPatchesRecipe(
    side=512,  # Hummingbird README: (512, 512), and (504, 504) with patches of 14 px
    interpolation="bilinear",  # Hummingbird utils/transforms.py: torchvision's Resize
    label_point="corner",  # Hummingbird utils/image_transformations.py: nearest, of tensors
    blocks=1,  # Hummingbird README: the last block's patch tokens
    scale=(0.5, 2.0),  # Hummingbird utils/transforms.py: min_scale_factor, max_scale_factor of RandomResizedCrop
    jitter=0.1,  # Hummingbird utils/transforms.py: the four ..._jitter_range
    jitter_chance=0.5,  # Hummingbird utils/transforms.py: the four ..._jitter_probability
    augmentation_epochs=2,  # Hummingbird README: two dataset augmentation epochs
    memory_size=10_240_000,  # Hummingbird README: 1024 * 10^4
    unlabelled="class-0",  # Hummingbird hbird_eval.py, _create_memory: y[y == 255] = 0, which is background
    neighbors=30,  # Hummingbird hbird_eval.py: n_neighbours
    temperature=0.02,  # Hummingbird hbird_eval.py, _cross_attention: beta
    precision="fp32",  # Hummingbird hbird_eval.py: no autocast
)
VOC12_HUMMINGBIRD_1M = replace(
    VOC12_HUMMINGBIRD,
    memory_size=1_024_000,  # Hummingbird README: 1024 * 10^3
)
VOC12_HUMMINGBIRD_100K = replace(
    VOC12_HUMMINGBIRD,
    memory_size=102_400,  # Hummingbird README: 1024 * 10^2
)
ADE20K_HUMMINGBIRD = replace(
    VOC12_HUMMINGBIRD,
    unlabelled="own-class",  # Hummingbird data/ade20k/ade20k_data.py: 151 classes, of which 0 is left out of the truth
)
ADE20K_KNN_CAPI = NearestPatchesGridRecipe(
    side=224,  # CAPI seg: resolution
    interpolation="bicubic",  # CAPI seg: InterpolationMode.BICUBIC
    label_point="centre",  # CAPI seg: InterpolationMode.NEAREST, of Pillow's images
    blocks=1,  # CAPI utils.py, extract_features: the model's feature map
    precision="fp32",  # CAPI seg: autocast_dtype torch.float
    neighbors=(1, 3, 10, 30),  # CAPI seg, KNNClassifier: num_neighbors
    distances=("cosine", "l2"),  # CAPI seg, KNNClassifier: distance
    standardize=True,  # CAPI seg: StandardScaler
    held_out=0.1,  # CAPI seg, eval_model: n // 10 training images where there is no val set
)

_MATCHED = "nothing: of mIoU-matched, the source's, classes are matched on the reported images"
PROTOCOLS = (
    Protocol(
        name="voc12-hummingbird",
        version=1,
        title="VOC12 with SBD by nearest patches, Hummingbird's recipe, 10.24 M patches",
        data_set=VOC12AUG_SEG,
        metric="mIoU",
        selected_on=_MATCHED,
        trials=1,
        source="Hummingbird hbird_eval.py and README, memory size 1024 * 10^4",
        recipe=VOC12_HUMMINGBIRD,
        published_as="voc12_hummingbird",
        also=("mIoU-matched",),
    ),
    Protocol(
        name="voc12-hummingbird-1m",
        version=1,
        title="VOC12 with SBD by nearest patches, Hummingbird's recipe, 1.024 M patches",
        data_set=VOC12AUG_SEG,
        metric="mIoU",
        selected_on=_MATCHED,
        trials=1,
        source="Hummingbird hbird_eval.py and README, memory size 1024 * 10^3",
        recipe=VOC12_HUMMINGBIRD_1M,
        published_as="voc12_hummingbird_1m",
        also=("mIoU-matched",),
    ),
    Protocol(
        name="voc12-hummingbird-100k",
        version=1,
        title="VOC12 with SBD by nearest patches, Hummingbird's recipe, 102,400 patches",
        data_set=VOC12AUG_SEG,
        metric="mIoU",
        selected_on=_MATCHED,
        trials=1,
        source="Hummingbird hbird_eval.py and README, memory size 1024 * 10^2",
        recipe=VOC12_HUMMINGBIRD_100K,
        published_as="voc12_hummingbird_100k",
        also=("mIoU-matched",),
    ),
    Protocol(
        name="ade20k-hummingbird",
        version=1,
        title="ADE20K by nearest patches, Hummingbird's recipe, 10.24 M patches",
        data_set=ADE20K,
        metric="mIoU",
        selected_on=_MATCHED,
        trials=1,
        source="Hummingbird hbird_eval.py; its README has no table of it: sizes as for VOC12",
        recipe=ADE20K_HUMMINGBIRD,
        also=("mIoU-matched",),
    ),
    Protocol(
        name="ade20k-knn-capi",
        version=1,
        title="ADE20K by nearest patches, CAPI's grid of k and distance",
        data_set=ADE20K,
        metric="mIoU",
        selected_on="training images held out: a tenth, as in the source",
        trials=1,
        source="CAPI eval_segmentation.py, KNNClassifier",
        recipe=ADE20K_KNN_CAPI,
        published_as="ade20k_knn_capi",
    ),
)
