"""Every kind of recipe by name."""

from twinbench.protocols.kinds.base import Recipe
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.kinds.episodes import EpisodesRecipe
from twinbench.protocols.kinds.finetuning import FineTuningRecipe
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.protocols.kinds.knn import FewShotKnnRecipe, KnnGridRecipe, KnnRecipe
from twinbench.protocols.kinds.labels import LabelsRecipe
from twinbench.protocols.kinds.linear_depth import LinearDepthRecipe
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe
from twinbench.protocols.kinds.logistic import FewShotLogisticRecipe, LogisticRecipe, SizedLogisticRecipe
from twinbench.protocols.kinds.nearest_patches import NearestPatchesGridRecipe, NearestPatchesRecipe
from twinbench.protocols.kinds.patches_logistic import PatchesLogisticRecipe
from twinbench.protocols.kinds.probes import LayerProbeRecipe, ProbeRecipe
from twinbench.protocols.kinds.search import FineTuningSearchRecipe
from twinbench.protocols.kinds.segmenter import SegmentationRecipe
from twinbench.protocols.kinds.svm import LowShotOneVsRestSvmRecipe, LowShotSvmRecipe, OneVsRestSvmRecipe, SvmRecipe
from twinbench.protocols.kinds.tested import CorruptionTestRecipe, HeadTestRecipe

_CLASSES = (
    SvmRecipe,
    LowShotSvmRecipe,
    OneVsRestSvmRecipe,
    LowShotOneVsRestSvmRecipe,
    KnnRecipe,
    KnnGridRecipe,
    FewShotKnnRecipe,
    EpisodesRecipe,
    LogisticRecipe,
    FewShotLogisticRecipe,
    LabelsRecipe,
    SizedLogisticRecipe,
    ProbeRecipe,
    LayerProbeRecipe,
    FineTuningRecipe,
    HeadsRecipe,
    FineTuningSearchRecipe,
    HeadTestRecipe,
    CorruptionTestRecipe,
    DetectionRecipe,
    SegmentationRecipe,
    LinearSegmenterRecipe,
    NearestPatchesRecipe,
    NearestPatchesGridRecipe,
    PatchesLogisticRecipe,
    LinearDepthRecipe,
)
KINDS: dict[str, type[Recipe]] = {recipe.kind: recipe for recipe in _CLASSES}
