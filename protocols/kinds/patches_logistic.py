"""The kind of segmentation by logistic regression on a frozen backbone's patches."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from twinbench.protocols.kinds.logistic import Penalty
from twinbench.protocols.kinds.nearest_patches import PART, PatchesRecipe
from twinbench.protocols.ranges import COSTS, COUNT, FROM_0


@dataclass(frozen=True, kw_only=True)
class PatchesLogisticRecipe(PatchesRecipe):
    """CAPI's logistic regression: a softmax of a patch's features with an L2 penalty, biases free, to its minimum.

    A patch's class is that of most of its pixels; of classes with equally many the lower one, and before all of them
    that there is no label: such patches train nothing. What is answered for a patch is answered for all of its pixels.
    Each penalty is tried on training images without those held out; the one with the best mIoU there is used once more
    on all of them. Where patches show two classes alone there is one column of weights, as in cuML and scikit-learn.
    """

    kind: ClassVar[str] = "patches-logistic"
    measured_by: ClassVar[str] = "dense.logistic.trial:measure_logistic"

    penalties: Annotated[tuple[float, ...], COSTS]  # in the order that they are tried; the first of equal ones is taken
    penalty: Penalty  # what these numbers are
    tolerance: Annotated[float, FROM_0]  # ends at such a length of the gradient over that at zero
    # each feature less its mean, over its deviation, of all patches of the images that are not held out
    standardize: bool
    held_out: Annotated[float, PART]  # share of the training images that choose, drawn by the trial's seed
    # of the training patches, image by image and row by row, each so-manieth one trains, counted before those without
    # a label are left out; take one that shares no factor with the patches of a row, or it takes the same columns
    every: Annotated[int, COUNT]

    def metrics(self) -> tuple[str, ...]:
        """Return accuracy over pixels, its mean over classes, and the mean IoU: the headline."""
        return ("aAcc", "mAcc", "mIoU")

    @property
    def passing_megabytes(self) -> float:
        """Of the bank as much as it takes; the fits are small beside it."""
        return super().passing_megabytes / self.every
