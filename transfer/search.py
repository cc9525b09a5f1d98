"""Fine-tuning at every pair of a grid on the training images that are not held out, then at the best one on all.

What a pair reached is on disk as soon as it is known, and a training that was killed goes on from its own checkpoint:
the same command, started again, ends with the same numbers. Test images are seen by the last training alone.
"""

import json
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from twinbench.data.layouts import LabelledImages
from twinbench.protocols.house import replacing
from twinbench.protocols.kinds.search import FineTuningSearchRecipe
from twinbench.protocols.text import read_json
from twinbench.runtime.distributed import from_main
from twinbench.runtime.progress import JsonLog, bar
from twinbench.transfer.held_out import held_out
from twinbench.transfer.objectives import Objective, OneClass, SeveralClasses
from twinbench.transfer.probe import STATE, Probe, ProbeOutcome
from twinbench.transfer.probe_checks import DivergedError, ProbeError
from twinbench.transfer.run import Fields, Run

TRIED = "tried.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tried:
    """A pair of the grid, and what it reached."""

    lr: float
    weight_decay: float  # the number in the recipe's list
    value: float | None  # percent, on the images held out; None: it diverged


def measure_search(run: Run) -> Fields | None:
    """Run a search and the last training; the details hold every pair that was tried."""
    recipe: FineTuningSearchRecipe = run.recipe
    share = run.trial.protocol.data_set.validation_share
    held = held_out(run.train.targets, recipe, run.validation, share, run.trial.seed)
    search = Search(run, held)
    tried = search.try_all()
    chosen = best(tried)
    outcome = search.train_on_all(chosen)
    if not run.process.is_main:
        return None
    reached = {lr: [pair.value for pair in tried if pair.lr == lr and pair.value is not None] for lr in recipe.lrs}
    by_rate = [[lr, max(values)] for lr, values in reached.items() if values]
    return {
        "metrics": outcome.metrics,
        "curves": {"on images held out, by rate": by_rate, "loss": outcome.curves["loss"]},
        "details": {
            "lr": chosen.lr,
            "weight_decay": chosen.weight_decay,
            "weight_decay_is": recipe.decays_are,
            "tried": [list(astuple(pair)) for pair in tried],
            "diverged": sum(pair.value is None for pair in tried),
            "held_out": int(held.sum()),
            "held_out_by": "an official split" if held is run.validation else "a draw",
        },
    }


def best(tried: Sequence[Tried]) -> Tried:
    """Return the first of the pairs that reached most; ProbeError where all diverged."""
    ended = [pair for pair in tried if pair.value is not None]
    if not ended:
        raise ProbeError(
            f"{len(tried)} of {len(tried)} pairs of lrs and weight_decays diverge; expected one that does not; try "
            "smaller ones with --set lrs=..., or look at the backbone"
        )
    return max(ended, key=lambda pair: pair.value or 0.0)


class Search:
    """The trainings of a trial, numbered from 1 in the grid's order; the last one is on all training images."""

    def __init__(self, run: Run, held: np.ndarray) -> None:
        """Take which training images are held out, (N,) bool."""
        self.run, self.out = run, run.trial.out
        self.recipe: FineTuningSearchRecipe = run.recipe
        self.log = JsonLog(self.out / "log.jsonl" if run.process.is_main else None)
        self.fitted, self.held = run.train.part(~held), run.train.part(held)
        run.passing.extend([self.out / TRIED, self._folder(self.recipe.trainings) / STATE])

    def try_all(self) -> list[Tried]:
        """Return what every pair reached, those of an earlier start from its file."""
        tried = from_main(self.run.process, self._known)
        for number in range(1, len(tried) + 1):  # a kill may have come before the last one's was removed
            self._remove(number)
        self.log.cut("training", len(tried) + 1)
        grid = self.recipe.grid
        for lr, decay in bar(grid[len(tried) :], what="trainings", total=len(grid), start=len(tried)):
            number = len(tried) + 1
            tried.append(Tried(lr, decay, self._reached(number, lr, decay)))
            if self.run.process.is_main:
                with replacing(self.out / TRIED) as beside:
                    pairs = [astuple(pair) for pair in tried]
                    beside.write_text(json.dumps({"identity": self.run.trial.description, "tried": pairs}))
            self.log.write(training=number, **vars(tried[-1]))
            self._remove(number)
        return tried

    def train_on_all(self, chosen: Tried) -> ProbeOutcome:
        """Return what the chosen pair reaches on the test images when it is trained on all others."""
        number = self.recipe.trainings
        try:
            outcome = self._train(number, chosen.lr, chosen.weight_decay, self.run.train, self.run.test)
        except DivergedError:
            outcome = None
        if outcome is None or not all(map(math.isfinite, outcome.metrics.values())):
            raise ProbeError(
                f"{self.out}: lr {chosen.lr:g} and weight decay {chosen.weight_decay:g} were best on the images held "
                "out, and diverge on all; leave the largest rates out of --set lrs=..."
            )
        return outcome

    def _known(self) -> list[Tried]:
        """Return what an earlier start has found; ProbeError if it was another trial."""
        path = self.out / TRIED
        if not path.exists():
            return []
        content = read_json(path)
        if content["identity"] != self.run.trial.description:
            raise ProbeError(
                f"{path}: belongs to {content['identity']}, but this is {self.run.trial.description}; choose another "
                "OUT or remove it"
            )
        return [Tried(*pair) for pair in content["tried"]]

    def _reached(self, number: int, lr: float, decay: float) -> float | None:
        """Return the headline, in percent, on the images held out; None where the loss or the scores are no numbers."""
        try:
            outcome = self._train(number, lr, decay, self.fitted, self.held)
        except DivergedError as error:
            log.info("training %d of %d: %s", number, self.recipe.trainings, error)
            return None
        value = outcome.metrics[self.run.trial.protocol.metric]
        return value if math.isfinite(value) else None

    def _train(self, number: int, lr: float, decay: float, train: LabelledImages, test: LabelledImages) -> ProbeOutcome:
        """Run a training, or what is left of it."""
        run = self.run
        batches = math.ceil(len(train.paths) / self.recipe.batch_size)
        return Probe(
            run.backbone,
            self.recipe.training(lr, decay, math.ceil(self.recipe.steps / batches)),
            train,
            test,
            identity=f"{run.trial.description}, training {number}: lr {lr}, weight decay {decay}",
            out=self._folder(number),
            cache=run.cache,
            seed=run.trial.seed,
            process=run.process,
            workers=run.workers,
            objective=self._objective(len(train.classes)),
        ).run()

    def _objective(self, classes: int) -> Objective:
        if self.run.train.targets.ndim == 1:
            return OneClass(classes)
        return SeveralClasses(classes, self.recipe.class_losses, self.recipe.ignored)

    def _folder(self, number: int) -> Path:
        """Return the folder of a training: its log, and its checkpoint until its value is kept."""
        return self.out / f"training-{number}"

    def _remove(self, number: int) -> None:
        """Remove what a training that has its value would have gone on from."""
        if self.run.process.is_main:
            shutil.rmtree(self._folder(number), ignore_errors=True)
