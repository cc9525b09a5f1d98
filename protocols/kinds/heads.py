"""Many heads side by side: one frozen backbone, one pass over the images, a head for each feature, rate and decay.

The one that did best on a named split is reported.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.augmentation import Augmentation, Interpolation
from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import FEATURE, Takes, rows, takes
from twinbench.protocols.kinds.poolings import POOLING, pooling_form
from twinbench.protocols.kinds.sgd import NormMomentum
from twinbench.protocols.ranges import ABOVE_0, CHANCE, COUNT, COUNT_OR_NONE, FROM_0, MOMENTUM, Range

PATCH = 16  # pixels a side: most transformers', which tells what their tokens take on disk
PART = Range(lambda value: 0 <= value < 1, "a number of at least 0 and below 1")
BETAS = Range(
    lambda values: len(values) == 2 and all(map(MOMENTUM.holds, values)), "two numbers of at least 0 and below 1"
)
RATES = FROM_0.of_each("different numbers of at least 0, for example 0.001,0.01,0.1", different=True)

Optimizer = Literal["sgd", "adamw", "lars"]
TokenSet = Literal["patches", "class+patches", "patches-raw", "class+patches-raw"]
# What a backbone offers that offers all of several features: the first of these that is among what they take.
MOST: tuple[Takes, ...] = ("tokens", "maps", "patches", "pooled")


FEATURES = Range(lambda name: POOLING.holds(name) or FEATURE.holds(name), "").of_each(
    f"different names, each one of {FEATURE.words}; or a pooling's: {POOLING.words}", different=True
)


@dataclass(frozen=True)
class Head:
    """One of many: what it is fed, and how it is trained."""

    feature: str
    rate: float  # the recipe's own, before it is scaled by the batch
    decay: float


@dataclass(frozen=True, kw_only=True)
class HeadsRecipe(Recipe):
    """Classifiers on a frozen backbone, side by side: one for each feature, learning rate and weight decay.

    Their losses are added, so that none feels the others. All heads of one feature start from the same weights.
    """

    kind: ClassVar[str] = "heads"
    room: ClassVar[Room] = "transfer"
    measured_by: ClassVar[str] = "transfer.heads:measure_heads"
    leaves_head: ClassVar[bool] = True
    train_backbone: ClassVar[bool] = False
    accumulate: ClassVar[int] = 1
    norm_groups: ClassVar[int] = 1
    steps: ClassVar[int] = 0
    repeats: ClassVar[int] = 1
    drop_last: ClassVar[bool] = False
    smoothing: ClassVar[float] = 0.0
    mixes: ClassVar[bool] = False
    norm_momentum: ClassVar[NormMomentum] = "torch"

    transform: ImageTransform
    train_interpolation: Interpolation  # of training images: crops of 8 to 100 %, each mirrored half the time
    heads_on: Annotated[tuple[str, ...], FEATURES]  # names of features (kinds/forms.py), or of poolings (poolings.py)
    # that poolings take, of the last block; of a ResNet the places of res5's map, which has no class; raw: as the block
    # gives them, before the network's last norm
    tokens: TokenSet
    rates: Annotated[tuple[float, ...], RATES]
    decays: Annotated[tuple[float, ...], RATES]
    rate_per: Annotated[int, COUNT_OR_NONE]  # images of a batch that the rates are meant for; 0: the batch as it is
    optimizer: Optimizer
    momentum: Annotated[float, MOMENTUM]  # sgd, lars
    betas: Annotated[tuple[float, ...], BETAS]  # adamw
    epsilon: Annotated[float, FROM_0]  # adamw
    decays_bias: bool  # and what else has one axis: the scales of norms
    decay_left: Annotated[float, CHANCE]  # of the weight decay after the last step: it falls there by half a cosine
    clip: Annotated[float, FROM_0]  # the most that the norm of a head's gradient may be in a step; 0: any
    batch_size: Annotated[int, COUNT]  # global
    epochs: Annotated[int, COUNT]
    epoch_steps: Annotated[int, COUNT_OR_NONE]  # steps an epoch, over images shuffled anew without end; 0: all images
    # warm-up from 0, then half a cosine, by steps; met: the last steps of both have the whole rate, and none
    schedule: Literal["cosine", "cosine-met"]
    warmup_epochs: Annotated[float, FROM_0]
    head: Literal["linear", "standardized-linear"]  # standardized: by a batch norm without scale and shift of its own
    norm_epsilon: Annotated[float, ABOVE_0]  # of that batch norm
    head_init_std: Annotated[float, FROM_0]  # of a normal distribution, bias 0; 0: PyTorch's own draw, bias too
    chosen_on: Literal["test", "held-out"]  # test: the reported split itself
    chosen_epoch: Literal["last", "best"]  # best: heads are tested after every epoch, and the best epoch is chosen, too
    held_out: Annotated[float, PART]  # share of the training images that train nothing and choose
    draw: Literal["numpy-42", "trial"]  # of these: the last of numpy's permutation by default_rng(42), or of the seed's
    precision: Precision = "fp32"  # of the network; heads are float32

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One class an image."""
        return ("single-label",)

    @property
    def augmentation(self) -> Augmentation:
        """What is done to training images."""
        return Augmentation(interpolation=self.train_interpolation)

    @property
    def heads(self) -> tuple[Head, ...]:
        """All heads in the order in which the first of equals is chosen."""
        return tuple(Head(*each) for each in product(self.heads_on, self.rates, self.decays))

    def alone(self, head: Head) -> "HeadsRecipe":
        """Return the recipe of one of its heads."""
        return replace(self, heads_on=(head.feature,), rates=(head.rate,), decays=(head.decay,))

    @property
    def scale(self) -> float:
        """What the rates are multiplied by for the batch."""
        return self.batch_size / self.rate_per if self.rate_per else 1.0

    def metrics(self) -> tuple[str, ...]:
        """Return the accuracies of the chosen head, behind those of the head that is chosen of each feature alone."""
        each = tuple(f"-{name}" for name in self.heads_on) if len(self.heads_on) > 1 else ()
        return tuple(f"{accuracy}{name}" for accuracy in ("top5", "top1") for name in (*each, ""))

    def rules(self) -> Iterator[tuple[str, str]]:
        """What chooses is the test split, or a part of the training images. Training crops are Pillow's."""
        if self.chosen_on == "test" and self.held_out:
            yield "held_out", "0 where chosen_on=test"
        if self.chosen_on == "held-out" and not self.held_out:
            yield "held_out", "a number above 0 where chosen_on=held-out"
        if self.warmup_epochs >= self.epochs:
            yield "warmup_epochs", f"fewer than epochs={self.epochs}"
        if self.transform.backend != "pillow":
            yield "transform.backend", "pillow"

    @property
    def with_class(self) -> bool:
        """Whether the class token is among the tokens that poolings take."""
        return self.tokens.startswith("class")

    @property
    def takes(self) -> Takes:
        """What a backbone must offer to have all features."""
        of_poolings: Takes = "tokens" if self.with_class else "patches"
        wanted: set[Takes] = {of_poolings if POOLING.holds(name) else takes(name) for name in self.heads_on}
        most: list[Takes] = [each for each in MOST if each in wanted]
        return most[0] if most else "pooled"

    @property
    def test_features(self) -> Features | None:
        """None that must be there: see `tested_rows`."""
        return None

    @property
    def tested_rows(self) -> Features | None:
        """What heads are fed of the images that they are tested on, where that is after every epoch."""
        if self.chosen_epoch == "last":
            return None
        side = self.transform.crop // PATCH
        poolings = [name for name in self.heads_on if POOLING.holds(name)]
        places = sum(rows(name) for name in self.heads_on if name not in poolings)
        places += side**2 + self.with_class if poolings else 0
        names = dict.fromkeys(f"tokens of {self.tokens}" if name in poolings else name for name in self.heads_on)
        return Features(self.transform, " beside ".join(names), self.precision, places)

    def tested_images(self, train: int, test: int) -> int:
        """Return how many images are tested: those held out, too."""
        return test + round(self.held_out * train)

    @property
    def shares_test_features(self) -> bool:
        """What is kept of the test images is the same in every epoch and for every seed."""
        return self.tested_rows is not None

    def length(self, classes: int) -> tuple[str, int]:
        """Return its log's count of epochs."""
        return "epoch", self.epochs

    @property
    def megabytes(self) -> float:
        """The head that is kept, at most."""
        return max(map(_megabytes, self.heads_on))

    @property
    def passing_megabytes(self) -> float:
        """Heads of 2,048 numbers to 1,000 classes for each row of a feature, and what the optimizer keeps of each.

        A pooling's matrices are 2,048 by 2,048.
        """
        return (
            sum(map(_megabytes, self.heads_on))
            * len(self.rates)
            * len(self.decays)
            * (3 if self.optimizer == "adamw" else 2)
        )


def _megabytes(feature: str) -> float:
    """Return what a head on a feature takes, of a network that is 2,048 wide, for 1,000 classes."""
    pooling = pooling_form(feature)
    return 8.2 * rows(feature) + (16.8 * pooling.products if pooling else 0.0)
