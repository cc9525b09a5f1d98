"""VOC07's 880 linear SVMs on the card: seconds of all that a trial does after its features, and of its parts.

Features as in benchmarks.svm. The first run also starts CUDA's libraries; those after it are what a suite pays for
each further checkpoint. The parts are measured apart: the principal axes of the rows, all fits along the costs, and
what is left, which is the processor's (folds, normalisation, APs).
"""

import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.gpu.figures import TIMES, Figure, Place
from benchmarks.svm import MOST_MAP, ROWS, features
from twinbench.protocols.svm import VISSL_SVM
from twinbench.runtime.precision import network_precision
from twinbench.transfer.svm import choose_solver, cross_validation, evaluate_svm, normalized

GOAL_S = 1.0
REPEATS = 3
SIZES, TINY, TINY_PART = (2048, 8192), (64, 96), 16  # features; of the rows

Arrays = Sequence[np.ndarray]


def measure(place: Place) -> Iterator[Figure]:
    """Yield 2048-d with its parts and beside the processor, then 8192-d."""
    small, large = TINY if place.rehearsal else SIZES
    with network_precision("fp32", place.device):
        arrays = _arrays(small, place)
        yield from _whole(place, arrays, GOAL_S)
        yield from _parts(place, arrays)
        yield from _beside_processor(place, arrays)
        yield from _whole(place, _arrays(large, place), None)


def _arrays(size: int, place: Place) -> Arrays:
    """Return features and targets of training and test images."""
    part = TINY_PART if place.rehearsal else 1
    x, y = features(size, part)
    train = ROWS[0] // part
    return x[:train], y[:train], x[train:], y[train:]


def _whole(place: Place, arrays: Arrays, goal: float | None) -> Iterator[Figure]:
    """Yield the seconds of the protocol on these features, and the memory."""
    name = f"svm, 880 fits, {arrays[0].shape[1]}-d"

    def work() -> object:
        return evaluate_svm(*arrays, costs=VISSL_SVM.costs, device=place.device)

    place.forget_peak()
    first = place.seconds(work)
    spent = [place.seconds(work) for _ in range(1 if place.rehearsal else REPEATS)]
    yield Figure(name, statistics.median(spent), "s", most=goal)
    yield Figure(f"{name}: the first time", first, "s")
    yield from place.memory(name)


def _parts(place: Place, arrays: Arrays) -> Iterator[Figure]:
    """Yield the seconds that the card's parts take."""
    train_x, train_y, test_x, _ = arrays
    problems, _ = cross_validation(train_y, VISSL_SVM)
    train, test = (normalized(x, VISSL_SVM.normalize_epsilon) for x in (train_x, test_x))
    machine = choose_solver("batched", VISSL_SVM, device=place.device)
    setup = place.seconds(lambda: machine(train, test))
    solve = machine(train, test)
    fits = place.seconds(lambda: list(solve(problems, sorted(VISSL_SVM.costs))))
    name = f"svm, 880 fits, {train_x.shape[1]}-d"
    yield Figure(f"{name}, of it principal axes", setup, "s")
    yield Figure(f"{name}, of it fits and scores", fits, "s")


def _beside_processor(place: Place, arrays: Arrays) -> Iterator[Figure]:
    """Yield how much faster the card is than this machine's processor, and how far apart the two mAPs are."""
    found: dict[str, float] = {}

    def work(device: str) -> None:
        found[device] = evaluate_svm(*arrays, costs=VISSL_SVM.costs, device=device).mean_ap

    card, processor = (place.seconds(lambda device=device: work(device)) for device in (place.device, "cpu"))
    name = f"svm, 880 fits, {arrays[0].shape[1]}-d"
    yield Figure(f"{name}: faster", processor / card, TIMES, of="the batched solver on all cores")
    yield Figure(
        f"{name}: mAP apart from the processor's", abs(found[place.device] - found["cpu"]), "points", most=MOST_MAP
    )
