"""The table of layouts: how public checkpoints wrap and prefix their backbones (facts: zoo.md).

A row says under which keys the tensors lie (`at`), what their names begin with (`prefix`) and which other tensors may
lie beside them (`heads`, shell patterns). The words of wrappers, such as DistributedDataParallel's `module.`, are taken
off every name before a row is tried, so no row mentions them (`places`). Rows are tried from top to bottom; of one
layout's branches the first is the default.
"""

from collections.abc import Iterator

from twinbench.convert.convention import IMAGENET_BGR, UNIT
from twinbench.convert.finding.conv_layouts import CONV_LAYOUTS
from twinbench.convert.finding.layout import Layout
from twinbench.convert.finding.names import CAFFE2, DETECTRON2, HAIKU, OBOW, TORCHVISION
from twinbench.convert.finding.simclr import SIMCLR, SIMCLR_TF2
from twinbench.convert.finding.vit_layouts import VIT_LAYOUTS

_FC = ("fc.*",)
_TRAINERS = "DenseCL, OpenSelfSup, timm, ImageNet trainers"
_REFERENCES = "torchvision's references, twinbench transfer"
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


def _lightly() -> Iterator[Layout]:
    """Yield lightly's rows: `backbone.` is what its authors evaluate; the others are there for those who ask.

    In its benchmarks that is DINO's teacher, whose examples have it as `teacher_backbone.`; so that comes second.
    """
    for branch, prefix in (
        ("", "backbone."),
        ("momentum", "backbone_momentum."),  # of its examples: MoCo, BYOL
        ("teacher", "teacher_backbone."),
        ("student", "student_backbone."),
        ("query", "query_backbone."),
        ("key", "key_backbone."),
    ):
        yield Layout("lightly", "lightly", ("state_dict",), prefix, _LIGHTLY, branch)


def _byol_pytorch() -> Iterator[Layout]:
    """Yield lucidrains/byol-pytorch's rows: its README saves the online network, which a file has as `net`, too.

    A file is of BYOL itself, or of a Lightning module with it as `learner` (its examples/lightning/train.py).
    """
    for at, prefix in (((), ""), (("state_dict",), "learner.")):
        yield Layout("byol-pytorch", "byol-pytorch", at, f"{prefix}online_encoder.net.")
        yield Layout("byol-pytorch", "byol-pytorch", at, f"{prefix}target_encoder.net.", (), "target")


LAYOUTS = (
    Layout(
        "torchvision",
        "torchvision, timm, Barlow Twins, VICReg, VICRegL, DINO",
        (),
        "",
        _FC,
        naming=TORCHVISION,
        convention=None,
    ),
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
    Layout("state-dict", _TRAINERS, ("state_dict",), "", _FC, naming=TORCHVISION, convention=None),
    # timm's train.py trains the former and scores both; twinbench takes what was trained where nothing is said.
    Layout("state-dict", "timm", ("state_dict_ema",), "", _FC, "ema", naming=TORCHVISION, convention=None),
    Layout("mmselfsup", "MMSelfSup, MMPretrain", ("state_dict",), "backbone.", _MMSELFSUP),
    *_lightly(),
    Layout("solo-learn", "solo-learn", ("state_dict",), "backbone.", ("backbone.fc.*", *_SOLO)),
    Layout("solo-learn", "solo-learn", ("state_dict",), "momentum_backbone.", ("backbone.*", *_SOLO), "momentum"),
    Layout("solo-learn-encoder", "solo-learn before 1.0.3", ("state_dict",), "encoder.", ("encoder.fc.*", *_SOLO)),
    # Bolts' BYOL and SimSiam return the online encoder's features, which its online evaluation takes.
    Layout("bolts", "Lightning Bolts", ("state_dict",), "online_network.encoder."),
    Layout("bolts", "Lightning Bolts", ("state_dict",), "target_network.encoder.", (), "target"),
    *_byol_pytorch(),
    # stable-pretraining's TeacherStudentWrapper: out of training its forward pass is the teacher's.
    Layout("stable-pretraining", "stable-pretraining", ("state_dict",), "backbone.teacher."),
    Layout("stable-pretraining", "stable-pretraining", ("state_dict",), "backbone.student.", (), "student"),
    Layout("vicreg-full", "VICReg, VICRegL", ("model",), "backbone.", ("projector.*", "maps_projector.*")),
    Layout("barlow-twins-full", "Barlow Twins, twinbench pretrain", ("model",), "backbone.", ("projector.*", "bn.*")),
    Layout("torchvision-trainer", _REFERENCES, ("model",), "", _FC, naming=TORCHVISION, convention=None),
    # torchvision's references/classification/train.py tests both, and resumes with `model`.
    Layout("torchvision-trainer", _REFERENCES, ("model_ema",), "", (*_FC, "n_averaged"), "ema", naming=TORCHVISION),
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
    *VIT_LAYOUTS,
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
    *CONV_LAYOUTS,
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
