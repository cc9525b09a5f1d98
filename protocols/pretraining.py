"""The pretraining recipes, each constant beside its source.

Sources, abbreviated: BT = Barlow Twins, arXiv:2103.03230; BT code = its main.py at 8e8d284.
"""

from dataclasses import dataclass, replace

from protocols.schema import fingerprint, registry


@dataclass(frozen=True)
class PretrainRecipe:
    """A Barlow Twins run: every number that can move its result."""

    name: str
    version: int
    source: str
    width: float = 1.0  # of the ResNet-50
    epochs: int = 1000  # BT code
    batch_size: int = 2048  # BT code, global
    lr_weights: float = 0.2  # BT code, per 256 images
    lr_biases: float = 0.0048  # BT code, per 256 images; biases and batch-norm parameters
    weight_decay: float = 1e-6  # BT code; the paper's text says 1.5e-6
    momentum: float = 0.9  # BT code
    trust: float = 0.001  # BT code, LARS eta
    warmup_epochs: int = 10  # BT code
    lambd: float = 0.0051  # BT code; the paper's text says 5e-3
    projector: tuple[int, ...] = (8192, 8192, 8192)  # BT code
    zero_init_residual: bool = True  # BT code
    crop: int = 224  # BT code, pixels
    min_scale: float = 0.08  # torchvision's default, used by BT code
    flip: float = 0.5  # BT code, probability
    jitter: float = 0.8  # BT code, probability of ColorJitter(.4, .4, .2, .1)
    brightness: float = 0.4  # BT code
    contrast: float = 0.4  # BT code
    saturation: float = 0.2  # BT code
    hue: float = 0.1  # BT code
    gray: float = 0.2  # BT code, probability
    blur: tuple[float, ...] = (1.0, 0.1)  # BT code, probability in view 1 and view 2
    blur_sigma: tuple[float, ...] = (0.1, 2.0)  # BT code, range
    solarize: tuple[float, ...] = (0.0, 0.2)  # BT code, probability in view 1 and view 2

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of everything above but the name, the version and the source."""
        return fingerprint(("pretrain",), replace(self, name="", version=0, source=""))


RECIPES = registry(
    (
        PretrainRecipe(name="barlow-twins", version=1, source="BT code, main.py's defaults"),
        PretrainRecipe(
            name="demo",
            version=1,
            source="barlow-twins scaled down to minutes on two processor cores",
            width=0.25,
            epochs=40,
            batch_size=128,
            projector=(512, 512, 512),
            crop=64,
            min_scale=0.3,
            warmup_epochs=2,
        ),
    )
)
