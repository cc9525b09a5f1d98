"""A trained or released classifier on images that only test it: accuracies, and how well its confidence fits them.

What is kept of an image is whether the first and whether one of the first five answers is right, and how sure the first
one is; where temperatures are fitted, all its scores, too. A run that is killed loses a block of images at most every
SAVE_SECONDS, and goes on to the same numbers.

Letters: N images, B of a block, K outputs, C those that count. Sources: timm's validate.py, data/real_labels.py.
"""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from twinbench.convert import files
from twinbench.convert.inputs import Inputs
from twinbench.data.layouts import LabelledImages
from twinbench.protocols.house import UserError
from twinbench.protocols.kinds.tested import CorruptionTestRecipe, HeadTestRecipe
from twinbench.runtime.distributed import meet, summed
from twinbench.runtime.loading import batches_of
from twinbench.runtime.precision import network_precision
from twinbench.runtime.process import Process
from twinbench.runtime.progress import bar
from twinbench.runtime.shared import is_there
from twinbench.runtime.stopping import StopAsked, Stopper
from twinbench.transfer.cache import BLOCK, CPU_BLOCK
from twinbench.transfer.calibration import calibration_error, scaled_error
from twinbench.transfer.class_maps import outputs_of
from twinbench.transfer.classifier import OnTrunk
from twinbench.transfer.features import batches, feature_loader
from twinbench.transfer.run import Fields, Run

STATE = "tested.pth"
SAVE_SECONDS = 300  # between two states
TOP1, TOP5, SURE = range(3)  # columns of what is kept of an image


class RobustError(UserError):
    """A test that cannot be made or gone on with as asked."""


def judged(scores: Tensor, answers: Tensor) -> Tensor:
    """Return for each image whether its first answer is right, whether one of five is, and its probability (B, 3).

    `scores` are (B, C); `answers` classes (B,), or (B, C) with 1 for each that is right. Probabilities are among C.
    """
    best = scores.topk(min(5, scores.shape[1]), dim=1).indices  # (B, 5)
    hits = best == answers[:, None] if answers.ndim == 1 else answers.gather(1, best) == 1
    sure = scores.double().softmax(1).amax(1)
    return torch.stack([hits[:, 0].float(), hits.any(1).float(), sure.float()], 1)


class HeadTest:
    """One pass of the test images through a classifier, gone on with from `out/tested.pth` if that is there."""

    def __init__(
        self,
        network: nn.Module,
        test: LabelledImages,
        columns: np.ndarray,
        recipe: HeadTestRecipe,
        *,
        identity: str,
        out: Path,
        inputs: Inputs,
        process: Process | None = None,
        workers: int = 0,
    ) -> None:
        """Prepare the pass; `columns` (C,) are the outputs that stand for the classes of `test`."""
        self.process = process or Process()
        self.network = network.to(self.process.device).to(memory_format=torch.channels_last).eval()
        self.test, self.recipe, self.workers, self.inputs = test, recipe, workers, inputs
        self.columns = torch.as_tensor(columns)
        self.identity, self.path = identity, out / STATE
        self.block = CPU_BLOCK if self.process.device == "cpu" else BLOCK
        self.done = 0
        self.rows = torch.zeros(len(test.paths), 3)
        kept = len(test.paths) if recipe.folds else 0
        self.scores = torch.zeros(kept, len(columns))

    @torch.inference_mode()
    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what is kept of each image (N, 3), and its scores (N, C) or, where nothing is fitted, none (0, C).

        StopAsked for a run that was told to stop and has saved its state.
        """
        self._restore()
        blocks = range(self.done, len(self.test.paths), self.block)
        saved = time.monotonic()
        with (
            bar(blocks, what="test", unit="block") as starts,
            Stopper(self.process.world, self.process.device) as stop,
            closing(self._scored(blocks)) as scored,
        ):
            for start in starts:
                self._judge(start, scored)
                if stop.agreed_now():
                    self._save()
                    meet(self.process)  # torchrun ends all when the first one leaves
                    raise StopAsked(f"stopped after image {self.done} of {len(self.rows)}; state in {self.path}")
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save()
                    saved = time.monotonic()
        return self.rows.numpy(), self.scores.numpy()

    def _batches(self, start: int) -> list[Sequence[int]]:
        """Return this process's part of a block of images, in batches, none of which reaches into the next block."""
        end = min(start + self.block, len(self.rows))
        return batches(range(start + self.process.rank, end, self.process.world), self.process.device)

    def _judge(self, start: int, scored: Generator[tuple[Tensor, Tensor]]) -> None:
        """Judge a block of images, each process its own part of it, by the next of all that is `scored`."""
        end = min(start + self.block, len(self.rows))
        rows = torch.zeros(end - start, 3)
        scores = torch.zeros(end - start, self.scores.shape[1]) if self.recipe.folds else None
        for found, places in islice(scored, len(self._batches(start))):
            rows[places - start] = judged(found, torch.as_tensor(self.test.targets[places.numpy()]))
            if scores is not None:
                scores[places - start] = found
        self.rows[start:end] = summed(rows, self.process)
        if scores is not None:
            self.scores[start:end] = summed(scores, self.process)
        self.done = end

    def _scored(self, starts: Sequence[int]) -> Generator[tuple[Tensor, Tensor]]:
        """Yield scores (B, C), float32, and the places (B,) of this process's images in the blocks at `starts`.

        By loaders that begin once: each time costs a second, and a block takes half a minute.
        """
        order = [batch for start in starts for batch in self._batches(start)]
        loader = feature_loader(self.test.paths, self.recipe.transform, self.process.device, self.workers, order)
        for pixels, places in batches_of(loader):
            found = self.network(self.inputs(pixels)).float().cpu()[:, self.columns]
            if not found.isfinite().all():
                raise RobustError("the classifier's scores are not finite; expected numbers: is its file damaged?")
            yield found, places

    def _save(self) -> None:
        if self.process.is_main:
            files.save(
                {"identity": self.identity, "done": self.done, "rows": self.rows, "scores": self.scores}, self.path
            )

    def _restore(self) -> None:
        """Go on from the state, if there is one of this very test."""
        if not is_there(self.path, self.process):
            return
        state: Any = files.load(self.path)
        if state.get("identity") != self.identity:
            raise RobustError(
                f"{self.path}: belongs to {state.get('identity')}, but this is {self.identity}; choose another OUT or "
                "remove it"
            )
        self.done, self.rows, self.scores = state["done"], state["rows"], state["scores"]


def measure_head(run: Run) -> Fields | None:
    """Test a classifier that is there already."""
    head, recipe = run.head, run.recipe
    assert head is not None, "a test of a head without one"
    columns = outputs_of(run.test.classes, head.classes, head.outputs)
    groups = _groups(run) if isinstance(recipe, CorruptionTestRecipe) else None  # before the pass: it may fail
    run.passing.append(run.trial.out / STATE)
    network = head.build(run.backbone)
    test = HeadTest(
        network,
        run.test,
        columns,
        recipe,
        identity=f"{run.trial.description}, head {head.sha256[:12]}",
        out=run.trial.out,
        inputs=Inputs(run.backbone.convention, run.process.device),
        process=run.process,
        workers=run.workers,
    )
    # As in the head's own trial: once its bf16 was set around all, and a frozen trunk's float32 head computed in it.
    surrounding, has_norm = (network.surrounding, network.has_norm) if isinstance(network, OnTrunk) else ("fp32", True)
    with network_precision(surrounding, run.process.device, exact_products=has_norm):
        rows, scores = test.run()
    if not run.process.is_main:
        return None
    found = _accuracies(rows) if groups is None else _corrupted(rows, groups, recipe)
    found["details"] |= head.details | {"head_outputs_that_count": len(columns)}
    _add_calibration(found, rows, scores, run)
    return found | {"precision": head.precision}


def _accuracies(rows: np.ndarray) -> Fields:
    """Return the accuracies over all images, of rows (N, 3)."""
    return {"metrics": {"top5": _percent(rows[:, TOP5]), "top1": _percent(rows[:, TOP1])}, "details": {}}


def _percent(hits: np.ndarray) -> float:
    """Return how many of some images are hits (N,), 0 or 1 each."""
    return 100 * float(hits.sum(dtype=np.float64)) / len(hits)


def _add_calibration(found: Fields, rows: np.ndarray, scores: np.ndarray, run: Run) -> None:
    """Add the calibration errors of rows (N, 3) and scores (N, C), each as what it leaves of 100."""
    recipe: HeadTestRecipe = run.recipe
    error = 100 * calibration_error(rows[:, SURE], rows[:, TOP1], recipe.bins)
    found["metrics"]["100-ece"] = 100 - error
    found["details"]["ece"] = error
    if not recipe.folds:
        return
    if len(scores) < recipe.folds:
        raise RobustError(f"{len(scores)} images for folds={recipe.folds}; expected one in each fold; use more images")
    scaled, temperatures = scaled_error(
        scores, run.test.targets, bins=recipe.bins, folds=recipe.folds, seed=run.trial.seed
    )
    found["metrics"]["100-ece-scaled"] = 100 - 100 * scaled
    found["details"] |= {"ece_scaled": 100 * scaled, "temperatures": temperatures}


def _groups(run: Run) -> dict[tuple[str, int], np.ndarray]:
    """Return the places of the images of each corruption and severity; RobustError unless they are the recipe's."""
    recipe: CorruptionTestRecipe = run.recipe
    places: dict[tuple[str, int], list[int]] = {}
    for index in range(len(run.test.paths)):
        name = run.test.paths.name(index)
        corruption, severity, *rest = (*name.split("/"), "")
        if not rest[1:] or not severity.isdecimal():
            raise RobustError(f"{name}: expected images as <corruption>/<severity>/<class>/NAME, as ImageNet-C's")
        places.setdefault((corruption, int(severity)), []).append(index)
    there = {corruption for corruption, _ in places}
    if there != set(recipe.corruptions):
        odd = sorted(there ^ set(recipe.corruptions))
        raise RobustError(
            f"{len(there)} corruptions, and {run.trial.protocol.name} is about {len(recipe.corruptions)}; {odd[0]} is "
            f"only {'there' if odd[0] in there else 'expected'}; add its folder, or name those that are there: "
            f"--set corruptions={','.join(sorted(there))} --set reference_errors="
        )
    return {group: np.array(rows) for group, rows in sorted(places.items())}


def _corrupted(rows: np.ndarray, groups: dict[tuple[str, int], np.ndarray], recipe: CorruptionTestRecipe) -> Fields:
    """Return the means over corruptions and severities, of rows (N, 3), and the mean corruption error beside them."""
    top1: dict[str, dict[int, float]] = {}
    top5: list[float] = []
    for (corruption, severity), places in groups.items():
        top1.setdefault(corruption, {})[severity] = _percent(rows[places, TOP1])
        top5.append(_percent(rows[places, TOP5]))
    every = [value for by_severity in top1.values() for value in by_severity.values()]
    severities = sorted({severity for _, severity in groups})
    curve: list[list[float]] = []
    for severity in severities:
        those = [by_severity[severity] for by_severity in top1.values() if severity in by_severity]
        curve.append([severity, float(np.mean(those))])
    details: dict[str, Any] = {
        "top1_by_corruption_and_severity": {name: list(by.values()) for name, by in top1.items()}
    }
    if recipe.reference_errors:
        details["mce"] = mean_corruption_error(top1, recipe)
    metrics = {"top5": float(np.mean(top5)), "top1": float(np.mean(every))}
    return {"metrics": metrics, "curves": {"top1 by severity": curve}, "details": details}


def mean_corruption_error(top1: dict[str, dict[int, float]], recipe: CorruptionTestRecipe) -> float:
    """Return the mCE, in percent of AlexNet's errors, of accuracies by corruption and severity in percent.

    100 is AlexNet, less is better. The error of a corruption is the mean over its severities.
    """
    relative: list[float] = []
    for corruption, reference in zip(recipe.corruptions, recipe.reference_errors, strict=True):
        error = 100 - float(np.mean(list(top1[corruption].values())))
        relative.append(error / reference)
    return float(np.mean(relative))
