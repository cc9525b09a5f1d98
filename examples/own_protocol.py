"""A kind of recipe of your own, and a protocol of that kind: the class whose mean feature is nearest.

twinbench data make scenes
twinbench transfer digits-mean random scenes/imagenet results/mean --protocols own_protocol.py
"""

from dataclasses import dataclass

import numpy as np

from twinbench.protocols.datasets import DataSet
from twinbench.protocols.kinds.base import Features, ImageTransform, Precision, Recipe
from twinbench.protocols.schema import Protocol


def measure(run):
    """Return the fields of the result; features are arrays (N, F), extracted by `run` with progress and resuming."""
    train, test = run.features()
    labels = run.train.targets
    means = np.stack([train[labels == label].mean(axis=0) for label in range(len(run.train.classes))])
    distances = ((test[:, None] - means) ** 2).sum(axis=2)
    return {"metrics": {"top1": 100 * float((distances.argmin(axis=1) == run.test.targets).mean())}}


@dataclass(frozen=True, kw_only=True)
class MeanRecipe(Recipe):
    """Nearest class mean; each field can move the number, so each is part of the fingerprint."""

    kind = "class-mean"
    room = "transfer"
    tasks = ("single-label",)
    measured_by = staticmethod(measure)
    transform: ImageTransform
    precision: Precision = "fp32"  # of the network

    @property
    def features(self):
        """Say which frozen features `run.features()` gives: equal ones are extracted once for all protocols."""
        return Features(self.transform, pooling="gap", precision=self.precision)

    def metrics(self):
        """Return the names of its numbers, the headline last."""
        return ("top1",)


KINDS = (MeanRecipe,)
DATA_SETS = (DataSet("digits", MeanRecipe.tasks, classes=10),)
PROTOCOLS = (
    Protocol(
        name="digits-mean",
        version=1,
        title="Digits, nearest class mean",
        recipe=MeanRecipe(transform=ImageTransform(resize=96, crop=96, shape="center-crop")),
        data_set=DATA_SETS[0],
        metric="top1",
        selected_on="nothing",
        trials=1,
        source="ours",
        width=0.25,  # of `random`, as in the demo's protocols
    ),
)
