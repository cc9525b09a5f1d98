"""SVMs and nearest neighbours on a GPU, against the processor on the same features.

In a rehearsal the batched solver multiplies roughly in bfloat16, as GPUs since 2020 do, and the reference in float32:
so the two sides round apart as they will on a card.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from twinbench.protocols.svm import INAT_SVM, VISSL_LOW_SHOT
from twinbench.solver import principal_rows
from twinbench.solver.batched import Batched
from twinbench.solver.softmax import Softmax
from twinbench.transfer import one_vs_rest
from twinbench.transfer.knn import CHUNK, knn_accuracy
from twinbench.transfer.lowshot import draw_samples, evaluate_low_shot
from twinbench.transfer.one_vs_rest import evaluate_one_vs_rest, memory_bound
from twinbench.transfer.svm import evaluate_svm, normalized

POINTS = 0.01  # of the mean AP in percent: images of near scores change places, which nobody would print
ONE_CLASS = 0.05  # of one class's: a swap at rank r, of 100 positives, is 1 / r of a point

THINGS = 64


@pytest.fixture(scope="module")
def rough(on_gpu):
    """Return a function that calls another one as a GPU multiplies roughly."""

    def called(function, *arguments, **keywords):
        if on_gpu:
            return function(*arguments, **keywords)
        torch.set_num_threads(1)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(principal_rows, "rough_type", lambda device: torch.bfloat16)
            return function(*arguments, **keywords)

    return called


def multi_label(rows, features, classes, signal, seed=0):
    """Return training and test features and targets, (rows, ...) each.

    As of a network: all positive, with a common direction, and made of few things (64) that images have.
    """
    draw = np.random.default_rng(seed)
    targets = draw.random((2 * rows, classes)) < 0.15
    targets[:: rows // 8, :] = np.arange(classes) % 2 == 0  # no class is without images
    targets[1 :: rows // 8, :] = np.arange(classes) % 2 == 1
    centers = draw.normal(size=(classes, THINGS))
    things = (draw.normal(size=(2 * rows, THINGS)) + signal * targets @ centers) * np.arange(1, THINGS + 1) ** -0.5
    x = np.maximum(things @ draw.normal(size=(THINGS, features)) / 2 + 0.5, 0).astype(np.float32)
    y = targets.astype(np.int8)
    y[draw.random(y.shape) < 0.02] = -1  # ignored: VOC's `difficult`
    return x[:rows], y[:rows], x[rows:], y[rows:]


@pytest.fixture(scope="module", params=["more rows than features", "more features than rows"])
def voc(request, on_gpu):
    """Problems whose axes come from the features' products, and from the rows'."""
    classes = 8 if on_gpu else 3
    if request.param == "more rows than features":
        return multi_label(1500 if on_gpu else 300, 128, classes, signal=0.3)
    return multi_label(1000 if on_gpu else 160, 4096 if on_gpu else 256, classes, signal=0.3 if on_gpu else 0.4)


@pytest.fixture(scope="module")
def on_processor(voc, rough):  # after `rough`, for its one thread
    return evaluate_svm(*voc)


@pytest.fixture(scope="module")
def on_device(voc, device, rough):
    return rough(evaluate_svm, *voc, device=device)


def test_svm_costs_are_chosen_alike(on_device, on_processor):
    np.testing.assert_array_equal(on_device.cost, on_processor.cost)


def test_the_svms_mean_ap_is_alike(on_device, on_processor):
    assert 50 < on_processor.mean_ap < 95  # neither chance nor trivial
    assert on_device.mean_ap == pytest.approx(on_processor.mean_ap, abs=POINTS)


def test_the_svms_ap_of_every_class_is_alike(on_device, on_processor):
    np.testing.assert_allclose(on_device.ap, on_processor.ap, atol=ONE_CLASS)


def test_every_fit_converges_as_it_does_on_the_processor(on_device, on_processor):
    assert on_device.converged == on_processor.converged


@pytest.mark.usefixtures("only_gpu")
def test_the_svm_repeats_its_bits(voc, device):
    first, second = (evaluate_svm(*voc, device=device) for _ in range(2))
    np.testing.assert_array_equal(first.test_ap, second.test_ap)


def test_scores_of_tight_solutions_agree_to_float32s_digits(device, rough):
    """The gap left is 1e-9 of 1/2 |w|^2, so |w - w*| < 5e-5 |w|, and rows have length 1: scores within 1e-4 |w|."""
    x, y, z, _ = (torch.as_tensor(part) for part in multi_label(200, 64, 3, signal=0.3))
    train, test = normalized(x.numpy(), 1e-5), normalized(z.numpy(), 1e-5)
    labels = torch.where(y == 1, 1.0, -1.0)
    problems = one_vs_rest.Problems(labels, torch.where(y == 1, 2.0, 1.0))
    costs = (0.1, 10.0)

    def scores(where):
        return [found.test_scores for found in Batched(where, tolerance=1e-9)(train, test)(problems, costs)]

    for ours, theirs in zip(rough(scores, device), scores("cpu"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def test_low_shot_is_alike(device, rough):
    """Each problem has a matrix of its own rows."""
    train_x, train_y, test_x, test_y = multi_label(200, 256, 3, signal=0.3)
    recipe = replace(VISSL_LOW_SHOT, shots=(2, 8), samples=2, costs=(0.1, 1.0, 10.0, 100.0))
    samples = draw_samples(train_y, recipe.shots, recipe.samples, seed=0)

    def evaluated(where):
        data = train_x, train_y, test_x, test_y
        return evaluate_low_shot(*data, samples, recipe=recipe, solver=Batched(where))

    ours, theirs = rough(evaluated, device), evaluated("cpu")
    for k in recipe.shots:
        assert ours[k].mean == pytest.approx(theirs[k].mean, abs=POINTS)
        assert ours[k].heldout_mean == pytest.approx(theirs[k].heldout_mean, abs=POINTS)
        assert (ours[k].cost, ours[k].heldout_cost) == (theirs[k].cost, theirs[k].heldout_cost)


CLASSES = 24


@pytest.fixture(scope="module")
def species():
    """Rows of one class each; of the test rows those whose place no rounding decides: 0.01 from the next score.

    That is by scikit-learn's exact scores, whose ranks come along.
    """
    draw, parts = np.random.default_rng(0), []
    centers = draw.normal(size=(CLASSES, 32))
    for count in (720, 480):
        y = np.arange(count) % CLASSES
        parts += [(centers[y] + 1.5 * draw.normal(size=(count, 32))).astype(np.float32), y]
    x, y, z, t = parts
    unit = [rows / np.linalg.norm(np.float64(rows), axis=1, keepdims=True) for rows in (x, z)]
    machine = LinearSVC(C=1.0, class_weight={1: 2, 0: 1}, dual=False, tol=1e-10, max_iter=100_000)
    scores = OneVsRestClassifier(machine).fit(unit[0], y).decision_function(unit[1])
    own = scores[np.arange(len(t)), t, None]
    others = np.where(np.arange(CLASSES) == t[:, None], np.inf, scores)
    clear = (np.abs(others - own) > 0.01).all(1)
    rank = (scores > own).sum(1)[clear]
    return x, y, z[clear], t[clear], rank


def test_one_vs_rest_counts_are_scikit_learns_in_blocks_on_any_device(species, device, rough, monkeypatch):
    *data, rank = species
    monkeypatch.setattr(one_vs_rest, "BUDGET", 10 * len(data[0]))  # blocks of ten classes
    found = rough(evaluate_one_vs_rest, *data, classes=CLASSES, recipe=INAT_SVM, solver=Batched(device))
    assert len(rank) > 200
    assert 20 < found.top1 < 95
    assert (found.top1, found.top5) == (100 * np.mean(rank < 1), 100 * np.mean(rank < 5))


@pytest.mark.usefixtures("only_gpu")
def test_one_vs_rest_stays_within_its_bound_on_a_gpu_too(device):
    draw = np.random.default_rng(0)
    rows, features, classes = 40_000, 512, 2000
    x, y = draw.normal(size=(rows, features)).astype(np.float32), np.arange(rows) % classes
    size = one_vs_rest.BUDGET // rows  # one block of many: the others are like it
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    data = x, y % size, x[:4000], y[:4000] % size
    evaluate_one_vs_rest(*data, classes=size, recipe=INAT_SVM, solver=Batched(device))
    assert torch.cuda.max_memory_allocated(device) - before < memory_bound(rows, 4000, features, size)


K = (5, 20)


@pytest.fixture(scope="module")
def neighbours():
    """Features, and of the test rows those where no rounding decides: by float64, among whom who votes and who wins."""
    draw = np.random.default_rng(0)
    centers = draw.normal(size=(7, 16))
    train_y, test_y = draw.integers(0, 7, 400), draw.integers(0, 7, 600)
    x, z = (centers[y] + 1.5 * draw.normal(size=(len(y), 16)) for y in (train_y, test_y))
    x, z = x.astype(np.float32), z.astype(np.float32)
    unit_x, unit_z = (rows / np.linalg.norm(np.float64(rows), axis=1, keepdims=True) for rows in (x, z))
    cosine = unit_z @ unit_x.T
    order = np.argsort(-cosine, axis=1)
    near = np.take_along_axis(cosine, order, axis=1)
    clear, ranks = np.ones(len(z), dtype=bool), {}
    for k in K:
        votes = np.zeros((len(z), 7))
        for column in range(k):
            np.add.at(votes, (np.arange(len(z)), train_y[order[:, column]]), np.exp(near[:, column] / 0.07))
        own = votes[np.arange(len(z)), test_y, None]
        others = np.where(np.arange(7) == test_y[:, None], np.inf, votes)
        clear &= near[:, k - 1] - near[:, k] > 1e-5  # float32 of a cosine: 1e-7
        clear &= (np.abs(others - own) > 1e-3 * votes.max(1, keepdims=True)).all(1)
        ranks[k] = np.where(own[:, 0] > 0, (votes > own).sum(1), 99)
    return x, train_y, z[clear], test_y[clear], {k: rank[clear] for k, rank in ranks.items()}


def test_neighbours_vote_as_the_definition_says_on_any_device(neighbours, device):
    *data, ranks = neighbours
    found = knn_accuracy(*data, neighbors=K, temperature=0.07, classes=7, device=device)
    assert len(data[3]) > 200
    expected = {f"top{n}-k{k}": 100 * np.mean(rank < n) for k, rank in ranks.items() for n in (1, 5)}
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.usefixtures("only_gpu")
def test_neighbours_hold_the_features_once_and_a_block_of_similarities(device):
    """So that ImageNet's 10.5 GB and 1.3 GB a block are on a GPU of 16 GB."""
    rows, features = 60_000, 2048
    x = np.random.default_rng(0).random((rows, features), dtype=np.float32)
    y = np.arange(rows) % 10
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    knn_accuracy(x, y, x[:512], y[:512], neighbors=(20,), temperature=0.07, classes=10, device=device)
    peak = torch.cuda.max_memory_allocated(device) - before
    assert peak < 1.1 * x.nbytes + 3 * 4 * CHUNK * rows  # similarities, and what topk needs beside them


@pytest.mark.usefixtures("only_gpu")
@pytest.mark.parametrize("shape", [(400_000, 768, 10), (400_000, 64, 150)], ids=["wide rows", "many classes"])
def test_softmax_regressions_take_the_memory_that_is_told(device, shape):
    rows, width, classes = shape
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    solve = Softmax(device=device, limit=3)
    features = torch.randn(rows, width, device=device)
    labels = (features @ torch.randn(width, classes, device=device)).argmax(1)
    turned = solve.turned(features)
    del features
    next(solve.on(turned, labels, torch.ones(rows, 1), [1.0], classes))
    peak, told = torch.cuda.max_memory_allocated(device) - before, solve.peak_bytes(rows, width, classes)
    assert 0.8 * told < peak < 1.1 * told
