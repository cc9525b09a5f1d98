"""One trial with everything it works on, as the functions that measure the kinds are given it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from twinbench.convert.backbone import Backbone
from twinbench.data.items import ImageList
from twinbench.data.layouts import LabelledImages
from twinbench.data.samples import DRAWN, Samples
from twinbench.report.trial import Trial
from twinbench.runtime.distributed import meet
from twinbench.runtime.process import Process
from twinbench.transfer.cache import cached_features
from twinbench.transfer.features import require_spread
from twinbench.transfer.kept_heads import Head
from twinbench.transfer.options import SolverName

Fields = dict[str, Any]  # of a Result


@dataclass(frozen=True)
class Run:
    """One trial with everything it works on."""

    trial: Trial
    backbone: Backbone
    train: LabelledImages
    test: LabelledImages
    process: Process
    workers: int
    cache: Path  # the folder of features
    partial: bool = False
    solver: SolverName = "batched"  # of the SVM kinds
    samples: Samples | None = None  # low-shot: drawn by others; None: drawn from the seed
    samples_are: str = DRAWN  # where they come from, for the result
    validation: np.ndarray | None = None  # which training images an official split chooses a setting on, (N,) bool
    head: Head | None = None  # of a trial that trains nothing: the classifier that it tests
    passing: list[Path] = field(
        default_factory=list[Path]
    )  # what only a run that goes on needs, of no use beside a result

    @property
    def recipe(self) -> Any:
        """The recipe; each function below knows its own kind."""
        return self.trial.protocol.recipe

    def features(self, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the features (N, F) of both splits in the main process, None in the others.

        With `rows` (n,), places of training images, of the first split only theirs are extracted, (n, F).
        """
        images = self.train.paths if rows is None else self.train.paths.select(rows.tolist())
        train = self._features_of(images, "train features")
        test = self._features_of(self.test.paths, "test features")
        require_spread(train, "train features")
        require_spread(test, "test features")
        meet(self.process)  # all have found the features before any may finish and remove them
        return (train, test) if self.process.is_main else None

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
        """Return features and targets of the training images, then of the tests, where `features` returns any."""
        features = self.features()
        return features and (features[0], self.train.targets, features[1], self.test.targets)

    def _features_of(self, images: ImageList, what: str) -> np.ndarray:
        return cached_features(
            self.cache,
            self.backbone,
            images,
            self.recipe.features,
            process=self.process,
            workers=self.workers,
            what=what,
        )


def spread(fits: np.ndarray) -> dict[str, float]:
    """Tell one number of thousands of fits (P,) by three of them."""
    least, median, most = np.quantile(fits, (0, 0.5, 1), method="lower").tolist()
    return {"least": least, "median": median, "most": most}
