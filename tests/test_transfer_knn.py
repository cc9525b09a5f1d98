import numpy as np
import pytest

from twinbench.transfer.knn import KnnError, knn_accuracy


def votes_by_loop(train_x, train_y, test_x, classes, k, temperature):
    """Return the votes (N, K) from the definition, one test image after the other."""
    votes = np.zeros((len(test_x), classes))
    for row, x in enumerate(test_x):
        cosine = train_x @ x / np.linalg.norm(train_x, axis=1) / np.linalg.norm(x)
        for j in np.argsort(-cosine)[:k]:
            votes[row, train_y[j]] += np.exp(cosine[j] / temperature)
    return votes


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_that_of_the_weighted_votes(seed):
    draw = np.random.default_rng(seed)
    train_x, test_x = (draw.normal(size=(n, 6)).astype(np.float32) for n in (80, 300))
    train_y, test_y = (draw.integers(0, 7, size=n) for n in (80, 300))
    found = knn_accuracy(train_x, train_y, test_x, test_y, neighbors=(3, 40), temperature=0.07, classes=7)
    for k in (3, 40):
        votes = votes_by_loop(train_x, train_y, test_x, 7, k, 0.07)
        assert found[f"top1-k{k}"] == pytest.approx(100 * np.mean(votes.argmax(1) == test_y))
    order = np.argsort(-votes_by_loop(train_x, train_y, test_x, 7, 40, 0.07), axis=1)[:, :5]
    assert found["top5-k40"] == pytest.approx(100 * np.mean((order == test_y[:, None]).any(1)))


def test_the_length_of_a_feature_does_not_matter():
    draw = np.random.default_rng(5)
    train_x, test_x = draw.normal(size=(40, 4)), draw.normal(size=(30, 4))
    y, z = draw.integers(0, 3, 40), draw.integers(0, 3, 30)
    first = knn_accuracy(train_x, y, test_x, z, neighbors=(5,), temperature=0.07, classes=3)
    longer = train_x * draw.uniform(0.5, 9.0, size=(40, 1))
    assert knn_accuracy(longer, y, test_x, z, neighbors=(5,), temperature=0.07, classes=3) == first


def test_a_near_neighbor_outvotes_two_far_ones():
    train_x, train_y = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), np.array([0, 1, 1])
    found = knn_accuracy(
        train_x, train_y, np.array([[1.0, 0.1]]), np.array([0]), neighbors=(3,), temperature=0.07, classes=2
    )
    assert found["top1-k3"] == 100.0


def test_votes_do_not_overflow_at_a_low_temperature():
    train_x, train_y = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.11]]), np.array([0, 1, 1])
    for seen, y in (([1.0, 0.0], 0), ([1.0, 0.1], 1)):
        found = knn_accuracy(
            train_x, train_y, np.array([seen]), np.array([y]), neighbors=(3,), temperature=1e-4, classes=2
        )
        assert found["top1-k3"] == 100.0


def test_more_neighbors_than_images_is_an_error_in_words():
    with pytest.raises(KnnError, match="20 neighbours among 4 training images"):
        knn_accuracy(
            np.ones((4, 2)), np.zeros(4), np.ones((1, 2)), np.zeros(1), neighbors=(20,), temperature=1, classes=2
        )
