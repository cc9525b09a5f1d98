"""Which of many heads is reported: the split that chooses, the choice, and what a result tells of all of them.

Everything is a function of the history of a training, whose epochs hold, where they were tested, each head's mean loss
(`losses`) and by split its `top1` and `top5` in percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from twinbench.data.validation import drawn
from twinbench.protocols.kinds.heads import HeadsRecipe
from twinbench.transfer.probe_checks import DivergedError

HELD_OUT, TEST = "held-out", "test"  # splits, as `chosen_on` has them
History = Sequence[dict[str, Any]]
Values = list[float | None]  # one a head; None: it has diverged


def chooses(images: int, recipe: HeadsRecipe, seed: int) -> np.ndarray:
    """Return which training images train nothing and choose a head, (images,) bool; DataError for all or none."""
    if recipe.chosen_on == TEST:
        return np.zeros(images, bool)
    order = np.random.default_rng(42 if recipe.draw == "numpy-42" else seed).permutation(images)
    return drawn(images, images - round((1 - recipe.held_out) * images), order[::-1])


@dataclass(frozen=True)
class Choice:
    """The head and the epoch that did best on the split that chooses."""

    head: int  # its place among the recipe's
    epoch: int  # counted from 1
    top1: float  # there, percent


def choose(history: History, split: str, heads: Sequence[int]) -> Choice | None:
    """Return the best of some `heads` on a split by the epochs' history, the first of equals; None: all diverged."""
    best: Choice | None = None
    for epoch in history:
        for head in heads:
            top1 = epoch[split]["top1"][head] if split in epoch else None
            if top1 is not None and (best is None or top1 > best.top1):
                best = Choice(head, epoch["epoch"], top1)
    return best


def numbers(values: Tensor) -> Values:
    """Return values (H,) as plain numbers; None where one is not finite."""
    return [value if np.isfinite(value) else None for value in values.tolist()]


class Chosen:
    """The head that is reported, the one of each feature, and what became of all."""

    def __init__(self, recipe: HeadsRecipe, history: History, where: str) -> None:
        """Choose; DivergedError, which names `where`, if no head of a feature can be chosen."""
        self.recipe, self.history, self.where = recipe, history, where
        self.best = self._best_on(*recipe.heads_on)
        self.by_feature = {name: self._best_on(name) for name in recipe.heads_on}

    def _best_on(self, *features: str) -> Choice:
        """Return the best head on some features."""
        places = [place for place, head in enumerate(self.recipe.heads) if head.feature in features]
        found = choose(self.history, self.recipe.chosen_on, places)
        if found is None or self._of(found, "top1") is None:
            raise DivergedError(
                f"{self.where}: the heads on {', '.join(features)} have diverged, all {len(places)}; use lower --set "
                "rates"
            )
        return found

    def _of(self, choice: Choice, accuracy: str) -> Any:
        """Return what a chosen head has on the test images."""
        return self.history[choice.epoch - 1][TEST][accuracy][choice.head]

    def metrics(self) -> dict[str, float]:
        """Return the recipe's metrics, percent."""
        found: dict[str, float] = {}
        for name in self.recipe.metrics():
            accuracy, _, feature = name.partition("-")
            found[name] = self._of(self.by_feature[feature] if feature else self.best, accuracy)
        return found

    def details(self) -> dict[str, Any]:
        """Return the choices, and of the epoch of the first of them each head's loss and accuracies."""
        epoch = self.history[self.best.epoch - 1]
        heads: list[dict[str, Any]] = []
        for place, head in enumerate(self.recipe.heads):
            told = {"feature": head.feature, "rate": head.rate, "decay": head.decay, "loss": epoch["losses"][place]}
            for split in (HELD_OUT, TEST):
                if split in epoch:
                    told[split] = [epoch[split][accuracy][place] for accuracy in ("top1", "top5")]
            heads.append(told)
        return {
            "chosen": self._told(self.best),
            "chosen_by_feature": [self._told(choice) for choice in self.by_feature.values()],
            "heads": heads,
        }

    def _told(self, choice: Choice) -> dict[str, Any]:
        """Return a choice as a result keeps it."""
        head = self.recipe.heads[choice.head]
        chosen = {"feature": head.feature, "rate": head.rate, "decay": head.decay}
        return chosen | {"epoch": choice.epoch, "top1": choice.top1}

    def curves(self) -> dict[str, list[list[float]]]:
        """Return the loss by epochs, and of each feature the best top-1 of each rate, where the choice was made."""
        recipe = self.recipe
        found = {"loss": [[epoch["epoch"], epoch["loss"]] for epoch in self.history]}
        values: Values = self.history[self.best.epoch - 1][recipe.chosen_on]["top1"]
        for name in recipe.heads_on:
            best: dict[float, float] = {}
            for head, top1 in zip(recipe.heads, values, strict=True):
                if head.feature == name and top1 is not None:
                    best[head.rate] = max(top1, best.get(head.rate, 0.0))
            found[f"{name} by rate on {recipe.chosen_on} images"] = [[rate, top1] for rate, top1 in best.items()]
        return found
