import numpy as np
import pytest

from twinbench.transfer.knn import KnnError, _normalized, knn_accuracy


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


def test_a_class_without_a_vote_is_no_answer():
    """Ten images with every label, all of whose neighbours are of class 0: one of them is right, at any k."""
    train_x, test_x = np.eye(8)[:3], np.eye(8)[[0] * 10]
    found = knn_accuracy(train_x, np.zeros(3), test_x, np.arange(10), neighbors=(1, 2, 3), temperature=0.07, classes=10)
    assert found == {f"top{n}-k{k}": 10.0 for k in (1, 2, 3) for n in (1, 5)}


def test_a_vote_that_rounds_to_nothing_is_a_vote():
    train_x, train_y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    found = knn_accuracy(
        train_x, train_y, np.array([[1.0, 0.0]]), np.array([1]), neighbors=(2,), temperature=1e-4, classes=9
    )
    assert found == {"top1-k2": 0.0, "top5-k2": 100.0}


@pytest.mark.parametrize("seed", range(3))
def test_top_5_is_dinos_first_min_5_k_classes(seed):
    """Of k neighbours of k classes, as many votes as DINO's `correct.narrow(1, 0, min(5, k))` counts."""
    draw = np.random.default_rng(seed)
    train_x, test_x = draw.normal(size=(30, 6)), draw.normal(size=(200, 6))
    test_y = draw.integers(0, 30, size=200)
    ks = (1, 2, 4, 5, 9)
    found = knn_accuracy(train_x, np.arange(30), test_x, test_y, neighbors=ks, temperature=0.07, classes=30)
    for k in ks:
        order = np.argsort(-votes_by_loop(train_x, np.arange(30), test_x, 30, k, 0.07), axis=1)
        hits = (order == test_y[:, None])[:, : min(5, k)].any(1)
        assert found[f"top5-k{k}"] == pytest.approx(100 * hits.mean())
    assert found["top5-k1"] == found["top1-k1"]


GOOD = {"train_x": np.eye(4), "train_y": np.arange(4), "test_x": np.eye(4)[:2], "test_y": np.arange(2)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"neighbors": (2, 20)}, "2, 20 neighbours among 4 training images"),
        ({"neighbors": (0,)}, "0 neighbours among 4 training images"),
        ({"train_x": np.full((4, 4), np.nan)}, "train: features with NaN or infinity"),
        ({"test_x": np.full((2, 4), np.inf)}, "test: features with NaN or infinity"),
        ({"test_y": np.array([0, 4])}, "test: labels from 0 to 4; expected class indices from 0 to 3"),
        ({"train_y": np.array([0, 1, 2, -1])}, "train: labels from -1 to 2"),
        ({"train_y": np.arange(3)}, r"train: features \(4, 4\) and labels \(3,\)"),
        ({"test_x": np.empty((0, 4)), "test_y": np.empty(0)}, r"test: features \(0, 4\)"),
    ],
)
def test_what_has_no_neighbours_is_an_error_in_words(changes, words):
    given = {**GOOD, "neighbors": (1,), "temperature": 0.07, "classes": 4}
    assert knn_accuracy(**given)["top1-k1"] == 100
    with pytest.raises(KnnError, match=words):
        knn_accuracy(**given | changes)


@pytest.mark.parametrize("winner", [0, 1])
def test_votes_too_faint_for_float32_are_counted(winner):
    """Each class has a vote of 1, and the winner eight of 2^-26 more: in float32 they are equal, first by turns."""
    far = 1 - 0.07 * 26 * np.log(2)  # the cosine of such a vote
    train_x = np.array([[1.0, 0.0]] * 2 + [[far, np.sqrt(1 - far**2)]] * 8)
    train_y = np.array([0, 1] + [winner] * 8)
    test = np.array([[1.0, 0.0]]), np.array([winner])
    found = knn_accuracy(train_x, train_y, *test, neighbors=(10,), temperature=0.07, classes=2)
    assert found["top1-k10"] == 100.0


def test_rows_are_normalised_in_blocks(monkeypatch):
    x = np.random.default_rng(0).normal(size=(23, 5))
    monkeypatch.setattr("twinbench.transfer.knn.ROWS", 7)
    rows = _normalized(x, "cpu").numpy()
    np.testing.assert_allclose(rows, x / np.linalg.norm(x, axis=1, keepdims=True), rtol=1e-6)
