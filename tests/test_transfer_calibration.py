"""Calibration: the error is a plain loop's, the temperature scipy's minimiser's, and the folds are ssl-transfer's."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from twinbench.transfer.calibration import (
    HIGHEST,
    calibration_error,
    fitted_temperature,
    folds_of,
    probabilities,
    scaled_error,
)


def plain_error(confidence, hits, bins):
    """Guo et al.'s formula, bin by bin."""
    total = 0.0
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        inside = [i for i, sure in enumerate(confidence) if low <= sure < high or (place == bins - 1 and sure == 1)]
        if inside:
            accuracy = sum(hits[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


def drawn(seed=0, images=400, classes=7, spread=4.0):
    draw = np.random.default_rng(seed)
    scores = draw.normal(0, spread, (images, classes)).astype(np.float32)
    targets = np.where(draw.random(images) < 0.6, scores.argmax(1), draw.integers(0, classes, images))
    return scores, targets


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_is_a_plain_loop_s(seed, bins):
    scores, targets = drawn(seed)
    chances = softmax(scores.astype(np.float64), 1)
    confidence, hits = chances.max(1), chances.argmax(1) == targets
    assert calibration_error(confidence, hits, bins) == pytest.approx(plain_error(confidence, hits, bins), abs=1e-12)


def test_a_known_error():
    """Two images at .9, one of them right: .4 over half the images; two at .6, both right: .4 over the other half."""
    assert calibration_error(np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 0, 1, 1]), 10) == pytest.approx(0.4)


def test_errors_of_one_bin_cancel():
    assert calibration_error(np.array([0.7, 0.3]), np.array([0, 1]), 1) == pytest.approx(0)


def test_to_be_always_sure_and_right_is_no_error():
    assert calibration_error(np.ones(5), np.ones(5), 15) == 0


def test_to_be_always_sure_and_wrong_is_all_error():
    assert calibration_error(np.ones(5), np.zeros(5), 15) == 1


def test_probabilities_do_not_overflow():
    assert probabilities(np.array([[1e4, 0.0]])).tolist() == [[1, 0]]


def loss(scores, targets, temperature):
    return -log_softmax(scores.astype(np.float64) / temperature, 1)[np.arange(len(targets)), targets].mean()


@pytest.mark.parametrize("spread", [0.5, 4.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_is_scipy_s(seed, spread):
    scores, targets = drawn(seed, spread=spread)
    found = minimize_scalar(
        lambda inverse: loss(scores, targets, 1 / inverse),
        bounds=(1e-3, 20),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert fitted_temperature(scores, targets) == pytest.approx(1 / found.x, rel=1e-5)


def test_scores_that_are_the_chances_need_no_temperature():
    """Labels drawn from the softmax itself: the temperature is 1 but for the draw."""
    draw = np.random.default_rng(0)
    scores = draw.normal(0, 2, (20000, 5))
    chances = softmax(scores, 1).cumsum(1)
    targets = (draw.random((20000, 1)) > chances).sum(1)
    assert fitted_temperature(scores, targets) == pytest.approx(1, abs=0.03)


def test_scores_that_are_ten_times_too_sure_are_divided_by_ten():
    scores, targets = drawn(spread=1.0)
    assert fitted_temperature(10 * scores, targets) == pytest.approx(10 * fitted_temperature(scores, targets), rel=1e-4)


def test_scores_that_say_the_opposite_are_flattened_out():
    scores, _ = drawn()
    assert fitted_temperature(scores, scores.argmin(1)) == HIGHEST


def test_scores_that_are_always_right_are_trusted():
    scores, _ = drawn()
    assert fitted_temperature(scores, scores.argmax(1)) < 0.1


def test_the_folds_are_ssl_transfer_s():
    """np.random.seed(0), a list shuffled in place, parts of a fifth; what is over is in none."""
    indices = list(range(23))
    np.random.RandomState(0).shuffle(indices)
    expected = [indices[place : place + 4] for place in range(0, 20, 4)]
    assert [part.tolist() for part in folds_of(23, 5, 0)] == expected


def test_the_scaled_error_is_measured_on_other_images_than_the_temperature():
    scores, targets = drawn()
    parts = folds_of(400, 5, 3)
    errors = []
    for fold in range(5):
        others = np.concatenate([part for index, part in enumerate(parts) if index != fold])
        chances = softmax(
            scores[others].astype(np.float64) / fitted_temperature(scores[parts[fold]], targets[parts[fold]]), 1
        )
        errors.append(plain_error(chances.max(1), chances.argmax(1) == targets[others], 15))
    found, _ = scaled_error(scores, targets, bins=15, folds=5, seed=3)
    assert found == pytest.approx(np.mean(errors), abs=1e-10)


def test_each_fold_has_its_temperature():
    scores, targets = drawn()
    _, temperatures = scaled_error(scores, targets, bins=15, folds=5, seed=0)
    expected = [fitted_temperature(scores[part], targets[part]) for part in folds_of(400, 5, 0)]
    assert temperatures == pytest.approx(expected)
