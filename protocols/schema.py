"""What a protocol is: a frozen recipe with a name, a version and a fingerprint.

A recipe holds every number that can move a result, and nothing else: paths, devices and worker counts are no part of
it. The entries themselves, each constant beside its source, stand in svm.py, classification.py, detection.py and
pretraining.py.
"""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from twinbench.protocols.house import UserError, setting_text, setting_values, unknown, with_settings
from twinbench.protocols.ranges import require_in_range


class ProtocolError(UserError):
    """An unknown protocol, or a recipe that contradicts itself."""


@dataclass(frozen=True)
class ImageTransform:
    """How an image becomes the network's input at test time: resize, then (perhaps) a centre crop."""

    resize: int  # short side in pixels; 0: none
    crop: int  # side of the square input in pixels
    shape: Literal["center-crop", "squash"]  # squash: scale both sides to `crop`, aspect ratio not kept
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    # pillow: antialiased, as torchvision; the others: OpenCV's bilinear, which is not, and how sides are rounded
    backend: Literal["pillow", "opencv", "albumentations"] = "pillow"


@dataclass(frozen=True)
class SvmRecipe:
    """One-vs-rest linear SVMs on frozen features, cost per class by cross-validation (VISSL's rules)."""

    transform: ImageTransform
    pooling: Literal["res5-avg6", "gap"]  # 6 x 6 stride-1 average of res5, flattened; or global average pool
    costs: tuple[float, ...]
    folds: int
    positive_weight: float  # class weight of label 1; negatives weigh 1
    tolerance: float  # LIBLINEAR's stopping tolerance
    max_iterations: int
    normalize_epsilon: float  # rows become x / (||x|| + this)
    ignored_in_training: Literal["negative", "dropped"]  # what an image marked `difficult only` is for its class
    ignored_at_test: Literal["negative", "dropped"]  # the same at test
    shots: tuple[int, ...] = ()  # low-shot: images per class; empty: the full training set
    samples: int = 1  # low-shot: independent draws of each size
    sampling: Literal["by-class", "pooled"] = "by-class"  # low-shot: each class trains on its own draw, or on all draws
    test_ap: Literal["envelope", "step"] = "envelope"  # area under the precision envelope, or scikit-learn's sum
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # of the network; features and all after them are float32


@dataclass(frozen=True)
class ProbeRecipe:
    """A classifier trained by SGD on a backbone that is frozen (linear) or trained along (fine-tuning)."""

    transform: ImageTransform
    train_backbone: bool
    train_fraction: Literal["100%", "10%", "1%"]
    epochs: int
    batch_size: int  # global
    lr_head: float
    lr_backbone: float
    momentum: float
    nesterov: bool
    weight_decay: float
    schedule: Literal["cosine", "steps"]  # both change once an epoch
    milestones: tuple[int, ...]  # epochs after which the rate drops (steps)
    gamma: float  # factor of a drop (steps)
    head: Literal["linear", "batchnorm-linear"]
    head_init_std: float  # of a normal distribution, bias 0; 0: PyTorch's own draw, uniform, bias too
    feature: Literal["gap", "res5-avg6"] = "gap"
    accumulate: int = 1  # parts of each of norm_groups, one after the other where the backbone is trained
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # of the network, trained: no bf16; the head is float32
    norm_groups: int = 1  # of a batch, whose statistics a trained backbone's batch norm sees: the reference's GPUs


@dataclass(frozen=True)
class KnnRecipe:
    """Weighted nearest neighbours among L2-normalised features."""

    transform: ImageTransform
    neighbors: tuple[int, ...]
    temperature: float
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # of the network; features and all after them are float32


@dataclass(frozen=True)
class DetectionRecipe:
    """A Detectron2 schedule. Each field is written to the key of Detectron2's configuration named beside it."""

    architecture: Literal["frcnn-c4", "mrcnn-c4", "mrcnn-fpn"]
    norm: Literal["naiveSyncBN", "SyncBN", "BN", "FrozenBN"]  # MODEL.RESNETS.NORM (and FPN.NORM)
    extra_norm: bool  # a norm layer after res5 in the C4 box head (MoCo's Res5ROIHeadsExtraNorm)
    freeze_at: int  # MODEL.BACKBONE.FREEZE_AT
    batch_size: int  # SOLVER.IMS_PER_BATCH, global
    lr: float  # SOLVER.BASE_LR
    warmup_iterations: int  # SOLVER.WARMUP_ITERS
    warmup_factor: float  # SOLVER.WARMUP_FACTOR
    steps: tuple[int, ...]  # SOLVER.STEPS
    iterations: int  # SOLVER.MAX_ITER
    momentum: float  # SOLVER.MOMENTUM
    weight_decay: float  # SOLVER.WEIGHT_DECAY
    min_size_train: tuple[int, ...]  # INPUT.MIN_SIZE_TRAIN
    min_size_test: int  # INPUT.MIN_SIZE_TEST
    max_size: int  # INPUT.MAX_SIZE_TRAIN and MAX_SIZE_TEST
    anchor_sizes: tuple[int, ...]  # MODEL.ANCHOR_GENERATOR.SIZES
    rpn_pre_nms_test: int  # MODEL.RPN.PRE_NMS_TOPK_TEST
    rpn_post_nms_test: int  # MODEL.RPN.POST_NMS_TOPK_TEST
    rpn_loss_weight: float  # MODEL.RPN.LOSS_WEIGHT
    rois_per_image: int  # MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE
    roi_resolution: int  # MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
    precise_bn_iterations: int  # TEST.PRECISE_BN.NUM_ITER; 0: off


Recipe = SvmRecipe | ProbeRecipe | KnnRecipe | DetectionRecipe


@dataclass(frozen=True)
class Protocol:
    """A benchmark: one recipe on one data set, measured by one headline metric.

    `images` and `classes` say what complete data is; a trial on other counts is marked as partial. `published_as`
    and `also` say how its numbers are shown and compared, and are no part of the fingerprint.
    """

    name: str
    version: int
    task: str  # one line for people
    room: Literal["transfer", "detection"]
    data: Literal["imagenet", "voc", "coco", "inat", "places"]
    classes: int
    images: tuple[int, int]  # training, test
    metric: str  # headline metric, percent, higher is better
    selected_on: str  # what any choice within the recipe was made on
    trials: int  # seeds to run unless a suite says otherwise
    source: str
    recipe: Recipe
    published_as: str = ""  # task name in the published numbers
    also: tuple[str, ...] = ()  # further metrics with a column of their own in the table
    width: float = 1.0  # width of the backbone that `random` stands for
    overrides: tuple[tuple[str, str], ...] = ()  # --set, as given

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits of the recipe as it runs, overrides included: equal fingerprints, comparable numbers."""
        return fingerprint((self.room, self.data, self.classes, self.width, self.metric), self.recipe)

    def with_settings(self, settings: Mapping[str, object]) -> "Protocol":
        """Return this protocol with recipe fields changed and the changes kept in `overrides`.

        SettingError for a name, type or value that no run can have, see ranges.py.
        """
        if not settings:
            return self
        recipe = with_settings(self.recipe, settings)
        require_in_range(recipe, self.metric)
        overrides = tuple(sorted((name, str(value)) for name, value in settings.items()))
        return dataclasses.replace(self, recipe=recipe, overrides=overrides)


def flat(recipe: object) -> list[tuple[str, str]]:
    """Return the fields of a recipe, nested ones as `outer.inner`, with values as --set takes them."""
    return [(name, setting_text(value)) for name, value in setting_values(recipe).items()]


def fingerprint(identity: tuple[object, ...], recipe: object) -> str:
    """Hash a frozen recipe dataclass and what it applies to; field order and number formatting do not matter."""
    fields = dataclasses.asdict(recipe)  # type: ignore[call-overload]
    text = json.dumps([type(recipe).__name__, identity, fields], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Named(typing.Protocol):
    """What a registry holds: frozen data that knows its name."""

    @property
    def name(self) -> str:
        """The name it is found by."""
        ...


EntryT = TypeVar("EntryT", bound=Named)


def registry(entries: Iterable[EntryT]) -> dict[str, EntryT]:
    """Return the entries by their `name`; a repeated name is a mistake of ours and raises at import."""
    by_name: dict[str, EntryT] = {}
    for entry in entries:
        if entry.name in by_name:
            raise ValueError(f"two entries are called {entry.name}")
        by_name[entry.name] = entry
    return by_name


def look_up(entries: Mapping[str, EntryT], name: str, kind: str) -> EntryT:
    """Return the entry called `name`, or raise ProtocolError with the nearest and all known names."""
    if name not in entries:
        raise ProtocolError(unknown(kind, name, entries))
    return entries[name]
