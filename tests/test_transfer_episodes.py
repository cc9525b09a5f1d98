"""Few-shot episodes: the nearest class mean, drawn again and again."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import NearestCentroid
from torchvision import transforms

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.transfer.episodes import EpisodesError, _accuracy, evaluate_episodes
from twinbench.transfer.transforms import evaluation_transform

RECIPE = PROTOCOLS["few-shot-5way-5shot"].recipe


def blobs(each=25, classes=7, features=6, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    return (rng.normal(0, 2, (classes, features))[y] + rng.normal(0, spread, (len(y), features))).astype(np.float32), y


def test_an_episode_is_scikit_learns_nearest_centroid():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5, 20, 6)) + rng.normal(0, 1, (5, 1, 6))
    model = NearestCentroid().fit(features[:, :5].reshape(25, 6), np.repeat(range(5), 5))
    expected = 100 * model.score(features[:, 5:].reshape(75, 6), np.repeat(range(5), 15))
    assert _accuracy(features, 5) == pytest.approx(expected)


def test_classes_far_apart_are_told_apart_and_equal_ones_by_chance():
    x, y = blobs(spread=0.01)
    assert evaluate_episodes(x, y, classes=7, recipe=RECIPE, seed=0).top1 == 100
    noise = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    found = evaluate_episodes(noise, y, classes=7, recipe=RECIPE, seed=0)
    assert found.top1 == pytest.approx(20, abs=3)
    assert found.interval == pytest.approx(1.96 * found.deviation / 600**0.5)


def test_a_seed_draws_the_same_episodes_again_and_another_others():
    x, y = blobs(spread=4.0)
    first, again, other = (evaluate_episodes(x, y, classes=7, recipe=RECIPE, seed=seed).top1 for seed in (0, 0, 1))
    assert first == again != other


def test_classes_with_too_few_images_are_left_out_and_named():
    x, y = blobs()
    keep = (y != 3) | (np.arange(len(y)) % 25 < 19)
    found = evaluate_episodes(x[keep], y[keep], classes=8, recipe=RECIPE, seed=0)
    assert found.left_out == (3, 7)


def test_too_few_classes_are_refused():
    x, y = blobs(classes=4)
    with pytest.raises(EpisodesError, match=r"4 of 4 classes have 5 \+ 15 images; expected at least 5; use --set"):
        evaluate_episodes(x, y, classes=4, recipe=RECIPE, seed=0)
    x[0, 0] = np.inf
    with pytest.raises(EpisodesError, match="NaN or infinity"):
        evaluate_episodes(x, y, classes=4, recipe=dataclasses.replace(RECIPE, ways=2), seed=0)


def test_both_sides_are_scaled_and_the_centre_is_cropped():
    """As ssl-transfer's datasets/few_shot_dataset.py: to 257 a side, then 224 of the middle."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8))
    steps = [transforms.Resize([257, 257]), transforms.CenterCrop(224), transforms.PILToTensor()]
    assert evaluation_transform(RECIPE.transform)(image).equal(transforms.Compose(steps)(image))


def test_opencv_scales_both_sides_too():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8))
    found = evaluation_transform(dataclasses.replace(RECIPE.transform, backend="opencv"))(image)
    assert tuple(found.shape) == (3, 224, 224)
