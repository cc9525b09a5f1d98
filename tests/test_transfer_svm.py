import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC
from torch.nn import functional

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.svm import VISSL_SVM
from twinbench.transfer.metrics import average_precision
from twinbench.transfer.svm import SvmError, evaluate_svm

COSTS = (1.0, 0.01, 10.0)
DROPPED = replace(VISSL_SVM, ignored_in_training="dropped")


@pytest.fixture(scope="module")
def features():
    """Three overlapping classes in 12 dimensions, a tenth of the labels ignored."""
    draw = np.random.default_rng(0)
    centers = draw.normal(size=(3, 12))
    arrays = []
    for rows in (90, 60):
        y = (draw.random((rows, 3)) < 0.3).astype(np.int8)
        x = (y @ centers + draw.normal(size=(rows, 12))).astype(np.float32)
        y[draw.random((rows, 3)) < 0.1] = -1
        arrays += [x, y]
    return arrays


def by_the_book(train_x, train_y, test_x, test_y, costs):
    """Return AP and cost of each class as VISSL's loop over scikit-learn computes them."""
    train_x, test_x = (
        x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-5) for x in map(np.float64, (train_x, test_x))
    )
    aps, chosen = [], []
    for k in range(train_y.shape[1]):
        y = np.where(train_y[:, k] == 1, 1, -1)
        machines = [
            LinearSVC(C=cost, class_weight={1: 2, -1: 1}, tol=1e-4, max_iter=2000, dual=True, random_state=0)
            for cost in costs
        ]
        scores = [cross_val_score(m, train_x, y, cv=3, scoring="average_precision").mean() for m in machines]
        best = int(np.argmax(scores))
        outputs = machines[best].fit(train_x, y).decision_function(test_x)
        aps.append(100 * average_precision(outputs, test_y[:, k]))
        chosen.append(costs[best])
    return np.array(aps), np.array(chosen)


def test_liblinear_follows_the_protocol_to_the_bit(features):
    found = evaluate_svm(*features, costs=COSTS, solver="liblinear")
    ap, cost = by_the_book(*features, COSTS)
    np.testing.assert_allclose(found.ap, ap, atol=1e-9)
    np.testing.assert_array_equal(found.cost, cost)
    assert found.mean_ap == pytest.approx(ap.mean())
    assert found.converged
    assert found.cv_ap.shape == found.test_ap.shape == (3, 3)
    assert (found.gradient < 1e-2).all()


def test_the_chosen_column_of_the_tables_is_the_result(features):
    found = evaluate_svm(*features, costs=COSTS, solver="liblinear")
    best = found.cv_ap.argmax(1)
    np.testing.assert_array_equal(found.cost, np.array(COSTS)[best])
    np.testing.assert_array_equal(found.ap, found.test_ap[range(3), best])


def test_first_of_equal_costs_wins(features):
    train_x, train_y, test_x, test_y = features
    separable = np.eye(3, 12, dtype=np.float32)[np.arange(90) % 3]
    y = (np.arange(90)[:, None] % 3 == np.arange(3)).astype(np.int8)
    for costs in ((10.0, 1.0), (1.0, 10.0)):
        found = evaluate_svm(separable, y, test_x, test_y, costs=costs, solver="liblinear")
        assert (found.cv_ap == 100).all()
        assert (found.cost == costs[0]).all()


def test_ignored_images_train_as_negatives_or_are_dropped_and_never_tested(features):
    train_x, train_y, test_x, test_y = features
    as_negative = evaluate_svm(train_x, np.maximum(train_y, 0), test_x, test_y, costs=[1.0], solver="liblinear")
    assert evaluate_svm(*features, costs=[1.0], solver="liblinear").mean_ap == as_negative.mean_ap
    dropped = evaluate_svm(*features, costs=[1.0], solver="liblinear", recipe=DROPPED)
    k, kept = 0, train_y[:, 0] != -1
    alone = evaluate_svm(train_x[kept], train_y[kept, :1], test_x, test_y[:, :1], costs=[1.0], solver="liblinear")
    assert dropped.ap[k] == alone.ap[0]
    assert dropped.cv_ap[k, 0] == pytest.approx(alone.cv_ap[0, 0])
    assert dropped.ap[k] != as_negative.ap[k]


def by_protocol(name, features):
    """Return what a protocol's recipe reaches with the reference solver."""
    return evaluate_svm(*features, recipe=PROTOCOLS[name].recipe, solver="liblinear")


def test_virtexs_rules(features):
    """clf_voc07.py: F.normalize, four costs by cross-validation, scikit-learn's AP on the rows that are not ignored."""
    train_x, train_y, test_x, test_y = features
    x, z = (functional.normalize(torch.from_numpy(rows), dim=-1).numpy() for rows in (train_x, test_x))
    found = by_protocol("voc07-svm-virtex", features)
    for k in range(3):
        y, best = np.where(train_y[:, k] == 1, 1, -1), (0.0, 0.0, 0.0)
        for cost in (0.01, 0.1, 1.0, 10.0):
            machine = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, max_iter=2000, dual=True, random_state=0)
            score = cross_val_score(machine, x, y, cv=3, scoring="average_precision").mean()
            outputs, tested = machine.fit(x, y).decision_function(z), test_y[:, k] != -1
            ap = average_precision_score(test_y[tested, k] == 1, outputs[tested])
            best = max(best, (score, cost, ap), key=lambda entry: entry[0])
        assert found.cost[k] == best[1]
        assert found.ap[k] == pytest.approx(100 * best[2], abs=1e-6)


def test_pcls_rules(features):
    """eval_svm_voc.py: one cost, and an ignored image is a negative in training and at test."""
    train_x, train_y, test_x, test_y = features
    x, z = (rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5) for rows in (train_x, test_x))
    found = by_protocol("voc07-svm-pcl", features)
    for k in range(3):
        machine = LinearSVC(C=0.5, class_weight={1: 2, -1: 1}, tol=1e-4, max_iter=2000, dual=True, random_state=0)
        outputs = machine.fit(x, np.where(train_y[:, k] == 1, 1, -1)).decision_function(z)
        ap = average_precision(outputs, np.where(test_y[:, k] == 1, 1, 0))
        assert found.ap[k] == pytest.approx(100 * ap, abs=1e-6)
        assert found.ap[k] != pytest.approx(100 * average_precision(outputs, test_y[:, k]), abs=1e-3)


def test_cross_validation_scores_are_scikit_learns_on_held_out_folds(features):
    train_x, train_y, *_ = features
    found = evaluate_svm(*features, costs=[1.0], solver="liblinear")
    x = np.float64(train_x)
    x /= np.linalg.norm(x, axis=1, keepdims=True) + 1e-5
    y = np.where(train_y[:, 1] == 1, 1, -1)
    machine = LinearSVC(C=1.0, class_weight={1: 2, -1: 1}, tol=1e-4, max_iter=2000, dual=True, random_state=0)
    scores = cross_val_score(
        machine, x, y, cv=3, scoring=lambda m, a, b: average_precision_score(b, m.decision_function(a))
    )
    assert found.cv_ap[1, 0] == pytest.approx(100 * scores.mean(), abs=1e-9)


def test_an_iteration_limit_is_seen_in_the_result_and_warns_nobody(features):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate_svm(*features, costs=[1000.0], solver="liblinear", recipe=replace(VISSL_SVM, max_iterations=2))
    assert not found.converged
    assert (found.iterations == 2).all()


def test_a_file_order_that_moves_images_moves_the_folds(features):
    train_x, train_y, test_x, test_y = features
    order = np.random.default_rng(1).permutation(len(train_x))
    first = evaluate_svm(*features, costs=[1.0], solver="liblinear")
    second = evaluate_svm(train_x[order], train_y[order], test_x, test_y, costs=[1.0], solver="liblinear")
    np.testing.assert_allclose(first.ap, second.ap, atol=0.1)  # the final fit sees the same rows
    assert not np.allclose(first.cv_ap, second.cv_ap, atol=1e-6)


def test_unusable_input_is_told_in_one_line(features):
    train_x, train_y, test_x, test_y = features
    with pytest.raises(SvmError, match=r"train: features \(89, 12\) and targets \(90, 3\)"):
        evaluate_svm(train_x[1:], train_y, test_x, test_y, costs=COSTS)
    with pytest.raises(SvmError, match="test: features with NaN"):
        evaluate_svm(train_x, train_y, test_x * np.nan, test_y, costs=COSTS)
    with pytest.raises(SvmError, match="targets other than 1, 0 and -1"):
        evaluate_svm(train_x, train_y + 2, test_x, test_y, costs=COSTS)
    with pytest.raises(SvmError, match="do not match"):
        evaluate_svm(train_x, train_y, test_x[:, 1:], test_y, costs=COSTS)
    for costs in ((), (1.0, 1.0), (0.0, 1.0), (np.nan,), (np.inf,)):
        with pytest.raises(SvmError, match=r"costs .*: expected different numbers above 0"):
            evaluate_svm(train_x, train_y, test_x, test_y, costs=costs)
    few = np.minimum(train_y, 0)
    few[:2] = 1
    with pytest.raises(SvmError, match="class 0 has 2 training positives; expected at least 3"):
        evaluate_svm(train_x, few, test_x, test_y, costs=COSTS)
    with pytest.raises(SvmError, match="class 0 has 0 test positives"):
        evaluate_svm(train_x, train_y, test_x, np.minimum(test_y, 0), costs=COSTS)
    everywhere = np.maximum(np.where(np.arange(3) == 1, 1, 0), train_y)  # as lists of 1 and -1 make it
    with pytest.raises(SvmError, match="class 1 has 0 training negatives; expected at least 3"):
        evaluate_svm(train_x, everywhere, test_x, test_y, costs=COSTS)
    with pytest.raises(SvmError, match="class 1 has 0 test negatives"):
        evaluate_svm(train_x, train_y, test_x, np.maximum(np.where(np.arange(3) == 1, 1, 0), test_y), costs=COSTS)


def test_its_own_rules_are_vissls(features):
    found = evaluate_svm(*features, costs=COSTS, solver="liblinear")
    again = evaluate_svm(*features, recipe=replace(VISSL_SVM, costs=COSTS), folds=3, solver="liblinear")
    assert found.mean_ap == again.mean_ap
    assert evaluate_svm(*features, solver="liblinear").costs == VISSL_SVM.costs
