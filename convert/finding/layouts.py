"""The table of layouts: how every public ResNet-50 checkpoint wraps and prefixes its backbone (facts: zoo.md).

A row says under which keys the tensors lie (`at`), what their names begin with (`prefix`) and which other tensors may
lie beside them (`heads`, shell patterns). A leading `module.` of DistributedDataParallel on every name is taken off
before a row is tried, so no row mentions it. Rows are tried from top to bottom; of one layout's branches the first is
the default.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from twinbench.convert.convention import IMAGENET, IMAGENET_BGR, UNIT, InputConvention
from twinbench.convert.finding.names import CAFFE2, DETECTRON2, HAIKU, OBOW, TORCHVISION
from twinbench.convert.finding.naming import Naming
from twinbench.convert.finding.simclr import SIMCLR, SIMCLR_TF2
from twinbench.convert.finding.vit_names import CLIP, TIMM, VITS
from twinbench.convert.finding.vit_names_transformers import SIGLIP, TRANSFORMERS_VITS

Keys = tuple[str, ...]
OWN_NAMES = (TORCHVISION, *VITS)  # those of the code that builds and trains a network, which most files have


@dataclass(frozen=True)
class Layout:
    """One way to keep a backbone in a file."""

    name: str
    origins: str  # who saves it so
    at: Keys | None  # None: under whatever keys
    prefix: str | None  # None: behind whatever prefix
    heads: Keys = ()
    branch: str = ""  # which of several backbones in the file: student or teacher, query or key
    also: Keys = ()  # a second container: Haiku keeps batch-norm statistics apart
    naming: Naming | None = None  # None: that of the backbone's own code
    convention: InputConvention | None = IMAGENET  # None: such files come with several
    folded: bool = False  # batch-norm statistics may be folded into weight and bias
    variant: str = ""  # of networks with the same tensors, the one that its authors build (`architectures.recognized`)

    @property
    def label(self) -> str:
        """The name that --layout takes: `moco` or `moco:key`."""
        return f"{self.name}:{self.branch}" if self.branch else self.name

    def is_at(self, at: Keys, prefix: str, naming: Naming) -> bool:
        """Say whether such files have a backbone under these keys, behind this prefix, in these names."""
        named = naming in OWN_NAMES if self.naming is None else naming is self.naming
        return named and self.at in (None, at) and self.prefix in (None, prefix)


_FC = ("fc.*",)
_VISSL_TRUNK = ("classy_state_dict", "base_model", "model", "trunk")
_MMSELFSUP = (
    "neck.*",
    "head.*",
    "data_preprocessor.*",
    "target_net.*",
    "encoder_k.*",
    "momentum_encoder.*",
    "queue*",
    "memory_bank.*",
)
_SOLO = (
    "classifier.*",
    "projector.*",
    "predictor.*",
    "prototypes.*",
    "queue*",
    "head.*",
    "momentum_*",
    "knn.*",
    "pred_momentum*",
)
_HAIKU = ("projector/*", "predictor/*", "classifier/*", "res_net50/~/*_ema/hidden", "res_net50/~/*_ema/counter")
_LIGHTLY = (
    "backbone.*",
    "projection_head.*",
    "prediction_head.*",
    "online_classifier.*",
    "criterion.*",
    "prototypes.*",
    "queues.*",
    "student_*",
    "teacher_*",
    "query_*",
    "key_*",
)


_VIT_HEADS = ("head.*", "pre_logits.*")
_TRANSFORMERS_HEADS = ("pooler.*", "classifier.*", "decoder.*", "visual_projection.*", "text_*", "logit_*")


def _lightly() -> Iterator[Layout]:
    """Yield lightly's rows: `backbone.` is what its authors evaluate; the others are there for those who ask."""
    for branch, prefix in (
        ("", "backbone."),  # DINO's teacher, BYOL's student
        ("student", "student_backbone."),
        ("teacher", "teacher_backbone."),
        ("query", "query_backbone."),
        ("key", "key_backbone."),
    ):
        yield Layout("lightly", "lightly", ("state_dict",), prefix, _LIGHTLY, branch)


def _vits() -> Iterator[Layout]:
    """Yield what only vision transformers are kept in. Where no convention stands, files come with several."""
    for naming in VITS:
        yield Layout(
            "vit", "timm, DINO, DINOv2, DINOv3, torchvision", (), "", _VIT_HEADS, naming=naming, convention=None
        )
    # iBOT's extract_backbone_weights.py; timm's trainer, of models with several conventions.
    yield Layout(
        "vit-state-dict", "iBOT, timm's trainer", ("state_dict",), "", _VIT_HEADS, naming=TIMM, convention=None
    )
    # All that is published so saw ImageNet's mean and std: MAE, DeiT, MoCo v3's convert_to_deit.py.
    yield Layout("mae", "MAE, DeiT", ("model",), "", ("decoder_*", *_VIT_HEADS), naming=TIMM)
    # MSN's evaluations load target_encoder (logistic_eval.py); so did I-JEPA's (its paper, A.1).
    yield Layout("jepa", "I-JEPA, MSN", ("target_encoder",), "", _FC, naming=TIMM)
    yield Layout("jepa", "I-JEPA, MSN", ("encoder",), "", _FC, "context", naming=TIMM)
    yield Layout("clip", "CLIP, open_clip", None, None, naming=CLIP, convention=None)
    for naming in TRANSFORMERS_VITS:
        # SigLIP was trained with the tanh form of GELU, and transformers computes it so.
        variant = "gelu-tanh" if naming is SIGLIP else ""
        heads = _TRANSFORMERS_HEADS
        yield Layout("transformers", "transformers", None, None, heads, naming=naming, convention=None, variant=variant)


LAYOUTS = (
    Layout("torchvision", "torchvision, timm, Barlow Twins, VICReg, VICRegL, DINO", (), "", _FC, naming=TORCHVISION),
    Layout("swav", "SwAV, DeepCluster-v2, SeLa-v2", (), "", ("projection_head.*", "prototypes.*"), naming=TORCHVISION),
    Layout("vissl", "VISSL", _VISSL_TRUNK, "_feature_blocks.", ("_feature_blocks.fc.*",)),
    Layout("vissl", "VISSL, evaluation", _VISSL_TRUNK, "base_model._feature_blocks.", ("*feature_pooling_ops.*",)),
    Layout("vissl-converted", "VISSL's converters", ("model_state_dict",), "_feature_blocks.", ("heads.*",)),
    Layout("vissl-trunk", "VISSL, extracted", (), "trunk._feature_blocks.", ("heads.*",)),
    Layout("vissl-trunk", "VISSL, extracted", (), "_feature_blocks.", ("heads.*",)),
    Layout("moco", "MoCo v1/v2, PCL", ("state_dict",), "encoder_q.", ("encoder_q.fc.*", "encoder_k.*", "queue*")),
    Layout(
        "moco", "MoCo v1/v2, PCL", ("state_dict",), "encoder_k.", ("encoder_k.fc.*", "encoder_q.*", "queue*"), "key"
    ),
    Layout("msf", "MSF", ("state_dict",), "encoder_q.", ("encoder_q.fc.*", "encoder_t.*", "predict_q.*", "queue*")),
    Layout(
        "mocov3",
        "MoCo v3",
        ("state_dict",),
        "base_encoder.",
        ("base_encoder.fc.*", "base_encoder.head.*", "momentum_encoder.*", "predictor.*"),
        variant="mocov3",
    ),
    Layout(
        "mocov3",
        "MoCo v3",
        ("state_dict",),
        "momentum_encoder.",
        ("momentum_encoder.fc.*", "momentum_encoder.head.*", "base_encoder.*", "predictor.*"),
        "momentum",
        variant="mocov3",
    ),
    Layout("simsiam", "SimSiam", ("state_dict",), "encoder.", ("encoder.fc.*", "predictor.*")),
    Layout("state-dict", "DenseCL, OpenSelfSup, timm, ImageNet trainers", ("state_dict",), "", _FC, naming=TORCHVISION),
    Layout("mmselfsup", "MMSelfSup, MMPretrain", ("state_dict",), "backbone.", _MMSELFSUP),
    *_lightly(),
    Layout("solo-learn", "solo-learn", ("state_dict",), "backbone.", ("backbone.fc.*", *_SOLO)),
    Layout("solo-learn", "solo-learn", ("state_dict",), "momentum_backbone.", ("backbone.*", *_SOLO), "momentum"),
    Layout("solo-learn-encoder", "solo-learn before 1.0.3", ("state_dict",), "encoder.", ("encoder.fc.*", *_SOLO)),
    Layout("vicreg-full", "VICReg, VICRegL", ("model",), "backbone.", ("projector.*", "maps_projector.*")),
    Layout("barlow-twins-full", "Barlow Twins, twinbench pretrain", ("model",), "backbone.", ("projector.*", "bn.*")),
    Layout(
        "torchvision-trainer", "torchvision's references, twinbench transfer", ("model",), "", _FC, naming=TORCHVISION
    ),
    Layout("pycontrast", "PyContrast", ("model",), "encoder.", ("encoder.fc.*", "head.*", "head_jig.*")),
    Layout("pycontrast", "PyContrast, momentum", ("model_ema",), "encoder.", ("head.*", "head_jig.*"), "ema"),
    Layout("pycontrast-cmc", "PyContrast, CMC", ("model",), "encoder1.", ("encoder2.*", "head1*", "head2*")),
    Layout(
        "pixpro",
        "PixPro",
        ("model",),
        "encoder.",
        ("encoder_k.*", "projector*", "value_transform.*", "predictor.*"),
    ),
    Layout("pixpro", "PixPro", ("model",), "encoder_k.", ("encoder.*", "projector*", "value_*", "predictor.*"), "key"),
    # DINO's and iBOT's evaluations take the teacher (--checkpoint_key); so does DINOv2's (eval/utils.py).
    Layout("dino-full", "DINO, iBOT", ("teacher",), "backbone.", ("head.*",)),
    Layout("dino-full", "DINO, iBOT", ("student",), "backbone.", ("head.*",), "student"),
    Layout("dinov2-teacher", "DINOv2, DINOv3, training", ("teacher",), "backbone.", ("dino_head.*", "ibot_head.*")),
    *_vits(),
    Layout("obow", "OBoW", ("network",), "_feature_blocks.", naming=OBOW),
    Layout("obow", "OBoW, torchvision's names", ("network",), "", _FC),
    Layout(
        "byol",
        "BYOL (Haiku)",
        ("experiment_state", "online_params"),
        "res_net50/~/",
        _HAIKU,
        also=("experiment_state", "online_state"),
        naming=HAIKU,
    ),
    Layout(
        "byol",
        "BYOL (Haiku)",
        ("experiment_state", "target_params"),
        "res_net50/~/",
        _HAIKU,
        "target",
        also=("experiment_state", "target_state"),
        naming=HAIKU,
    ),
    *(
        Layout(
            "caffe2",
            "Caffe2 (Goyal et al.)",
            at,
            "",
            ("pred_*", "fc*", "*_momentum", "lr", "model_iter", "*_s[1-8]_*", "pool5*"),
            naming=CAFFE2,
            convention=IMAGENET_BGR,  # fair_self_supervision_benchmark config.py: mean and std in BGR of [0, 1]
            folded=True,
        )
        for at in (("blobs",), ())
    ),
    Layout("detectron2", "Detectron2", ("model",), "", ("linear.*",), naming=DETECTRON2, folded=True),
    *(
        Layout("simclr", "SimCLR of Google", (), prefix, branch=branch, naming=naming, convention=UNIT)
        for naming in SIMCLR
        for branch, prefix in (("", "base_model/"), ("ema", "ema_model/base_model/"))
    ),
    Layout("simclr-tf2", "SimCLR of Google", (), "model/resnet_model/", naming=SIMCLR_TF2, convention=UNIT),
)

NESTED = tuple(row for row in LAYOUTS if row.naming is not None and row.naming.nested)

# What lies beside a backbone behind the same prefix and is known to be none of it: the last parts of the rows' heads.
HEADS = tuple(
    dict.fromkeys(
        head.removeprefix(row.prefix or "")
        for row in LAYOUTS
        for head in row.heads
        if head.removeprefix(row.prefix or "") != "*"
    )
)
