"""How well a classifier's confidence is its accuracy: the expected calibration error, and one temperature for it.

Letters: N images, K classes, B bins. Sources: Guo et al., arXiv:1706.04599; ssl-transfer's temperature_scaling.py,
which calls netcal's ECE and TemperatureScaling.
"""

import numpy as np

HIGHEST = 1e3  # temperature; where even that is too low the scores say nothing of the classes
STEPS = 200  # of Newton's method or, where that would leave its bracket, of halving
ENOUGH = 1e-12  # relative, of the inverse temperature


def calibration_error(confidence: np.ndarray, hits: np.ndarray, bins: int) -> float:
    """Return the expected calibration error in [0, 1] of confidences (N,) in [0, 1] and whether each was right (N,).

    Bins of confidence are equally wide, from their lower end up to but without their upper one, the last with it; each
    adds how far its mean confidence is from its accuracy, times its share of the images.
    """
    places = np.minimum((confidence.astype(np.float64) * bins).astype(np.int64), bins - 1)  # (N,)
    surplus = np.bincount(places, confidence, bins) - np.bincount(places, hits, bins)  # (B,), summed
    return float(np.abs(surplus).sum() / len(confidence))


def probabilities(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the softmax (N, K), float64, of scores (N, K) that are divided by the temperature."""
    scaled = scores.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def fitted_temperature(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature of least cross-entropy for scores (N, K) of images with classes (N,), HIGHEST at most.

    With b = 1 / temperature the mean loss is mean(log sum_k exp(b s_k) - b s_target): convex in b, its slope the mean
    of E[s] - s_target and its curvature the mean variance of s under the softmax. Newton's steps, kept in a bracket.
    """
    scores = scores.astype(np.float64)
    right = scores[np.arange(len(scores)), targets]  # (N,)
    low, high = 1 / HIGHEST, 1.0
    if _slope(scores, right, low)[0] >= 0:
        return HIGHEST
    while _slope(scores, right, high)[0] < 0:
        if high > HIGHEST:  # every image right by any margin: the surer the better
            return 1 / high
        low, high = high, 2 * high
    inverse = (low + high) / 2
    for _ in range(STEPS):
        slope, curvature = _slope(scores, right, inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) <= ENOUGH * inverse:
            break
        inverse = following
    return 1 / inverse


def _slope(scores: np.ndarray, right: np.ndarray, inverse: float) -> tuple[float, float]:
    """Return the first and second derivative of the mean loss by the inverse temperature."""
    weights = probabilities(scores, 1 / inverse)
    mean = (weights * scores).sum(1)  # (N,)
    variance = (weights * np.square(scores - mean[:, None])).sum(1)
    return float((mean - right).mean()), float(variance.mean())


def folds_of(images: int, folds: int, seed: int) -> list[np.ndarray]:
    """Return `folds` parts of equal size of the places of `images`, drawn as ssl-transfer draws them.

    What does not divide evenly is in none of them, and is measured in no fold.
    """
    order = np.arange(images)
    np.random.RandomState(seed).shuffle(order)
    size = images // folds
    return [order[size * fold : size * (fold + 1)] for fold in range(folds)]


def scaled_error(
    scores: np.ndarray, targets: np.ndarray, *, bins: int, folds: int, seed: int
) -> tuple[float, list[float]]:
    """Return the calibration error in [0, 1] after a temperature, and the temperatures.

    Each is fitted on one of the `folds` of the images, scores (N, K) and classes (N,), and measured on the others; the
    error is the mean over folds.
    """
    parts = folds_of(len(scores), folds, seed)
    errors: list[float] = []
    temperatures: list[float] = []
    for fold, fitted in enumerate(parts):
        others = np.concatenate([part for index, part in enumerate(parts) if index != fold])
        temperature = fitted_temperature(scores[fitted], targets[fitted])
        chances = probabilities(scores[others], temperature)
        hits = chances.argmax(1) == targets[others]
        errors.append(calibration_error(chances.max(1), hits, bins))
        temperatures.append(temperature)
    return float(np.mean(errors)), temperatures
