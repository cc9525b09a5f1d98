"""`inat18-svm` on the card with an eighth of its rows, 2048-d: what a class and a row cost, and the whole projected.

First with an eighth of the classes, then with all of them. The projection multiplies the cost per class and row behind
the set-up by all rows and classes; the set-up, which all classes share, grows with the rows. It is arithmetic, not a
measurement. Features as in benchmarks.inat.
"""

import time
from collections.abc import Iterator

from benchmarks.gpu.figures import Figure, Place
from benchmarks.inat import TEST_ROWS, WHOLE, features, noting_setup
from twinbench.protocols.svm import INAT_SVM
from twinbench.runtime.precision import network_precision
from twinbench.transfer.one_vs_rest import evaluate_one_vs_rest
from twinbench.transfer.svm import choose_solver

PART = 8
SIZES = ((WHOLE[0] // PART, WHOLE[1] // PART), (WHOLE[0] // PART, WHOLE[1]))  # rows, classes
TINY = ((600, 5), (600, 20))


def measure(place: Place) -> Iterator[Figure]:
    """Yield each size's seconds, then what the whole would take by it."""
    with network_precision("fp32", place.device):
        _seconds(place, *TINY[0])  # starts CUDA's libraries
        for rows, classes in TINY if place.rehearsal else SIZES:
            place.forget_peak()
            setup, rest = _seconds(place, rows, classes)
            name = f"inat, {rows:,} rows, {classes:,} classes"
            whole = setup * WHOLE[0] / rows + rest / (rows * classes) * WHOLE[0] * WHOLE[1]
            yield Figure(name, setup + rest, "s")
            yield Figure(f"{name}, of it set-up", setup, "s")
            yield from place.memory(name)
            yield Figure(
                f"inat, {WHOLE[0]:,} rows, {WHOLE[1]:,} classes, projected from {classes:,}", whole / 60, "min"
            )


def _seconds(place: Place, rows: int, classes: int) -> tuple[float, float]:
    """Return the seconds of the set-up, normalisation of the features included, and of all that follows."""
    x, y = features(rows + TEST_ROWS, classes)
    ended: list[float] = []

    def note() -> None:
        place.wait()
        ended.append(time.perf_counter())

    solver = noting_setup(choose_solver("batched", INAT_SVM, device=place.device), note)
    began = time.perf_counter()
    evaluate_one_vs_rest(x[:rows], y[:rows], x[rows:], y[rows:], classes=classes, recipe=INAT_SVM, solver=solver)
    place.wait()
    return ended[0] - began, time.perf_counter() - ended[0]
