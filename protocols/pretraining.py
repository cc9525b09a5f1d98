"""The pretraining recipes, each constant beside its source.

Sources, abbreviated: BT = Barlow Twins, arXiv:2103.03230; BT code = its main.py at 8e8d284; BT 7, BT 9 = issues 7 and 9
of facebookresearch/barlowtwins, answered by its first author. BT 4 = the paper's section 4, whose losses are told in
words alone; SimCLR = google-research/simclr at 383d414, VICReg = facebookresearch/vicreg at 4e12602.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.house import setting_text
from twinbench.protocols.ranges import (
    ABOVE_0,
    CHANCE,
    CHANCES,
    COUNT,
    COUNT_OR_NONE,
    FROM_0,
    HUE,
    MOMENTUM,
    SIDE,
    TERMS,
    WIDTHS,
    require_in_range,
)
from twinbench.protocols.schema import ProtocolError, fingerprint, registry

Objective = Literal["barlow-twins", "redundancy", "covariance", "feature-norm", "cross-entropy", "vicreg", "simclr"]

# settings of some objectives alone
READ_BY: dict[str, tuple[Objective, ...]] = {"temperature": ("simclr", "cross-entropy"), "terms": ("vicreg",)}


@dataclass(frozen=True)
class PretrainRecipe:
    """A Barlow Twins run: every number that can move its result."""

    # fields younger than the recipe: at their defaults no part of a fingerprint
    later: ClassVar[tuple[str, ...]] = (
        *("objective", "temperature", "terms", "projector_norm", "predictor", "stop_gradient"),
    )
    name: str
    version: int
    source: str
    width: Annotated[float, ABOVE_0] = 1.0  # of the ResNet-50
    epochs: Annotated[int, COUNT] = 1000  # BT code
    batch_size: Annotated[int, COUNT] = 2048  # BT code, global
    lr_weights: Annotated[float, FROM_0] = 0.2  # BT code, per 256 images
    lr_biases: Annotated[float, FROM_0] = 0.0048  # BT code, per 256 images; biases and batch-norm parameters
    weight_decay: Annotated[float, FROM_0] = 1e-6  # BT code; the paper's text says 1.5e-6
    momentum: Annotated[float, MOMENTUM] = 0.9  # BT code
    trust: Annotated[float, FROM_0] = 0.001  # BT code, LARS eta
    warmup_epochs: Annotated[int, COUNT_OR_NONE] = 10  # BT code
    lambd: Annotated[float, FROM_0] = 0.0051  # BT code; the paper's text says 5e-3
    # BT code's all_reduce stands outside autograd, so DDP's average divides its gradient by the number of processes:
    # invisible to LARS, but not to weight decay nor to the biases' rate. Here the factor is 1 / reference_world for
    # any number of processes. 16: BT code's README; the run behind the released file is not known for certain.
    reference_world: Annotated[int, COUNT] = 16  # BT code's README
    projector: tuple[int, ...] = (8192, 8192, 8192)  # BT code
    zero_init_residual: bool = True  # BT code
    # BT code's DataLoader drops nothing, so that an epoch of ImageNet ends with 1168 images (626 steps, and a schedule
    # of 626 an epoch), whose matrix is still divided by 2048. DistributedSampler repeats the epoch's first images until
    # all processes have equally many: here until `reference_world` divides them, on any number of processes.
    last_batch: Literal["dropped", "short"] = "short"  # BT code
    # auto: what the machine does fast, decided at the first start. Only the network is in it: the loss, which BT code
    # has under autocast too, is float32 here.
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "fp16"  # BT code: autocast and GradScaler
    views: Literal["batched", "pil"] = "batched"  # pil: BT code's own operations, image by image, slow
    crop: Annotated[int, SIDE] = 224  # BT code, pixels
    min_scale: Annotated[float, CHANCE] = 0.08  # torchvision's default, used by BT code
    flip: Annotated[float, CHANCE] = 0.5  # BT code, probability
    jitter: Annotated[float, CHANCE] = 0.8  # BT code, probability of ColorJitter(.4, .4, .2, .1)
    brightness: Annotated[float, FROM_0] = 0.4  # BT code
    contrast: Annotated[float, FROM_0] = 0.4  # BT code
    saturation: Annotated[float, FROM_0] = 0.2  # BT code
    hue: Annotated[float, HUE] = 0.1  # BT code
    gray: Annotated[float, CHANCE] = 0.2  # BT code, probability
    blur: Annotated[tuple[float, ...], CHANCES] = (1.0, 0.1)  # BT code, probability in view 1 and view 2
    blur_sigma: tuple[float, ...] = (0.1, 2.0)  # BT code, range in pixels
    solarize: Annotated[tuple[float, ...], CHANCES] = (0.0, 0.2)  # BT code, probability in view 1 and view 2
    # What is minimised, on the same views, network and optimiser: so that an objective and a recipe can be told apart.
    objective: Objective = "barlow-twins"  # BT equation 1
    temperature: Annotated[float, ABOVE_0] = 0.1  # SimCLR, run.py; of simclr, and of cross-entropy, where BT 4 has none
    terms: Annotated[tuple[float, ...], TERMS] = (
        25.0,
        25.0,
        1.0,
    )  # VICReg, main_vicreg.py; of vicreg: similarity, variance, covariance
    projector_norm: bool = True  # BT code; batch norm in the projector's hidden layers
    predictor: Annotated[tuple[int, ...], WIDTHS] = ()  # BT code has none; sizes of one behind the projector of view 1
    stop_gradient: bool = False  # BT code; of view 2's branch

    def __post_init__(self) -> None:
        """Refuse what --set can break: raises ProtocolError, or SettingError for a number out of its range."""
        for name in ("epochs", "batch_size", "crop", "reference_world", "width"):
            if getattr(self, name) <= 0:
                raise ProtocolError(f"setting {name}={getattr(self, name)}: expected more than 0")
        if self.batch_size == 1:
            raise ProtocolError("setting batch_size=1: the loss correlates images, expected 2 or more")
        if not self.projector or min(self.projector) < 1:
            raise ProtocolError(f"setting projector={self.projector}: expected sizes, for example 8192,8192,8192")
        if self.predictor and self.predictor[-1] != self.projector[-1]:
            raise ProtocolError(
                f"setting predictor={self.predictor}: expected sizes that end with the projector's {self.projector[-1]}"
            )
        for name, objectives in READ_BY.items():
            if self.objective not in objectives and getattr(self, name) != getattr(type(self), name):
                given = setting_text(getattr(self, name))
                raise ProtocolError(
                    f"setting {name}={given}: the objective {self.objective} has none; leave it out, or set "
                    f"objective={' or '.join(objectives)}"
                )
        for name in ("blur", "solarize", "blur_sigma"):
            if len(getattr(self, name)) != 2:
                raise ProtocolError(f"setting {name}={getattr(self, name)}: expected two numbers, for example 1.0,0.1")
        chances = {"flip": self.flip, "jitter": self.jitter, "gray": self.gray, "min_scale": self.min_scale}
        chances |= {"blur": max(self.blur), "solarize": max(self.solarize)}
        for name, value in chances.items():
            if not 0 <= value <= 1:
                raise ProtocolError(f"setting {name}={value}: expected 0 to 1")
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ProtocolError(f"setting blur_sigma={self.blur_sigma}: expected a range above 0, for example 0.1,2.0")
        require_in_range(self)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of everything above but the name, the version and the source."""
        return fingerprint(("pretrain",), replace(self, name="", version=0, source=""))


BARLOW_TWINS = PretrainRecipe(name="barlow-twins", version=2, source="BT code, main.py's defaults")

RECIPES = registry(
    (
        BARLOW_TWINS,
        replace(
            BARLOW_TWINS,
            name="barlow-twins-paper",
            source="BT, text of sections 2 and 3, where it differs from the code",
            weight_decay=1.5e-6,  # BT 2.2
            lambd=5e-3,  # BT 2.2
            reference_world=32,  # BT 2.2: 32 V100 GPUs
        ),
        replace(
            BARLOW_TWINS,
            name="barlow-twins-300",
            source="BT 9: the ablations ran 300 epochs with the same settings",
            epochs=300,  # BT 9
        ),
        replace(
            BARLOW_TWINS,
            name="small-images",
            version=1,
            source="barlow-twins for images of about 32 px, the network still a ResNet-50; not a published recipe",
            epochs=200,
            batch_size=256,
            lr_weights=0.4,  # BT 7: the best of 300 epochs at batch 256
            lr_biases=0.0096,  # BT 7: 0.024 times the rate of the weights
            reference_world=1,
            projector=(2048, 2048, 2048),
            crop=32,
            min_scale=0.2,
            blur=(0.0, 0.0),  # 32 px have no detail to spare
            last_batch="dropped",
            precision="auto",
        ),
        replace(
            BARLOW_TWINS,
            name="demo",
            version=2,
            source="barlow-twins scaled down to minutes on two processor cores; what differs was tried out there",
            width=0.25,
            epochs=24,
            batch_size=64,
            lr_weights=8.0,  # a few hundred steps in all: LARS must move weights fast
            lr_biases=0.02,
            lambd=0.01,
            reference_world=1,
            projector=(512, 512, 512),
            crop=48,
            min_scale=0.6,
            flip=0.0,  # a mirrored digit is another sign
            blur=(0.0, 0.0),  # half the time of a view, and the digits need none
            solarize=(0.0, 0.0),
            warmup_epochs=2,
            last_batch="dropped",
            precision="auto",
        ),
    )
)
