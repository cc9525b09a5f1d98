import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from twinbench.protocols.svm import PCL_LOW_SHOT, VISSL_LOW_SHOT
from twinbench.solver.liblinear import Liblinear
from twinbench.transfer.lowshot import LowShotError, draw_pooled, draw_samples, evaluate_low_shot
from twinbench.transfer.metrics import average_precision
from twinbench.transfer.svm import choose_solver

COSTS, SHOTS = (0.1, 1.0, 10.0), (1, 4)
RECIPE = replace(VISSL_LOW_SHOT, costs=COSTS)


@pytest.fixture(scope="module")
def data():
    """Three classes in 10 dimensions, 150 + 80 rows, a few ignored."""
    draw, arrays = np.random.default_rng(0), []
    centers = draw.normal(size=(3, 10))
    for count in (150, 80):
        y = (draw.random((count, 3)) < 0.3).astype(np.int8)
        x = (y @ centers + draw.normal(size=(count, 10))).astype(np.float32)
        y[draw.random(y.shape) < 0.05] = -1
        arrays += [x, y]
    return arrays


def test_samples_hold_k_positives_and_their_negatives_and_nothing_ignored(data):
    _, y, *_ = data
    drawn = draw_samples(y, SHOTS, 2, seed=0)
    assert set(drawn) == {(1, 1), (1, 4), (2, 1), (2, 4)}
    for (_, k), chosen in drawn.items():
        assert ((chosen == 1).sum(0) == k).all()
        assert ((chosen == 0).sum(0) == 2 * k).all()
        assert (chosen[chosen != -1] == y[chosen != -1]).all()
    again, other = draw_samples(y, SHOTS, 2, seed=0), draw_samples(y, SHOTS, 2, seed=1)
    assert all((drawn[key] == again[key]).all() for key in drawn)
    assert any((drawn[key] != other[key]).any() for key in drawn)


def relative_gradient(machine, x, y):
    """Return |gradient| of LIBLINEAR's objective at the machine's weights over that at 0."""
    rows, w = np.hstack([x, np.ones((len(x), 1))]), np.append(machine.coef_, machine.intercept_)
    s = np.where(y > 0, 2, 1)
    at_end = w - 2 * machine.C * rows.T @ (s * y * np.maximum(0, 1 - y * (rows @ w)))
    return np.linalg.norm(at_end) / np.linalg.norm(2 * machine.C * rows.T @ (s * y))


def test_figures_are_those_of_a_loop_over_scikit_learn(data):
    train_x, train_y, test_x, test_y = data
    drawn = draw_samples(train_y, SHOTS, 3, seed=0)
    found = evaluate_low_shot(*data, drawn, recipe=RECIPE, solver=Liblinear(2.0, 1e-4, 2000, 0))
    x, z = (a / (np.linalg.norm(np.float64(a), axis=1, keepdims=True) + 1e-5) for a in (train_x, test_x))
    for k in SHOTS:
        table = np.zeros((len(COSTS), 3))  # mAP by cost and sample
        iterations, gradients = np.zeros((2, len(COSTS), 3, 3))  # of the fits, by cost, sample and class
        for i, cost in enumerate(COSTS):
            for sample in (1, 2, 3):
                chosen = drawn[sample, k]
                aps = []
                for c in range(3):
                    used = chosen[:, c] != -1
                    machine = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual=True, max_iter=2000, random_state=0)
                    labels = np.where(chosen[used, c] == 1, 1, -1)
                    machine.fit(x[used], labels)
                    aps.append(100 * average_precision(machine.decision_function(z), test_y[:, c]))
                    iterations[i, sample - 1, c] = machine.n_iter_
                    gradients[i, sample - 1, c] = relative_gradient(machine, x[used], labels)
                table[i, sample - 1] = np.mean(aps)
        best = table.mean(1).argmax()
        assert found[k].cost == COSTS[best]
        assert found[k].iterations == iterations[best].max()
        assert found[k].gradient == pytest.approx(gradients[best].max(), rel=1e-3)
        assert found[k].mean == pytest.approx(table[best].mean(), abs=1e-6)
        assert found[k].deviation == pytest.approx(table[best].std(), abs=1e-6)
        assert (found[k].least, found[k].most) == pytest.approx((table[best].min(), table[best].max()))
        honest = COSTS.index(found[k].heldout_cost)
        assert found[k].heldout_mean == pytest.approx(table[honest].mean(), abs=1e-6)
        assert found[k].heldout_mean <= found[k].mean


def test_the_batched_solver_gives_the_same_figures(data):
    drawn = draw_samples(data[1], SHOTS, 3, seed=0)
    tight = evaluate_low_shot(*data, drawn, recipe=RECIPE, solver=Liblinear(2.0, 1e-8, 100_000, 0))
    solver, gradients = choose_solver("batched", RECIPE), []

    def watched(train, test):
        solve = solver(train, test)

        def solutions(problems, costs):
            for cost, found in zip(costs, solve(problems, costs), strict=True):
                gradients.append((cost, found.gradient(torch.arange(len(problems))).max().item()))
                yield found

        return solutions

    ours = evaluate_low_shot(*data, drawn, recipe=RECIPE, solver=watched)
    for i, k in enumerate(SHOTS):
        assert ours[k].converged
        assert ours[k].mean == pytest.approx(tight[k].mean, abs=0.05)
        there_and_then = dict(gradients[i * len(COSTS) : (i + 1) * len(COSTS)])
        assert ours[k].gradient == there_and_then[ours[k].cost] < 1e-3  # asked for when all costs were solved


def pcl_rows(y, shots, samples, seed):
    """Yield (sample, k) and its rows, with repetition, as PCL's convert_low_shot gathers them."""
    random.seed(seed)
    for k in shots:
        for sample in range(1, samples + 1):
            rows = []
            for c in range(y.shape[1]):
                with_class = [row for row in range(len(y)) if y[row, c] > 0]
                random.shuffle(with_class)
                rows += with_class[:k]
            yield (sample, k), rows


def test_pooled_samples_are_those_of_pcls_script(data):
    _, y, *_ = data
    drawn = draw_pooled(y, SHOTS, 2, seed=3)
    for key, rows in pcl_rows(y, SHOTS, 2, seed=3):
        np.testing.assert_array_equal(drawn[key], np.bincount(rows, minlength=len(y)))
    assert any((times > 1).any() for times in drawn.values())  # an image of two classes, drawn for both


def test_pooled_figures_are_those_of_a_loop_over_scikit_learn(data):
    train_x, train_y, test_x, test_y = data
    drawn = draw_pooled(train_y, SHOTS, 3, seed=0)
    found = evaluate_low_shot(*data, drawn, recipe=PCL_LOW_SHOT, solver=Liblinear(2.0, 1e-8, 100_000, 0))
    batched = evaluate_low_shot(*data, drawn, recipe=PCL_LOW_SHOT, solver=choose_solver("batched", PCL_LOW_SHOT))
    x, z = (a / (np.linalg.norm(np.float64(a), axis=1, keepdims=True) + 1e-5) for a in (train_x, test_x))
    maps = {k: [] for k in SHOTS}
    for (_, k), rows in pcl_rows(train_y, SHOTS, 3, seed=0):
        aps = []
        for c in range(3):
            machine = LinearSVC(C=0.5, class_weight={1: 2, -1: 1}, dual=True, tol=1e-8, max_iter=100_000)
            machine.fit(x[rows], np.where(train_y[rows, c] == 1, 1, -1))
            aps.append(100 * average_precision(machine.decision_function(z), np.where(test_y[:, c] == 1, 1, 0)))
        maps[k].append(np.mean(aps))
    for k in SHOTS:
        assert found[k].mean == pytest.approx(np.mean(maps[k]), abs=1e-6)
        assert found[k].deviation == pytest.approx(np.std(maps[k]), abs=1e-6)
        assert batched[k].mean == pytest.approx(np.mean(maps[k]), abs=0.05)


def test_classes_too_small_and_files_that_do_not_fit_are_told(data):
    with pytest.raises(LowShotError, match=r"class \d: \d+ training images with it, but k = 96 needs 96"):
        draw_samples(data[1], (96,), 1, seed=0)
    with pytest.raises(LowShotError, match=r"class \d: \d+ training images with it, but k = 96 needs 96"):
        draw_pooled(data[1], (96,), 1, seed=0)
    for draw in (draw_samples, draw_pooled):
        with pytest.raises(LowShotError, match=r"class c\d: .* expected the complete data set; .*data check`$"):
            draw(data[1], (96,), 1, 0, ("c0", "c1", "c2"))
    with pytest.raises(LowShotError, match=r"sample \(1, 1\): targets \(5, 3\)"):
        evaluate_low_shot(*data, {(1, 1): np.zeros((5, 3))}, recipe=RECIPE, solver=Liblinear(2, 1e-4, 9, 0))
