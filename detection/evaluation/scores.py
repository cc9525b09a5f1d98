"""What an evaluation finds, and the curves that every rule draws alike."""

from dataclasses import dataclass, field

import numpy as np

RECALLS = np.linspace(0, 1, 101)  # at which curves are drawn; also COCO's own thresholds


@dataclass
class Scores:
    """What an evaluation found. Metrics are percent; `notes` say what a reader must know about them."""

    metrics: dict[str, float] = field(default_factory=dict[str, float])
    per_class: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])  # metric -> class -> %
    curves: dict[str, list[list[float]]] = field(default_factory=dict[str, list[list[float]]])  # [recall, precision]
    notes: list[str] = field(default_factory=list[str])


def nothing_found(measure: str) -> str:
    """Return the note of an evaluation that no box, mask or keypoint reached: an AP of 0 alone says less."""
    return f"no {measure} was detected at all: AP is 0"


def curve(precision: np.ndarray) -> list[list[float]]:
    """Return [recall, precision] pairs of a (101,) mean precision."""
    return [[round(float(x), 2), round(float(y), 4)] for x, y in zip(RECALLS, precision, strict=True)]
