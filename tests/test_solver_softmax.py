"""Softmax regression against scikit-learn, plain Newton and known answers."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from twinbench.solver.softmax import Softmax, SoftmaxSolution, of_rows

PENALTIES = (1e3, 30.0, 1.0, 0.03, 1e-3)
EXACT = Softmax(dtype=torch.float64, tolerance=1e-10, distance=1e-8)


def _data(rows: int = 240, size: int = 12, classes: int = 5, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return features (N, D), not negative and of unequal lengths like pooled ones, and labels (N,)."""
    draw = np.random.default_rng(3)
    y = np.arange(rows) % classes
    x = draw.standard_normal((rows, size)) * np.arange(1, size + 1) ** -0.5
    x = np.maximum(x + apart * draw.standard_normal((classes, size))[y] + 0.5, 0)
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)


def _solve(
    solver: Softmax, x: Tensor, y: Tensor, penalties: tuple[float, ...] = PENALTIES, classes: int = 5
) -> list[SoftmaxSolution]:
    """Solve one split of all rows."""
    return list(solver(x, y, torch.ones(len(x), 1), penalties, classes))


def _sklearn(x: Tensor, y: Tensor, penalty: float, bias: bool = True) -> LogisticRegression:
    machine = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=20_000, fit_intercept=bias)
    return machine.fit(x.double().numpy(), y.numpy())


def _apart(w: Tensor, expected: np.ndarray | Tensor) -> float:
    """Return |w - expected| / |expected|."""
    other = torch.as_tensor(expected).double()
    return float((w.double() - other).norm() / other.norm())


def _plain_newton(x: Tensor, y: Tensor, penalty: float, classes: int) -> Tensor:
    """Return weights and biases (K, D + 1): autograd's gradient and Hessian, dense solves, halved where it rises."""
    rows = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)

    def value(flat: Tensor) -> Tensor:
        w = flat.view(classes, -1)
        loss = torch.nn.functional.cross_entropy(rows @ w.T, y, reduction="sum")
        return loss + penalty / 2 * w[:, :-1].square().sum()

    w = torch.zeros(classes * rows.shape[1], dtype=torch.float64)
    for _ in range(60):
        gradient = torch.func.grad(value)(w)
        hessian = torch.autograd.functional.hessian(value, w)
        assert isinstance(hessian, Tensor)
        d = torch.linalg.lstsq(hessian + 1e-12 * torch.eye(len(w)), -gradient).solution
        length = 1.0
        while value(w + length * d) > value(w) + 1e-12 and length > 1e-9:
            length /= 2
        w = w + length * d
    w = w.view(classes, -1)
    return w - w.mean(0)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_float64_solutions_are_those_of_scikit_learn(penalty: float) -> None:
    x, y = _data()
    (ours,) = _solve(EXACT, x, y, (penalty,))
    assert _apart(ours.weights[0], _sklearn(x, y, penalty).coef_) < 1e-4


@pytest.mark.parametrize("penalty", PENALTIES)
def test_float32_solutions_are_those_of_scikit_learn(penalty: float) -> None:
    x, y = _data()
    (ours,) = _solve(Softmax(distance=1e-3), x, y, (penalty,))
    assert _apart(ours.weights[0], _sklearn(x, y, penalty).coef_) < 5e-3


def test_predictions_are_those_of_scikit_learn_along_the_whole_path() -> None:
    x, y = _data()
    for ours in _solve(Softmax(distance=1e-3), x, y):
        expected = _sklearn(x, y, ours.penalty).predict(x.double().numpy())
        assert (ours.scores(x)[:, 0].argmax(1).numpy() == expected).all()


def test_without_a_bias_solutions_are_those_of_scikit_learn() -> None:
    x, y = _data()
    for ours in _solve(Softmax(bias=False, distance=1e-3), x, y, PENALTIES[:3]):
        assert _apart(ours.weights[0], _sklearn(x, y, ours.penalty, bias=False).coef_) < 5e-3


def test_fewer_rows_than_features_give_the_solutions_of_scikit_learn() -> None:
    x, y = _data(rows=30, size=50)
    for ours in _solve(Softmax(distance=1e-3), x, y, PENALTIES[:3]):
        assert _apart(ours.weights[0], _sklearn(x, y, ours.penalty).coef_) < 5e-3


@pytest.mark.parametrize("penalty", [10.0, 0.1])
def test_weights_are_those_of_plain_newton(penalty: float) -> None:
    x, y = _data(rows=60, size=4, classes=3)
    (ours,) = _solve(EXACT, x, y, (penalty,), classes=3)
    assert _apart(ours.weights[0], _plain_newton(x, y, penalty, 3)[:, :-1]) < 1e-6


@pytest.mark.parametrize("penalty", [10.0, 0.1])
def test_biases_are_those_of_plain_newton(penalty: float) -> None:
    x, y = _data(rows=60, size=4, classes=3)
    (ours,) = _solve(EXACT, x, y, (penalty,), classes=3)
    assert _apart(ours.biases[0] - ours.biases[0].mean(), _plain_newton(x, y, penalty, 3)[:, -1]) < 1e-6


def test_two_classes_are_logistic_regression_at_half_the_penalty() -> None:
    x, y = _data(classes=2)
    (ours,) = _solve(EXACT, x, y, (4.0,), classes=2)
    v = (ours.weights[0, 1] - ours.weights[0, 0]).requires_grad_()
    margins = (2 * y - 1) * (x.double() @ v + ours.biases[0, 1] - ours.biases[0, 0])
    (torch.log1p(torch.exp(-margins)).sum() + 4.0 / 2 / 2 * v.square().sum()).backward()
    assert v.grad is not None
    assert float(v.grad.norm()) < 1e-6


@pytest.mark.parametrize("solver", [Softmax(), EXACT])
def test_the_recorded_gradient_is_within_the_tolerance_by_autograd(solver: Softmax) -> None:
    x, y = _data()
    for ours in _solve(solver, x, y):
        w = torch.cat([ours.weights[0], ours.biases[0, :, None]], 1).double()
        now, zero = (_autograd_norm(x, y, at, ours.penalty) for at in (w, torch.zeros_like(w)))
        assert now / zero <= solver.tolerance


def _autograd_norm(x: Tensor, y: Tensor, at: Tensor, penalty: float) -> float:
    """Return |gradient| of the objective at weights and biases (K, D + 1)."""
    at = at.clone().requires_grad_()
    scores = x.double() @ at[:, :-1].T + at[:, -1]
    loss = torch.nn.functional.cross_entropy(scores, y, reduction="sum") + penalty / 2 * at[:, :-1].square().sum()
    loss.backward()
    assert at.grad is not None
    return float(at.grad.norm())


def test_weights_of_all_classes_add_up_to_nothing_along_a_long_path() -> None:
    x, y = _data()  # what classes share, the loss does not feel: once guesses had made rounding of it grow
    ours = _solve(Softmax(), x, y, tuple(np.logspace(-6, 5, 45).tolist()))[-1]
    assert float(ours.weights[0].sum(0).norm() / ours.weights[0].norm()) < 1e-5


def test_solutions_come_strongest_penalty_first() -> None:
    x, y = _data()
    assert [each.penalty for each in _solve(Softmax(), x, y, (1.0, 100.0, 10.0))] == [100.0, 10.0, 1.0]


def test_a_penalty_begun_cold_ends_where_the_path_does() -> None:
    x, y = _data()
    (cold,) = _solve(EXACT, x, y, PENALTIES[-1:])
    assert _apart(cold.weights, _solve(EXACT, x, y)[-1].weights) < 1e-6


def test_splits_solved_together_are_as_solved_alone() -> None:
    x, y = _data()
    splits = of_rows(len(x), torch.arange(0, 160), torch.arange(80, 240), torch.arange(240))
    for together in EXACT(x, y, splits, PENALTIES, 5):
        alone = [list(EXACT(x, y, splits[:, p : p + 1], (together.penalty,), 5))[0].weights for p in range(3)]
        assert _apart(together.weights, torch.cat(alone)) < 1e-6


def test_a_row_that_counts_twice_is_as_two_rows() -> None:
    x, y = _data()
    twice = torch.cat([torch.arange(240), torch.arange(50)])
    (ours,) = EXACT(x, y, of_rows(240, twice), (1.0,), 5)
    (copied,) = _solve(EXACT, x[twice], y[twice], (1.0,))
    assert _apart(ours.weights, copied.weights) < 1e-6


def test_a_class_that_a_fold_lacks_is_never_predicted() -> None:
    x, y = _data()
    splits = of_rows(240, (y != 2).nonzero()[:, 0], torch.arange(240))
    for ours in Softmax()(x, y, splits, PENALTIES, 5):
        assert not (ours.scores(x)[:, 0].argmax(1) == 2).any()


def test_the_classes_that_a_fold_has_are_solved_as_if_there_were_no_other() -> None:
    x, y = _data()
    rows = (y != 2).nonzero()[:, 0]
    (ours,) = EXACT(x, y, of_rows(240, rows, torch.arange(240)), (1.0,), 5)
    there = torch.tensor([0, 1, 3, 4])
    assert _apart(ours.weights[0, there], _sklearn(x[rows], y[rows], 1.0).coef_) < 1e-4


def test_a_class_that_a_fold_lacks_has_no_weights() -> None:
    x, y = _data()
    (ours,) = Softmax()(x, y, of_rows(240, (y != 2).nonzero()[:, 0]), (1.0,), 5)
    assert not ours.weights[0, 2].any()


def test_a_class_with_one_image_is_solved_as_by_scikit_learn() -> None:
    x, y = _data()
    rows = torch.cat([(y != 1).nonzero()[:, 0], (y == 1).nonzero()[:1, 0]])
    for ours in _solve(Softmax(distance=1e-3), x[rows], y[rows], PENALTIES[:4]):
        assert _apart(ours.weights[0], _sklearn(x[rows], y[rows], ours.penalty).coef_) < 5e-3


def test_rows_of_one_class_alone_need_no_weights() -> None:
    x, y = _data()
    (ours,) = Softmax()(x, y, of_rows(240, (y == 1).nonzero()[:, 0]), (1.0,), 5)
    assert not ours.weights.any()


def test_features_that_are_copies_of_each_other_get_the_same_weights() -> None:
    x, y = _data()
    (ours,) = _solve(EXACT, torch.cat([x, x[:, :1]], 1), y, (1.0,))
    assert torch.allclose(ours.weights[0, :, 0], ours.weights[0, :, -1], atol=1e-8)


def test_a_constant_feature_gets_no_weight_beside_a_bias() -> None:
    x, y = _data()
    (ours,) = _solve(EXACT, torch.cat([x, torch.full((240, 1), 3.0)], 1), y, (1.0,))
    assert float(ours.weights[0, :, -1].abs().max()) < 1e-8


def test_a_shift_of_the_features_changes_the_biases_alone() -> None:
    x, y = _data()
    (ours,), (shifted,) = _solve(EXACT, x, y, (1.0,)), _solve(EXACT, x + 7, y, (1.0,))
    assert _apart(shifted.weights, ours.weights) < 1e-5


def test_separable_rows_are_all_told_apart_at_a_weak_penalty() -> None:
    x, y = _data(apart=6.0)
    ours = _solve(Softmax(), x, y, (1.0, 1e-2, 1e-4, 1e-6))[-1]
    assert bool((ours.scores(x)[:, 0].argmax(1) == y).all())


def test_separable_rows_converge_at_a_weak_penalty() -> None:
    x, y = _data(apart=6.0)
    assert all(bool(each.converged[0]) for each in _solve(Softmax(), x, y, (1.0, 1e-2, 1e-4, 1e-6)))


def test_weights_of_separable_rows_are_near_the_best_ones_though_the_gradient_is_small_anywhere() -> None:
    x, y = _data(apart=6.0)
    ours = _solve(Softmax(), x, y, (1.0, 1e-2, 1e-4))[-1]
    assert _apart(ours.weights, _solve(EXACT, x, y, (1.0, 1e-2, 1e-4))[-1].weights) < 2e-2


def test_a_solution_stopped_by_its_limit_says_so() -> None:
    x, y = _data()
    (ours,) = _solve(Softmax(limit=1), x, y, (1e-3,))
    assert not bool(ours.converged[0])


def test_the_distance_bounds_how_far_the_weights_are_from_the_best_ones() -> None:
    x, y = _data()
    best = _solve(EXACT, x, y)
    for rough, exact in zip(_solve(Softmax(tolerance=1e-3, distance=1.0), x, y), best, strict=True):
        assert _apart(exact.weights, rough.weights) <= float(rough.distance[0]) * 1.01
