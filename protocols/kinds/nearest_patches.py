"""The kinds of segmentation by nearest patches: the labels of a frozen backbone's most similar training patches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe, Room, Task
from twinbench.protocols.kinds.forms import Takes
from twinbench.protocols.ranges import (
    ABOVE_0,
    CHANCE,
    COUNT,
    COUNT_OR_NONE,
    HUE,
    JITTER,
    NEIGHBORS,
    SIDE,
    Range,
)

DISTANCES = Range(
    lambda values: bool(values) and set(values) <= {"cosine", "l2"} and len(set(values)) == len(values),
    "cosine, l2 or both",
)
GRAIN = 16  # ViT-B/16: pixels a side of a patch
PLACE = 4 * 768 + GRAIN**2  # and its bytes in a bank: features, and the class of each pixel
ADE20K_IMAGES = 20_210  # that train
PART = Range(lambda value: 0 < value < 1, "a number above 0 and below 1")

Search = Literal["exact", "faiss"]  # what finds the nearest; the same ones
Unlabelled = Literal[
    "class-0",  # they are of the first class
    "own-class",  # they are of one more class, which may be predicted and has an IoU
    "left-out",  # they are no part of a patch's label, and a patch of nothing else is not taken
]


@dataclass(frozen=True, kw_only=True)
class PatchesRecipe(Recipe):
    """What all have in common: images stretched to a square of whole patches, counted at that size."""

    room: ClassVar[Room] = "dense"
    augments: ClassVar[bool] = False  # its training images

    side: Annotated[int, SIDE]  # of the square, in pixels; rounded down to whole patches
    interpolation: Literal["bilinear", "bicubic"]  # Pillow's, antialiased, of images that are stretched
    # which old pixel a pixel of stretched labels is: that in which its upper left corner lies, or its centre
    label_point: Literal["corner", "centre"]
    blocks: Annotated[int, COUNT]  # last blocks, or stages, whose maps lie side by side, at the size of the first
    precision: Precision  # of the network; what is computed from its features is float32

    @property
    def tasks(self) -> tuple[Task, ...]:
        """It learns a class a pixel."""
        return ("pixels",)

    @property
    def takes(self) -> Takes:
        """The patches of the last block, or the places of the last stage."""
        return "patches"

    @property
    def shares_test_features(self) -> bool:
        """Patches of test images are those of any trial that stretches them to the same square."""
        return True

    @property
    def tested_rows(self) -> Features:
        """The patches that a cache keeps, of a transformer with patches of GRAIN pixels."""
        transform = ImageTransform(0, self.side, "squash", self.interpolation)
        return Features(transform, "patches", self.precision, self.blocks * (self.side // GRAIN) ** 2)

    def tested_images(self, train: int, test: int) -> int:
        """Return how many images it keeps patches of: all but those that it augments."""
        return test if self.augments else test + train

    @property
    def passing_megabytes(self) -> float:
        """The bank of ADE20K's images in a suite, where their features are in the cache: labels and places there."""
        return (self.side // GRAIN) ** 2 * ADE20K_IMAGES * (GRAIN**2 + 8) / 1e6


@dataclass(frozen=True, kw_only=True)
class NearestPatchesRecipe(PatchesRecipe):
    """Hummingbird's retrieval: a bank of training patches with the shares of classes in each, attended to by cosines.

    scores of a patch = sum over its k nearest of softmax(cosine / temperature) * shares of classes
    """

    kind: ClassVar[str] = "nearest-patches"
    takes_search: ClassVar[bool] = True
    measured_by: ClassVar[str] = "dense.nearest.trial:measure_nearest"
    augments: ClassVar[bool] = True

    scale: Annotated[tuple[float, ...], JITTER]  # area of a training image's random part over the image's; none: all
    jitter: Annotated[float, HUE]  # most that brightness, contrast, saturation and hue are changed by
    jitter_chance: Annotated[float, CHANCE]  # of each of the four
    augmentation_epochs: Annotated[int, COUNT]  # passes over the training images, each augmented anew
    # patches in the bank, an equal number of each image and pass: those whose classes are rarest in the image, times
    # uniform noise; 0: all
    memory_size: Annotated[int, COUNT_OR_NONE]
    unlabelled: Unlabelled  # what the bank makes of pixels without a label
    neighbors: Annotated[int, COUNT]  # k
    temperature: Annotated[float, ABOVE_0]

    def metrics(self) -> tuple[str, ...]:
        """Return accuracies and mean IoUs; the last is the headline.

        mIoU-matched is the source's: before it is counted, predicted classes are matched to true ones so that the sum
        of IoUs is the highest, and a class without pixels counts as 0.
        """
        return ("aAcc", "mAcc", "mIoU-matched", "mIoU")

    def rules(self) -> Iterator[tuple[str, str]]:
        """What belongs to one another."""
        if len(self.scale) not in (0, 2):
            yield "scale", "the least and the largest area, for example 0.5,2, or nothing"
        if self.jitter and not self.jitter_chance:
            yield "jitter_chance", "a number above 0 where jitter is above 0"
        if self.memory_size and self.memory_size < self.neighbors:
            yield "memory_size", f"0 (all patches), or at least neighbors={self.neighbors}"

    @property
    def passing_megabytes(self) -> float:
        """The bank, of ViT-B/16; a trial tells its own before it makes it."""
        return self.memory_size * PLACE / 1e6


@dataclass(frozen=True, kw_only=True)
class NearestPatchesGridRecipe(PatchesRecipe):
    """CAPI's k-NN: the nearest among all training patches vote, for each pixel of a patch, with their own pixel there.

    k and distance are chosen by mIoU on training images that are held out, with the others as neighbours; then these
    are neighbours, too. Patches most of whose pixels have no label are none. Of classes with equal votes the lower one
    comes first, and before all of them that a pixel has no label.
    """

    kind: ClassVar[str] = "nearest-patches-grid"
    takes_search: ClassVar[bool] = True
    measured_by: ClassVar[str] = "dense.nearest.grid:measure_grid"

    neighbors: Annotated[tuple[int, ...], NEIGHBORS]
    distances: Annotated[tuple[str, ...], DISTANCES]
    # each feature less its mean, over its deviation, of all patches of the images that are not held out
    standardize: bool
    held_out: Annotated[float, PART]  # share of the training images that choose, drawn by the trial's seed

    def metrics(self) -> tuple[str, ...]:
        """Return accuracy over pixels, its mean over classes, and the mean IoU: the headline."""
        return ("aAcc", "mAcc", "mIoU")
