"""Every kind of recipe by name."""

from twinbench.protocols.kinds.base import Recipe
from twinbench.protocols.kinds.detector import DetectionRecipe
from twinbench.protocols.kinds.episodes import EpisodesRecipe
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.protocols.kinds.knn import KnnRecipe
from twinbench.protocols.kinds.linear_segmenter import LinearSegmenterRecipe
from twinbench.protocols.kinds.logistic import FewShotLogisticRecipe, LogisticRecipe, SizedLogisticRecipe
from twinbench.protocols.kinds.search import FineTuningSearchRecipe
from twinbench.protocols.kinds.segmenter import SegmentationRecipe
from twinbench.protocols.kinds.sgd import FineTuningRecipe, LayerProbeRecipe, ProbeRecipe
from twinbench.protocols.kinds.svm import LowShotOneVsRestSvmRecipe, LowShotSvmRecipe, OneVsRestSvmRecipe, SvmRecipe

_CLASSES = (
    SvmRecipe,
    LowShotSvmRecipe,
    OneVsRestSvmRecipe,
    LowShotOneVsRestSvmRecipe,
    KnnRecipe,
    EpisodesRecipe,
    LogisticRecipe,
    FewShotLogisticRecipe,
    SizedLogisticRecipe,
    ProbeRecipe,
    LayerProbeRecipe,
    FineTuningRecipe,
    HeadsRecipe,
    FineTuningSearchRecipe,
    DetectionRecipe,
    SegmentationRecipe,
    LinearSegmenterRecipe,
)
KINDS: dict[str, type[Recipe]] = {recipe.kind: recipe for recipe in _CLASSES}
