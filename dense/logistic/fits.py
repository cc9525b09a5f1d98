"""Softmax regressions on a bank's patches, one for each penalty, kept so that a run that goes on has them.

    OUT/fits/NAME.npz   whose they are, and of each penalty weights (F, K), biases (K,), and how the solution ended

Solutions along the penalties begin where the last ones point, so what a kill leaves unfinished begins anew: then no
bit depends on it. The main process solves, and tells the others after each penalty.
Letters: N patches, F features, L pixels of a patch, K classes.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch

from twinbench.dense.nearest.bank import Bank, Moments, standardized
from twinbench.dense.nearest.votes import modes
from twinbench.dense.places import DenseError
from twinbench.dense.trial import FITS, Run
from twinbench.protocols.house import replacing
from twinbench.protocols.kinds.logistic import lambda_of
from twinbench.protocols.kinds.patches_logistic import PatchesLogisticRecipe
from twinbench.runtime.distributed import from_main
from twinbench.runtime.memory import free_memory
from twinbench.solver.softmax import Softmax
from twinbench.solver.softmax_fit import Fit
from twinbench.solver.softmax_rows import AxisRows

log = logging.getLogger(__name__)


def solver(run: Run) -> Softmax:
    """Return what solves a trial's regressions."""
    recipe: PatchesLogisticRecipe = run.recipe
    return Softmax(device=run.process.device, tolerance=recipe.tolerance)


def memory_short(run: Run, rows: int, width: int, *, told: str) -> str:
    """Log what regressions on so many patches take of memory; return in words that it is not there, or nothing."""
    needed, free = solver(run).peak_bytes(rows, width, len(run.data.classes)), free_memory(run.process.device)
    words = f"logistic regression on {told}{rows:,} patches of {width} numbers takes {needed / 1e9:.2f} GB of memory"
    there = "" if free is None else f", of which {free / 1e9:.2f} GB are free on {run.process.device}"
    log.info("%s%s", words, there)
    return words + there if free is not None and free < needed else ""


@dataclass(frozen=True)
class Fitting:
    """A trial's bank, and regressions on some of it."""

    run: Run
    bank: Bank
    moments: Moments | None
    rows: int  # of the bank
    width: int  # F

    def kept(self, name: str, pieces: int, penalties: Sequence[float]) -> list[Fit]:
        """Return the regressions on the first so many pieces, in the order of the penalties, those of the recipe.

        DenseError where there is nothing to learn, or no memory for regressions on the whole bank.
        """
        process, path = self.run.process, self.run.out / FITS / f"{name}.npz"
        owner = json.dumps(self.run.owner | {"penalties": list(penalties)})
        found = from_main(process, lambda: _read(path, owner))
        if found is None:
            solving = self._solved(pieces, penalties)
            by_penalty = dict(from_main(process, partial(next, solving)) for _ in penalties)
            found = [by_penalty[penalty] for penalty in penalties]
            if process.is_main:
                _write(path, owner, found)
        return found

    def _solved(self, pieces: int, penalties: Sequence[float]) -> Iterator[tuple[float, Fit]]:
        """Yield each penalty with its regression, the strongest first."""
        recipe: PatchesLogisticRecipe = self.run.recipe
        solve = solver(self.run)
        labels = torch.cat([modes(self.bank.labels(piece), self.classes) for piece in range(pieces)])
        there = len(labels.unique())
        if there < 2:
            raise DenseError(
                f"{self.bank.folder}: the {len(labels):,} patches that train show {there} class{'es' * (there != 1)}; "
                "expected two at least; use more training images, or a smaller --set every="
            )
        if short := memory_short(self.run, self.rows, self.width, told=""):
            raise DenseError(f"{short}; expected as much; use --set every= to train on fewer, or a larger machine")
        # Two classes have one column of weights there, which is the softmax of two at twice the penalty.
        columns = 2 if there == 2 else 1
        lambdas = {columns * lambda_of(recipe.penalty, penalty): penalty for penalty in penalties}
        rows = self._turned(solve, pieces, len(labels))
        for solution in solve.on(rows, labels, torch.ones(len(labels), 1), list(lambdas), self.classes):
            yield lambdas[solution.penalty], solution.fit(0)

    def _turned(self, solve: Softmax, pieces: int, count: int) -> AxisRows:
        """Return the rows as the solver takes them; they are read piece by piece into one array on its device."""
        features = torch.empty(count, self.width, device=solve.device)
        start = 0
        for piece in range(pieces):
            part = self.bank.features(piece).to(solve.device)
            part = part if self.moments is None else standardized(part, self.moments)
            features[start : start + len(part)] = part
            start += len(part)
        return solve.turned(features)

    @property
    def classes(self) -> int:
        """The classes of the data."""
        return len(self.run.data.classes)


def _read(path: Path, owner: str) -> list[Fit] | None:
    """Return the regressions of a file; None where it is not there, or another's."""
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        if str(arrays["owner"]) != owner:
            return None
        columns = [arrays[field.name] for field in fields(Fit)]
    return [
        Fit(w, b, float(gradient), int(steps), bool(done)) for w, b, gradient, steps, done in zip(*columns, strict=True)
    ]


def _write(path: Path, owner: str, fits: Sequence[Fit]) -> None:
    """Write regressions to a file."""
    arrays = {field.name: np.stack([getattr(fit, field.name) for fit in fits]) for field in fields(Fit)}
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, owner=np.array(owner), **arrays)  # type: ignore[arg-type]  # taken for `allow_pickle`
