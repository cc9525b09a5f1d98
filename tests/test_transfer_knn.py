from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from twinbench.convert.named import ModelError
from twinbench.data.errors import DataError
from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.house import SettingError
from twinbench.report.asked import Asked
from twinbench.transfer import knn
from twinbench.transfer.knn import KnnError, _normalized, knn_accuracy, knn_grid
from twinbench.transfer.measure import measure
from twinbench.transfer.neighbors import best, evaluate_few_shot_knn, evaluate_grid, held_out
from twinbench.transfer.options import Options


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


def drawn(rows=120, tests=60, classes=5, features=6, seed=0):
    """Return features and class indices of two splits, the classes apart but not far."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(classes, features))
    y, z = draw.integers(0, classes, rows), draw.integers(0, classes, tests)
    x, test = (centres[labels] + draw.normal(0, 0.9, (len(labels), features)) for labels in (y, z))
    return x.astype(np.float32), y, test.astype(np.float32), z


@pytest.mark.parametrize(("votes", "temperature"), [("weighted", 0.07), ("weighted", 1.0), ("equal", 1.0)])
@pytest.mark.parametrize("k", [1, 3, 10, 50])
def test_accuracy_is_scikit_learns_with_these_weights(votes, temperature, k):
    x, y, test_x, test_y = drawn()
    weights = {"equal": "uniform", "weighted": lambda distances: np.exp((1 - distances) / temperature)}[votes]
    machine = KNeighborsClassifier(k, weights=weights, metric="cosine", algorithm="brute").fit(x, y)
    found = knn_accuracy(
        x, y, test_x, test_y, neighbors=(k,), temperature=temperature, classes=5, votes=votes, topk=(1,)
    )
    assert found == {f"top1-k{k}": pytest.approx(100 * machine.score(test_x, test_y))}


def test_top_n_is_counted_for_any_n():
    x, y, test_x, test_y = drawn()
    found = knn_accuracy(x, y, test_x, test_y, neighbors=(120,), temperature=0.5, classes=5, topk=(1, 2, 3, 4, 5, 9))
    order = np.argsort(-votes_by_loop(x, y, test_x, 5, 120, 0.5), axis=1)
    for n in (1, 2, 3, 4, 5, 9):
        assert found[f"top{n}-k120"] == pytest.approx(100 * (order == test_y[:, None])[:, :n].any(1).mean())
    assert found["top5-k120"] == 100.0


@pytest.mark.parametrize("target", [1, 2])
def test_of_equal_votes_the_lower_class_is_first(target):
    train_x, train_y = np.eye(4)[[0, 0, 0, 0]], np.array([2, 1, 2, 1])
    found = knn_accuracy(
        train_x, train_y, np.eye(4)[:1], np.array([target]), neighbors=(4,), temperature=1.0, classes=3, topk=(1, 2)
    )
    assert found == {"top1-k4": 100.0 * (target == 1), "top2-k4": 100.0}


def test_equal_votes_are_counted_and_weighted_ones_weighed():
    train_x, train_y = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), np.array([0, 1, 1])
    test = np.array([[1.0, 0.1]]), np.array([1])
    settings = {"neighbors": (3,), "temperature": 0.07, "classes": 2, "topk": (1,)}
    assert knn_accuracy(train_x, train_y, *test, votes="equal", **settings) == {"top1-k3": 100.0}
    assert knn_accuracy(train_x, train_y, *test, **settings) == {"top1-k3": 0.0}


def test_a_grid_is_each_of_its_settings_from_one_search(monkeypatch):
    x, y, test_x, test_y = drawn()
    ks, temperatures = (20, 3, 7), (0.07, 0.5)  # in any order
    blocks = []
    monkeypatch.setattr(knn, "bar", lambda items, **_: blocks.append(len(items)) or items)
    grid = knn_grid(x, y, test_x, test_y, neighbors=ks, temperatures=temperatures, classes=5)
    assert blocks == [1]
    assert [(k, temperature) for k, temperature, n in grid if n == 1] == [(k, t) for t in temperatures for k in ks]
    for k, temperature, n in grid:
        alone = knn_accuracy(x, y, test_x, test_y, neighbors=(k,), temperature=temperature, classes=5)
        assert grid[k, temperature, n] == alone[f"top{n}-k{k}"]


def test_the_best_of_equal_settings_is_the_first():
    assert best({(5, 0.1, 1): 50.0, (5, 0.1, 5): 90.0, (9, 0.1, 1): 60.0, (5, 0.2, 1): 60.0}) == (9, 0.1)


EP, HELD_OUT = (
    replace(PROTOCOLS[name].recipe, neighbors=(1, 5, 20)) for name in ("imagenet-knn-ep", "imagenet-knn-ep-heldout")
)


def test_efficient_probings_number_is_the_best_of_the_grid_on_the_reported_images():
    arrays = drawn()
    found, tried = evaluate_grid(*arrays, None, classes=5, recipe=EP)
    grid = knn_grid(*arrays, neighbors=(1, 5, 20), temperatures=(0.07, 0.1, 0.2), classes=5)
    assert tried == grid
    assert found["top1"] == max(value for (_, _, n), value in grid.items() if n == 1)


def test_its_honest_twin_never_looks_at_the_reported_images():
    """Whatever the test images are, the same setting is chosen, the best for training images among the others."""
    x, y, test_x, test_y = drawn()
    held = held_out(len(y), 0.1, seed=0)
    found, tried = evaluate_grid(x, y, test_x, test_y, held, classes=5, recipe=HELD_OUT)
    assert held.sum() == 12
    assert evaluate_grid(x, y, -test_x, test_y, held, classes=5, recipe=HELD_OUT)[1] == tried
    k, temperature = best(tried)
    among = knn_accuracy(x[~held], y[~held], x[held], y[held], neighbors=(1, 5, 20), temperature=temperature, classes=5)
    assert tried[k, temperature, 1] == among[f"top1-k{k}"]
    alone = knn_accuracy(x, y, test_x, test_y, neighbors=(k,), temperature=temperature, classes=5)
    assert found == {"top1": alone[f"top1-k{k}"], "top5": alone[f"top5-k{k}"]}


def test_too_few_images_to_choose_on_are_told():
    with pytest.raises(DataError, match="9 training images: 0 to choose a setting on"):
        held_out(9, 0.1, seed=0)


def test_shots_are_drawn_as_dinov2_draws_them(monkeypatch):
    """By class, torch's permutation of its images, from one generator a try."""
    x, y, test_x, test_y = drawn()
    recipe = replace(PROTOCOLS["imagenet-knn-dinov2-shots"].recipe, shots=(2, 5), draws=2, neighbors=(1, 3, 10))
    found = evaluate_few_shot_knn(x, y, test_x, test_y, classes=5, recipe=recipe, seed=0)
    assert list(found) == [(n, f"top{r}-k{k}") for n, ks in ((2, (1, 2)), (5, (1, 3, 5))) for k in ks for r in (1, 5)]
    for number in (0, 1):
        torch.manual_seed(number)
        rows = []
        for label in range(5):
            places = np.flatnonzero(y == label)
            rows += places[torch.randperm(len(places))[:5].numpy()].tolist()
        expected = knn_accuracy(x[rows], y[rows], test_x, test_y, neighbors=(3,), temperature=0.07, classes=5)
        assert found[5, "top1-k3"][number] == expected["top1-k3"]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("imagenet-knn", {"topk": "5"}, r"setting topk=5: expected 1 among them for top1-k20"),
        ("imagenet-knn", {"topk": "5,1"}, "rising whole numbers above 0"),
        ("imagenet-knn", {"neighbors": "10"}, r"setting neighbors=10: expected 20 among them for top1-k20"),
        ("imagenet-knn-ep", {"temperatures": "0"}, "setting temperatures=0.0: expected different numbers above 0"),
        ("imagenet-knn-ep", {"topk": "2,5"}, "gives no top1, the protocol's headline; it gives top5, top2"),
        ("imagenet-knn-dinov2-shots", {"shots": "1,2"}, "gives no top1-n20-k20"),
    ],
)
def test_settings_that_no_run_can_have(name, settings, words):
    with pytest.raises(SettingError, match=words):
        PROTOCOLS[name].with_settings(settings)


VIT = "timm:vit_tiny_patch16_224=random"


def asked(name, backbone, data, out, settings):
    settings = {"transform.resize": 40, "transform.crop": 32, "neighbors": "1,5", "topk": "1,2,3"} | settings
    protocol = replace(find_protocol(f"{name}@digits"), metric=METRICS[name], width=0.125).with_settings(settings)
    return Asked(protocol, backbone, data, out, method="ours", device="cpu", workers=0)


METRICS = {
    "imagenet-knn-dinov2": "top1-k5",
    "imagenet-knn-ep": "top1",
    "imagenet-knn-ep-heldout": "top1",
    "imagenet-knn-dinov2-shots": "top1-n2-k2",
}


def test_trials_of_a_transformer_on_own_data(scenes, tmp_path):
    """One extraction for all; the honest grid reports what its own choice of k and temperature gives."""
    options, found = Options(cache=tmp_path / "features"), {}
    for name, metric in METRICS.items():
        settings = {"shots": "1,2"} if name.endswith("shots") else {}
        found[name] = measure(asked(name, VIT, scenes / "imagenet", tmp_path / name, settings), options)
        assert found[name].headline == metric
    assert len(list((tmp_path / "features").rglob("features.npy"))) == 2
    plain, grid, honest, shots = found.values()
    assert plain.metrics.keys() == {f"top{n}-k{k}" for n in (1, 2, 3) for k in (1, 5)}
    reported = dict(map(tuple, grid.curves["top1 by k at T = 0.07"]))
    assert reported == {k: plain.metrics[f"top1-k{k}"] for k in (1, 5)}
    assert grid.metrics["top1"] == max(y for curve in grid.curves.values() for _, y in curve)
    assert grid.details["chosen_on"] == "test images"
    assert honest.details["chosen_on"] == f"{honest.images['train'] // 10} training images"
    assert honest.metrics["top1"] <= grid.metrics["top1"]
    assert shots.metrics.keys() == {f"top{n}-n{m}-k{k}" for n in (1, 2, 3) for m, k in ((1, 1), (2, 1), (2, 2))}
    assert [point[0] for point in shots.curves["top1-k1 by images per class"]] == [1, 2]


def test_a_resnet_has_no_class_token_and_is_told_so(scenes, tmp_path):
    with pytest.raises(ModelError, match="imagenet-knn-ep@digits on random: takes the tokens of a transformer"):
        measure(asked("imagenet-knn-ep", "random", scenes / "imagenet", tmp_path, {}))
    result = measure(asked("imagenet-knn-ep", "random", scenes / "imagenet", tmp_path, {"feature": "gap"}))
    assert result is not None
    assert result.overrides["feature"] == "gap"
