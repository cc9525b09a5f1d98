"""What each kind of recipe does in a trial, from images to the fields of its result."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twinbench.convert.load import Backbone
from twinbench.data.layouts import LabelledImages
from twinbench.protocols.house import UserError
from twinbench.protocols.schema import KnnRecipe, ProbeRecipe, SvmRecipe
from twinbench.report.trial import Trial
from twinbench.runtime.distributed import meet
from twinbench.runtime.process import Process
from twinbench.transfer.cache import cached_features
from twinbench.transfer.knn import knn_accuracy
from twinbench.transfer.lowshot import draw_pooled, draw_samples, evaluate_low_shot
from twinbench.transfer.one_vs_rest import evaluate_one_vs_rest
from twinbench.transfer.probe import Probe
from twinbench.transfer.samples import DRAWN, PUBLISHED, Samples, TargetsError, fitting, read_samples, samples_sha256
from twinbench.transfer.svm import SvmError, choose_solver, evaluate_svm

Solver = Literal["batched", "liblinear"]


class HeadlineError(UserError):
    """Settings under which the protocol's headline metric is not measured."""


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
    list_sha256: str = ""  # of the list of training images, where there is one

    def measure(self, solver: Solver, targets: Path | None) -> dict[str, Any] | None:
        """Run the recipe; return the result's fields in the main process and None in the others."""
        recipe = self.trial.protocol.recipe
        if targets and not (isinstance(recipe, SvmRecipe) and recipe.shots):
            raise TargetsError(f"--targets {targets}: {self.trial.protocol.name} draws no samples; leave it out")
        if isinstance(recipe, ProbeRecipe):
            found = self._probe(recipe)
            return found if self.process.is_main else None
        assert isinstance(recipe, SvmRecipe | KnnRecipe), "a protocol of this room has one of three recipes"
        self._require_headline(recipe)
        samples = self._samples(recipe, targets) if isinstance(recipe, SvmRecipe) and recipe.shots else None
        pooling = recipe.pooling if isinstance(recipe, SvmRecipe) else "gap"
        train = self._features(self.train, recipe, pooling, "train features")
        test = self._features(self.test, recipe, pooling, "test features")
        meet(self.process)  # all have found the features before any may finish and remove them
        if not self.process.is_main:
            return None
        if isinstance(recipe, KnnRecipe):
            return self._knn(recipe, train, test)
        if samples:
            found = self._low_shot(recipe, train, test, samples[0], solver)
            return found | {"details": found["details"] | samples[1]}
        if self.train.targets.ndim == 1:
            return self._one_vs_rest(recipe, train, test, solver)
        return self._svm(recipe, train, test, solver)

    def _require_headline(self, recipe: SvmRecipe | KnnRecipe) -> None:
        """Raise HeadlineError if the numbers of images or neighbours were changed so that the headline is missing."""
        sizes = recipe.shots if isinstance(recipe, SvmRecipe) else recipe.neighbors
        headline = self.trial.protocol.metric
        if sizes and headline.rpartition("-k")[2] not in map(str, sizes):
            setting = "shots" if isinstance(recipe, SvmRecipe) else "neighbors"
            raise HeadlineError(
                f"--set {setting}={','.join(map(str, sizes))}: gives no {headline}, the protocol's headline; "
                f"keep {headline.rpartition('-k')[2]} among them"
            )

    def _features(self, images: LabelledImages, recipe: SvmRecipe | KnnRecipe, pooling: str, what: str) -> np.ndarray:
        """Return the features (N, F) of one split."""
        return cached_features(
            self.cache,
            self.backbone,
            images.paths,
            recipe.transform,
            pooling,
            process=self.process,
            workers=self.workers,
            what=what,
            precision=recipe.precision,
        )

    def _svm(self, recipe: SvmRecipe, train: np.ndarray, test: np.ndarray, solver: Solver) -> dict[str, Any]:
        """Run a linear-SVM recipe; the details hold every class's cost and AP.

        On a partial data set, classes too small for the folds or absent from the test split are left out and named.
        """
        enough = np.ones(len(self.train.classes), dtype=bool)
        if self.partial:
            enough = (self.train.targets == 1).sum(0) >= max(1, recipe.folds)
            enough &= (self.test.targets == 1).any(0)
        if not enough.any():
            raise SvmError(
                f"0 of {len(enough)} classes have enough images in both splits; expected at least one with "
                f"{max(1, recipe.folds)} positive training images and one of test; add images"
            )
        found = evaluate_svm(
            train,
            self.train.targets[:, enough],
            test,
            self.test.targets[:, enough],
            costs=recipe.costs,
            folds=recipe.folds,
            solver=solver,
            positive_weight=recipe.positive_weight,
            tolerance=recipe.tolerance,
            max_iterations=recipe.max_iterations,
            normalize_epsilon=recipe.normalize_epsilon,
            ignored_in_training=recipe.ignored_in_training,
            ignored_at_test=recipe.ignored_at_test,
            test_ap=recipe.test_ap,
            seed=self.trial.seed,
            device=self.process.device,
        )
        per_class = {"ap": found.ap, "cost": found.cost, "iterations": found.iterations, "gradient": found.gradient}
        names = [name for name, kept in zip(self.train.classes, enough, strict=True) if kept]
        details: dict[str, Any] = {
            name: dict(zip(names, values.tolist(), strict=True)) for name, values in per_class.items()
        }
        details |= {"solver": solver, "costs": list(found.costs), "test_ap": found.test_ap.round(4).tolist()}
        if not enough.all():
            details["classes_left_out"] = sorted(set(self.train.classes) - set(names))
        if recipe.folds:
            details["cv_ap"] = found.cv_ap.round(4).tolist()
        return {"metrics": {"mAP": found.mean_ap}, "converged": found.converged, "details": details}

    def _samples(self, recipe: SvmRecipe, path: Path | None) -> tuple[Samples, dict[str, str]]:
        """Return the low-shot samples, read or drawn from the trial's seed, and what the result says of them."""
        if path is None:
            draw = draw_pooled if recipe.sampling == "pooled" else draw_samples
            drawn = draw(self.train.targets, recipe.shots, recipe.samples, self.trial.seed, self.train.classes)
            return drawn, {"samples": DRAWN, "samples_sha256": samples_sha256(drawn)}
        if recipe.sampling == "pooled":
            raise TargetsError(
                f"--targets {path}: {self.trial.protocol.name} draws for all classes together, and files hold samples "
                "class by class; leave it out"
            )
        held = read_samples(path)
        sha256 = samples_sha256(held)
        told = {"samples": "published" if sha256 == PUBLISHED else "from a file", "samples_sha256": sha256}
        return fitting(held, path, self.train, recipe.shots, recipe.samples), told

    def _low_shot(
        self,
        recipe: SvmRecipe,
        train: np.ndarray,
        test: np.ndarray,
        samples: dict[tuple[int, int], np.ndarray],
        solver: Solver,
    ) -> dict[str, Any]:
        """Run a low-shot recipe: mAP by k as published, and at a cost that the test set had no say in."""
        machine = choose_solver(
            solver,
            recipe.positive_weight,
            recipe.tolerance,
            recipe.max_iterations,
            self.trial.seed,
            self.process.device,
        )
        found = evaluate_low_shot(
            train,
            self.train.targets,
            test,
            self.test.targets,
            samples,
            costs=recipe.costs,
            solver=machine,
            positive_weight=recipe.positive_weight,
            normalize_epsilon=recipe.normalize_epsilon,
            ignored_in_training=recipe.ignored_in_training,
            ignored_at_test=recipe.ignored_at_test,
            test_ap=recipe.test_ap,
        )
        metrics = {f"mAP-k{k}": shot.mean for k, shot in found.items()}
        metrics |= {f"mAP-heldout-k{k}": shot.heldout_mean for k, shot in found.items()}
        return {
            "metrics": metrics,
            "curves": {"mAP by images per class": [[k, shot.mean, shot.deviation] for k, shot in found.items()]},
            "converged": all(shot.converged for shot in found.values()),
            "details": {"solver": solver, "by_k": {str(k): asdict(shot) for k, shot in found.items()}},
        }

    def _one_vs_rest(self, recipe: SvmRecipe, train: np.ndarray, test: np.ndarray, solver: Solver) -> dict[str, Any]:
        """Run an SVM recipe on images of one class each."""
        (cost,) = recipe.costs
        numbers = recipe.positive_weight, recipe.tolerance, recipe.max_iterations, self.trial.seed
        machine = choose_solver(solver, *numbers, self.process.device)
        found = evaluate_one_vs_rest(
            train,
            self.train.targets,
            test,
            self.test.targets,
            classes=len(self.train.classes),
            cost=cost,
            solver=machine,
            positive_weight=recipe.positive_weight,
            normalize_epsilon=recipe.normalize_epsilon,
            out=self.trial.out,
            identity=f"{self.trial.description}, {solver} solver",
        )
        return {
            "metrics": {"top1": found.top1, "top5": found.top5},
            "converged": found.converged,
            "details": {
                "solver": solver,
                "cost": cost,
                "iterations": _spread(found.iterations),
                "gradient": _spread(found.gradient),
                "not_converged": found.not_converged,
            },
        }

    def _knn(self, recipe: KnnRecipe, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        """Run a nearest-neighbours recipe."""
        metrics = knn_accuracy(
            train,
            self.train.targets,
            test,
            self.test.targets,
            neighbors=recipe.neighbors,
            temperature=recipe.temperature,
            classes=len(self.train.classes),
            device=self.process.device,
        )
        return {"metrics": metrics, "curves": {"top1": [[k, metrics[f"top1-k{k}"]] for k in recipe.neighbors]}}

    def _probe(self, recipe: ProbeRecipe) -> dict[str, Any]:
        """Run a linear probe or a fine-tuning recipe; its checkpoint and log lie beside the result."""
        outcome = Probe(
            self.backbone,
            recipe,
            self.train,
            self.test,
            identity=self.trial.description + (f", list {self.list_sha256[:12]}" if self.list_sha256 else ""),
            out=self.trial.out,
            cache=self.cache,
            seed=self.trial.seed,
            process=self.process,
            workers=self.workers,
        ).run()
        return {"metrics": outcome.metrics, "curves": outcome.curves, "details": outcome.details}


def _spread(fits: np.ndarray) -> dict[str, float]:
    """Tell one number of thousands of fits (P,) by three of them."""
    least, median, most = np.quantile(fits, (0, 0.5, 1), method="lower").tolist()
    return {"least": least, "median": median, "most": most}
