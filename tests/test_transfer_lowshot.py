import numpy as np
import pytest
from sklearn.svm import LinearSVC

from transfer.liblinear import Liblinear
from transfer.lowshot import LowShotError, draw_samples, evaluate_low_shot
from transfer.metrics import average_precision
from transfer.svm import choose_solver

COSTS, SHOTS = (0.1, 1.0, 10.0), (1, 4)


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
        assert ((chosen == 1).sum(0) == k).all() and ((chosen == 0).sum(0) == 2 * k).all()
        assert (chosen[chosen != -1] == y[chosen != -1]).all()
    again, other = draw_samples(y, SHOTS, 2, seed=0), draw_samples(y, SHOTS, 2, seed=1)
    assert all((drawn[key] == again[key]).all() for key in drawn)
    assert any((drawn[key] != other[key]).any() for key in drawn)


def test_figures_are_those_of_a_loop_over_scikit_learn(data):
    train_x, train_y, test_x, test_y = data
    drawn = draw_samples(train_y, SHOTS, 3, seed=0)
    found = evaluate_low_shot(*data, drawn, costs=COSTS, solver=Liblinear(2.0, 1e-4, 2000, 0))
    x, z = (a / (np.linalg.norm(np.float64(a), axis=1, keepdims=True) + 1e-5) for a in (train_x, test_x))
    for k in SHOTS:
        table = np.zeros((len(COSTS), 3))  # mAP by cost and sample
        for i, cost in enumerate(COSTS):
            for sample in (1, 2, 3):
                chosen = drawn[sample, k]
                aps = []
                for c in range(3):
                    used = chosen[:, c] != -1
                    machine = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual=True, max_iter=2000, random_state=0)
                    machine.fit(x[used], np.where(chosen[used, c] == 1, 1, -1))
                    aps.append(100 * average_precision(machine.decision_function(z), test_y[:, c]))
                table[i, sample - 1] = np.mean(aps)
        best = table.mean(1).argmax()
        assert found[k].cost == COSTS[best]
        assert found[k].mean == pytest.approx(table[best].mean(), abs=1e-6)
        assert found[k].deviation == pytest.approx(table[best].std(), abs=1e-6)
        assert (found[k].least, found[k].most) == pytest.approx((table[best].min(), table[best].max()))
        honest = COSTS.index(found[k].heldout_cost)
        assert found[k].heldout_mean == pytest.approx(table[honest].mean(), abs=1e-6)
        assert found[k].heldout_mean <= found[k].mean


def test_the_batched_solver_gives_the_same_figures(data):
    drawn = draw_samples(data[1], SHOTS, 3, seed=0)
    tight = evaluate_low_shot(*data, drawn, costs=COSTS, solver=Liblinear(2.0, 1e-8, 100_000, 0))
    ours = evaluate_low_shot(*data, drawn, costs=COSTS, solver=choose_solver("batched", 2.0, 1e-4, 2000, 0, "cpu"))
    for k in SHOTS:
        assert ours[k].converged and ours[k].mean == pytest.approx(tight[k].mean, abs=0.05)


def test_classes_too_small_and_files_that_do_not_fit_are_told(data):
    with pytest.raises(LowShotError, match=r"class \d: \d+ training images with it, but k = 96 needs 96"):
        draw_samples(data[1], (96,), 1, seed=0)
    with pytest.raises(LowShotError, match=r"sample \(1, 1\): targets \(5, 3\)"):
        evaluate_low_shot(*data, {(1, 1): np.zeros((5, 3))}, costs=COSTS, solver=Liblinear(2, 1e-4, 9, 0))
