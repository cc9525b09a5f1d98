"""The kind of fine-tuning, and all that one training loop trains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from twinbench.protocols.kinds.augmentation import POLICY, Augmentation, Interpolation
from twinbench.protocols.kinds.forms import FEATURE, GAP, Takes
from twinbench.protocols.kinds.probes import LayerProbeRecipe, ProbeRecipe
from twinbench.protocols.kinds.sgd import Decayed, NormMomentum, Optimizer, SgdRecipe
from twinbench.protocols.ranges import ABOVE_0, CHANCE, COUNT, COUNT_OR_NONE, FROM_0, MOMENTUM


@dataclass(frozen=True, kw_only=True)
class FineTuningRecipe(SgdRecipe):
    """A classifier and the backbone below it, trained together."""

    kind: ClassVar[str] = "fine-tuning"
    leaves_head: ClassVar[bool] = True
    later: ClassVar[tuple[str, ...]] = (
        "steps",
        "norm_momentum",
        "optimizer",
        "warmup_epochs",
        "warmup_start",
        "rate_floor",
        "layer_decay",
        "decayed",
        "drop_path",
        "smoothing",
        "mixup",
        "cutmix",
        "train_interpolation",
        "policy",
        "erasing",
        "repeats",
        "drop_last",
    )
    train_backbone: ClassVar[bool] = True

    feature: Annotated[str, FEATURE] = GAP  # by name: kinds/forms.py
    lr_backbone: Annotated[float, FROM_0]
    accumulate: Annotated[int, COUNT] = 1  # parts of each of norm_groups, one after the other
    # Groups of a batch, the reference's GPUs: whose statistics the batch norm sees, and within which images are mixed.
    norm_groups: Annotated[int, COUNT] = 1
    # Its epochs end after so many; a cosine then falls with each of them, and the last alone is followed by a test. 0:
    # all epochs, each followed by a test; a cosine falls with each epoch
    steps: Annotated[int, COUNT_OR_NONE] = 0
    norm_momentum: NormMomentum = "torch"
    optimizer: Optimizer = "sgd"  # adamw: momentum is its first beta, the second is 0.999
    warmup_epochs: Annotated[int, COUNT_OR_NONE] = 0  # over which a rate rises
    warmup_start: Annotated[float, CHANCE] = 0.0  # from this part of it
    rate_floor: Annotated[float, CHANCE] = 0.0  # the part of a rate that a cosine falls to
    layer_decay: Annotated[float, ABOVE_0] = 1.0  # of the rate, from each block of the backbone to the one before it
    decayed: Decayed = "all"  # by weight_decay; weights: no biases, norms, position embeddings or class tokens
    drop_path: Annotated[float, MOMENTUM] = 0.0  # of a transformer's last block; rises linearly from 0
    smoothing: Annotated[float, MOMENTUM] = 0.0  # of labels: what all classes share of a target
    # Of the beta distribution that says how two images are mixed, once for each of norm_groups; both: one or the other.
    mixup: Annotated[float, FROM_0] = 0.0
    cutmix: Annotated[float, FROM_0] = 0.0
    train_interpolation: Interpolation = "bilinear"  # of the training crops
    policy: Annotated[str, POLICY] = ""  # RandAugment by timm's name
    erasing: Annotated[float, CHANCE] = 0.0  # how often a rectangle of an image is noise
    repeats: Annotated[int, COUNT] = 1  # crops of an image that follow each other; an epoch has fewer images then
    drop_last: bool = False  # an epoch ends with its last whole batch

    @property
    def augmentation(self) -> Augmentation:
        """What is done to training images."""
        return Augmentation(interpolation=self.train_interpolation, policy=self.policy, erasing=self.erasing)

    @property
    def mixes(self) -> bool:
        """Say whether training images are each two."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def takes(self) -> Takes:
        """The trunk is trained, too."""
        return "training"

    @property
    def megabytes(self) -> float:
        """The network that is kept, for 1000 classes."""
        return 103.0

    @property
    def passing_megabytes(self) -> float:
        """Backbone, head, momentum; with adamw, which few ResNets see, those of a ViT-B."""
        return 1100.0 if self.optimizer == "adamw" else 300.0

    def rules(self) -> Iterator[tuple[str, str]]:
        """SGD's steps on a trained trunk need more than bfloat16's eight bits; Adam's are divided by their own size.

        Groups are of one size.
        """
        yield from super().rules()
        if self.optimizer == "adamw" and self.nesterov:
            yield "nesterov", "false where optimizer=adamw"
        if self.optimizer == "sgd" and self.precision == "bf16":
            yield "precision", "fp32 or tf32 where the backbone is trained by optimizer=sgd"
        if self.batch_size % self.norm_groups:
            yield "norm_groups", "a divisor of batch_size"
        if self.schedule == "steps" and self.warmup_epochs:
            yield "warmup_epochs", "0 where schedule=steps"
        if self.warmup_epochs >= self.epochs:
            yield "warmup_epochs", f"fewer than epochs={self.epochs}"


TrainedRecipe = ProbeRecipe | LayerProbeRecipe | FineTuningRecipe
