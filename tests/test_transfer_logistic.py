"""Logistic regressions whose penalty is chosen on images held out: draws, searches, metrics, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from twinbench.data.errors import DataError
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.datasets import DATA_SETS, TWELVE
from twinbench.solver.softmax_reference import Lbfgs
from twinbench.transfer.held_out import held_out
from twinbench.transfer.logistic import Fits, LogisticError, as_lambda, evaluate_logistic, logistic_solver, search
from twinbench.transfer.metrics import eleven_points, per_class_accuracy

NOT_OFFICIAL = ["food101", "cifar10", "cifar100", "birdsnap", "sun397", "stanford-cars", "oxford-pets", "caltech101"]
FOOD101 = DATA_SETS["food101"]
BYOL = PROTOCOLS["linear12-byol"].recipe
SSL_TRANSFER = PROTOCOLS["linear12-ssl-transfer"].recipe
DINOV2 = PROTOCOLS["linear12-dinov2"].recipe
DINOV3 = PROTOCOLS["linear12-dinov3"].recipe
GOOGLE = PROTOCOLS["linear12-google"].recipe
DOUBLE = Fits(Lbfgs(tolerance=1e-10, max_iterations=10_000, dtype=torch.float64))


def blobs(rows=120, classes=3, features=5, seed=0, spread=1.0):
    """Class centres with noise around them."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(0, 2, (classes, features))
    y = np.arange(rows) % classes
    return (centres[y] + rng.normal(0, spread, (rows, features))).astype(np.float32), y


# --- who is held out


def test_an_official_split_is_held_out_where_the_recipe_asks_for_it():
    official = np.arange(10) >= 6
    assert held_out(np.arange(10) % 2, BYOL, official, 0, seed=3) is official
    assert held_out(np.arange(10) % 2, DINOV2, official, 0, seed=3).sum() == 1


def test_as_many_are_held_out_as_the_table_says():
    held = held_out(np.zeros(75_750, int), BYOL, None, FOOD101.validation_share, seed=0)
    assert held.sum() == 7575
    other = held_out(np.zeros(75_750, int), BYOL, None, FOOD101.validation_share, seed=1)
    assert (held != other).any()


def test_every_set_holds_out_what_byols_table_10_says():
    """Of the eight without an official split, in its order."""
    table = dict(zip(NOT_OFFICIAL, (7575, 5000, 5067, 4981, 3970, 1650, 740, 510), strict=True))
    for data_set in TWELVE:
        if data_set.name in table:
            targets = np.zeros(data_set.images[0], int)
            assert held_out(targets, BYOL, None, data_set.validation_share, seed=0).sum() == table[data_set.name]


def test_data_that_no_table_knows_hold_out_a_fifth():
    assert held_out(np.zeros(100, int), BYOL, None, 0, seed=0).sum() == 20


def test_ssl_transfers_draw_is_numpys_shuffle_of_seed_0():
    indices = list(range(50))
    np.random.seed(0)
    np.random.shuffle(indices)
    held = held_out(np.zeros(50, int), SSL_TRANSFER, None, 0, seed=7)
    assert sorted(indices[:10]) == np.flatnonzero(held).tolist()


def test_dinov2s_draw_is_torchs_permutation_of_seed_0():
    torch.manual_seed(0)
    indices = torch.randperm(53)
    held = held_out(np.zeros(53, int), DINOV2, None, 0, seed=7)
    assert sorted(indices[:5].tolist()) == np.flatnonzero(held).tolist()


def test_dinov3_holds_out_a_share_of_each_class():
    targets = np.repeat([0, 1, 2, 3], [40, 25, 2, 1])
    held = held_out(targets, DINOV3, None, 0, seed=0)
    assert np.bincount(targets[held], minlength=4).tolist() == [4, 2, 1, 0]  # of one image none


def test_a_draw_that_leaves_nothing_is_refused():
    with pytest.raises(
        DataError, match=r"4 training images: 0 to choose a setting on, 4 to train; expected some of each"
    ):
        held_out(np.zeros(4, int), DINOV2, None, 0, seed=0)


# --- the search


def test_the_first_of_equal_penalties_is_taken():
    recipe = dataclasses.replace(BYOL, penalties=(1.0, 10.0, 100.0))
    assert search(recipe, lambda tried: [{1.0: 3.0, 10.0: 7.0, 100.0: 7.0}[one] for one in tried]) == 10.0


@pytest.mark.parametrize("peak", [10**0.3, 1e-6, 1e6, 3e3])
def test_halved_steps_come_within_an_eighth_of_a_decade(peak):
    seen = []

    def score(tried):
        seen.extend(tried)
        return [-abs(np.log10(one / peak)) for one in tried]

    best = search(GOOGLE, score)
    assert abs(np.log10(best / peak)) <= 1 / 8
    assert len(seen) <= 7 + 2 * 4


def test_the_smaller_penalty_is_tried_first_and_the_larger_only_where_it_is_no_better():
    recipe = dataclasses.replace(GOOGLE, penalties=(1e-2, 1.0, 1e2), halvings=1)
    seen = []

    def score(tried):
        seen.extend(tried)
        return [{0.1: 9.0, 1.0: 5.0}.get(round(one, 6), 0.0) for one in tried]

    assert search(recipe, score) == pytest.approx(0.1)
    assert seen == pytest.approx([1e-2, 1.0, 1e2, 0.1])


# --- what a penalty is


@pytest.mark.parametrize(("recipe", "number", "value"), [(BYOL, 8.0, 8.0), (DINOV2, 8.0, 1 / 8), (GOOGLE, 8.0, 16.0)])
def test_the_same_number_is_another_penalty_in_another_variant(recipe, number, value):
    assert as_lambda(recipe, number, classes=5) == value


def test_a_penalty_is_what_scikit_learn_minimises():
    """The gradient of summed losses and lambda / 2 |W|^2 is nothing at scikit-learn's solution for C = 1 / lambda."""
    x, y = blobs()
    (fit,) = DOUBLE(x.astype(float))(y, 3, [4.0])
    scores = torch.tensor(fit.scores(x.astype(float)))
    wrong = torch.softmax(scores, 1).numpy() - np.eye(3)[y]
    np.testing.assert_allclose(x.T @ wrong + 4.0 * fit.weights, 0, atol=1e-4)


def test_a_binary_regression_is_a_softmax_at_twice_its_penalty():
    x, y = blobs(classes=2)
    (ours,) = DOUBLE(x.astype(float))(y, 2, [as_lambda(BYOL, 3.0, 2)])
    theirs = LogisticRegression(C=1 / 3.0, tol=1e-10, max_iter=10_000).fit(x.astype(float), y)
    np.testing.assert_allclose(ours.weights[:, 1] - ours.weights[:, 0], theirs.coef_[0], rtol=1e-5)


# --- metrics


def straightforward(scores, targets, *, from_one=False):
    """VOC2007's AP on scikit-learn's curve; ssl-transfer's linear.py keeps the curve's last point, a precision of 1."""
    precision, recall, _ = precision_recall_curve(targets, scores)
    if not from_one:
        precision, recall = precision[:-1], recall[:-1]
    return sum(precision[recall >= level].max() for level in np.linspace(0, 1, 11)) / 11


@pytest.mark.parametrize("from_one", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_eleven_points_are_those_of_the_code_that_published_them(seed, from_one):
    rng = np.random.default_rng(seed)
    targets = np.append(rng.integers(0, 2, 28), [0, 1])
    scores = rng.normal(size=30).round(1 if seed % 2 else 6)  # of every second one some are equal
    column, target = torch.tensor(scores)[:, None], torch.tensor(targets)[:, None]
    found = eleven_points(column, target == 1, torch.ones(30, 1, dtype=torch.bool), from_one=from_one)
    assert found.item() == pytest.approx(straightforward(scores, targets, from_one=from_one), abs=1e-12)


def test_rows_that_do_not_count_are_not_there():
    scores, targets = torch.tensor([[3.0], [2.0], [1.0], [0.5]]), torch.tensor([[-1], [1], [0], [1]])
    found = eleven_points(scores, targets == 1, targets != -1)
    assert found.item() == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)  # recall .5 at precision 1, recall 1 at 2 / 3


def test_a_class_without_positives_or_negatives_has_no_ap():
    targets = torch.tensor([[1, 0], [1, 0]])
    assert eleven_points(torch.rand(2, 2), targets == 1, targets != -1).isnan().all()


def test_each_class_counts_alike():
    targets, predicted = np.array([0, 0, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 0])
    assert per_class_accuracy(predicted, targets, 4) == pytest.approx(
        (3 / 4 + 1 + 0) / 3
    )  # of class 3 there is no image


# --- whole evaluations, by scikit-learn's solver


def evaluated(recipe, x, y, test_x, test_y, held, metric="top1", classes=3):
    solver = Fits(Lbfgs(tolerance=1e-6, max_iterations=2000))
    return evaluate_logistic(x, y, test_x, test_y, held, classes=classes, recipe=recipe, metric=metric, solver=solver)


def test_the_penalty_that_is_best_on_the_rows_held_out_is_fitted_to_all():
    x, y = blobs(rows=90, spread=3.0)
    test_x, test_y = blobs(rows=300, spread=3.0, seed=1)
    held = np.arange(90) % 3 == 0
    recipe = dataclasses.replace(BYOL, penalties=(1e-2, 1.0, 1e2, 1e4))
    found = evaluated(recipe, x, y, test_x, test_y, held)
    by_hand = {}
    for value in recipe.penalties:
        model = LogisticRegression(C=1 / value, tol=1e-6, max_iter=2000).fit(x[~held], y[~held])
        by_hand[value] = 100 * model.score(x[held], y[held])
    assert dict(found.tried) == pytest.approx(by_hand)
    best = max(by_hand, key=lambda value: by_hand[value])
    assert found.penalty == best
    model = LogisticRegression(C=1 / best, tol=1e-6, max_iter=2000).fit(x, y)
    assert found.metrics["top1"] == pytest.approx(100 * model.score(test_x, test_y))
    assert found.held_out == 30


def test_a_class_that_only_the_rows_held_out_have_is_no_answer_there_and_one_in_the_end():
    x, y = blobs(rows=60)
    held = y == 2
    held[:6] = True
    found = evaluated(dataclasses.replace(BYOL, penalties=(1.0, 10.0)), x, y, x, y, held)
    assert found.metrics["top1"] > 90


def test_several_classes_an_image_are_a_regression_each():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    y = (x[:, :2] + 0.3 * rng.normal(size=(200, 2)) > 0).astype(np.int8)
    y[rng.random((200, 2)) < 0.1] = -1
    held = np.arange(200) < 60
    recipe = dataclasses.replace(BYOL, penalties=(1.0, 1e3))
    found = evaluated(recipe, x[:150], y[:150], x[150:], y[150:], held[:150], "mAP-11", classes=2)
    assert set(found.metrics) == {"mAP-11"}
    assert len(found.fits) == 2
    by_hand = []
    for label in range(2):
        model = LogisticRegression(C=1 / found.penalty, tol=1e-6, max_iter=2000).fit(x[:150], y[:150, label] == 1)
        by_hand.append(100 * straightforward(model.decision_function(x[150:]), y[150:, label] == 1))
    assert found.metrics["mAP-11"] == pytest.approx(np.mean(by_hand))


def test_an_early_end_is_marked():
    x, y = blobs(rows=60, spread=0.1)
    recipe = dataclasses.replace(SSL_TRANSFER, penalties=(1e-6, 1e-5), max_iterations=2)
    solver = logistic_solver(recipe, "cpu")
    found = evaluate_logistic(x, y, x, y, np.arange(60) < 12, classes=3, recipe=recipe, metric="top1", solver=solver)
    assert not found.converged
    assert {fit.iterations for fit in found.fits} == {2}


def test_a_warm_start_goes_on_from_the_fit_before():
    x, y = blobs(spread=2.0)
    warm, cold = (Fits(Lbfgs(max_iterations=1000, warm_start=start))(x)(y, 3, [1.0, 1.0]) for start in (True, False))
    assert warm[1].iterations < cold[1].iterations


def test_features_that_are_no_numbers_are_refused():
    x, y = blobs()
    x[3, 2] = np.nan
    with pytest.raises(LogisticError, match="training features with NaN or infinity"):
        evaluated(BYOL, x, y, x, y, np.arange(120) < 20)


def test_a_class_without_an_image_is_refused():
    x, y = blobs()
    with pytest.raises(LogisticError, match="class 3 has 0 training images; expected at least 1"):
        evaluated(BYOL, x, y, x, y, np.arange(120) < 20, classes=4)


def test_a_draw_is_of_its_seed_alone():
    """Whatever others have drawn before from the generators that all share."""
    draws = []
    for before in (1, 2):
        np.random.seed(before)
        torch.manual_seed(before)
        draws.append(held_out(np.zeros(40, int), BYOL, None, 0.2, seed=5))
    first, second = draws
    assert (first == second).all()
