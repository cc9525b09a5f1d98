"""VOC07's 8,800 low-shot SVMs on the card: seconds of all that a trial does after its features."""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.gpu.figures import Figure, Place
from benchmarks.svm import ROWS, features
from twinbench.protocols.svm import VISSL_LOW_SHOT
from twinbench.runtime.precision import network_precision
from twinbench.transfer.lowshot import draw_samples, evaluate_low_shot
from twinbench.transfer.svm import choose_solver

TINY = replace(VISSL_LOW_SHOT, shots=(1, 2), samples=2)
TINY_PART = 8  # of the rows


def measure(place: Place) -> Iterator[Figure]:
    """Yield the seconds of a first and a second run, and the memory."""
    size, part, recipe = (64, TINY_PART, TINY) if place.rehearsal else (2048, 1, VISSL_LOW_SHOT)
    x, y = features(size, part)
    train, test = slice(ROWS[0] // part), slice(ROWS[0] // part, None)
    drawn = draw_samples(y[train], recipe.shots, recipe.samples, 0)
    solver = choose_solver("batched", recipe, device=place.device)

    def work() -> object:
        return evaluate_low_shot(x[train], y[train], x[test], y[test], drawn, recipe=recipe, solver=solver)

    name = f"lowshot, {len(drawn) * y.shape[1] * len(recipe.costs):,} fits, {size}-d"
    with network_precision("fp32", place.device):
        place.forget_peak()
        first = place.seconds(work)
        yield Figure(f"{name}: the first time", first, "s")
        yield Figure(name, place.seconds(work), "s")
    yield from place.memory(name)
