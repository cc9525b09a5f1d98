"""scikit-learn's L-BFGS as sources call it, and the bound on what its early end costs."""

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from twinbench.solver.softmax import Softmax, of_rows
from twinbench.solver.softmax_check import best_biases, gradient_norms, objective, shortfall
from twinbench.solver.softmax_reference import Lbfgs


def _data(classes: int = 4) -> tuple[Tensor, Tensor]:
    draw = np.random.default_rng(5)
    y = np.arange(120) % classes
    x = np.maximum(draw.standard_normal((120, 8)) + draw.standard_normal((classes, 8))[y] + 0.5, 0)
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)


def _ones(x: Tensor) -> Tensor:
    return torch.ones(len(x), 1)


def _theirs(x: Tensor, y: Tensor, machine: LogisticRegression) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.as_tensor(machine.fit(x.numpy(), y.numpy()).coef_)


def test_the_reference_is_scikit_learn_with_the_settings_given() -> None:
    x, y = _data()
    (ours,) = Lbfgs(max_iterations=7)(x, y, _ones(x), [0.1], 4)
    assert torch.equal(ours.weights[0], _theirs(x, y, LogisticRegression(C=1 / 0.1, max_iter=7)).float())


def test_a_fit_that_ends_early_has_not_converged() -> None:
    x, y = _data()
    (ours,) = Lbfgs(max_iterations=7)(x, y, _ones(x), [0.1], 4)
    assert not bool(ours.converged[0])


def test_a_fit_that_ends_by_its_tolerance_has_converged() -> None:
    x, y = _data()
    (ours,) = Lbfgs(max_iterations=1000)(x, y, _ones(x), [0.1], 4)
    assert bool(ours.converged[0])


def test_a_warm_start_goes_on_from_the_last_penalty_in_the_order_given() -> None:
    x, y = _data()
    *_, ours = Lbfgs(max_iterations=3, warm_start=True)(x, y, _ones(x), [0.1, 10.0], 4)
    machine = LogisticRegression(C=1 / 0.1, max_iter=3, warm_start=True)
    _theirs(x, y, machine)
    assert torch.equal(ours.weights[0], _theirs(x, y, machine.set_params(C=0.1)).float())


def test_a_class_that_a_split_lacks_is_never_predicted_by_the_reference() -> None:
    x, y = _data()
    (ours,) = Lbfgs(max_iterations=1000)(x, y, of_rows(120, (y != 1).nonzero()[:, 0]), [1.0], 4)
    assert not (ours.scores(x)[:, 0].argmax(1) == 1).any()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_reference_run_to_its_end_is_our_solution(classes: int) -> None:
    x, y = _data(classes)
    reference = Lbfgs(tolerance=1e-9, max_iterations=5000, dtype=torch.float64)
    (theirs,) = reference(x, y, _ones(x), [0.5], classes)
    (ours,) = Softmax()(x, y, _ones(x), [theirs.penalty], classes)
    assert torch.allclose(ours.weights, theirs.weights.float(), atol=2e-3)


def test_without_a_bias_the_reference_has_none() -> None:
    x, y = _data()
    (ours,) = Lbfgs(bias=False)(x, y, _ones(x), [0.5], 4)
    assert not ours.biases.any()


def _numbers(penalty: float = 0.5, iterations: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]:
    """Return features, labels, rows' weights, and where an early fit ended, weights and biases, with its penalty."""
    x, y = _data()
    (ours,) = Lbfgs(max_iterations=iterations)(x, y, _ones(x), [penalty], 4)
    return x, y, torch.ones(len(x)), ours.weights[0], ours.biases[0], penalty


def _least(x: Tensor, y: Tensor, penalty: float) -> float:
    """Return the least value of the objective, by SciPy."""

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.as_tensor(flat).view(4, -1).requires_grad_()
        loss = torch.nn.functional.cross_entropy(x.double() @ w[:, :-1].T + w[:, -1], y, reduction="sum")
        loss = loss + penalty / 2 * w[:, :-1].square().sum()
        loss.backward()
        assert w.grad is not None
        return loss.item(), w.grad.numpy().ravel()

    found = minimize(value, np.zeros(4 * 9), jac=True, method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-9})
    return float(found.fun)


@pytest.mark.parametrize("iterations", [1, 3, 5, 10, 30])
@pytest.mark.parametrize("penalty", [0.01, 0.5, 20.0])
def test_an_early_fit_is_no_further_above_the_minimum_than_the_bound(iterations: int, penalty: float) -> None:
    x, y, s, w, b, _ = _numbers(penalty, iterations)
    above = objective(x, y, s, w, b, penalty) - _least(x, y, penalty)
    assert above <= shortfall(x, y, s, w, b, penalty, bias=True) + 1e-9


def test_the_bound_of_a_finished_fit_is_about_nothing() -> None:
    x, y, s, w, b, penalty = _numbers(iterations=1000)
    assert shortfall(x, y, s, w, b, penalty, bias=True) < 1e-2 * objective(x, y, s, w, b, penalty)


def test_what_biases_alone_lose_is_in_the_bound_exactly() -> None:
    x, y, s, w, b, penalty = _numbers(iterations=1000)
    off = b + torch.tensor([2.0, 0.0, 0.0, 0.0])
    lost = objective(x, y, s, w, off, penalty) - objective(x, y, s, w, b, penalty)
    apart = shortfall(x, y, s, w, off, penalty, bias=True) - shortfall(x, y, s, w, b, penalty, bias=True)
    assert apart == pytest.approx(lost, rel=1e-6)


def test_the_best_biases_have_no_gradient() -> None:
    x, y, s, w, b, penalty = _numbers()
    best = best_biases(x.double() @ w.double().T, y, s, b)
    shares = torch.softmax(x.double() @ w.double().T + best, 1).sum(0)
    assert torch.allclose(shares, torch.bincount(y).double(), atol=1e-9)


def test_the_float64_gradient_is_autograds() -> None:
    x, y, s, w, b, penalty = _numbers()
    at = torch.cat([w, b[:, None]], 1).double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(x.double() @ at[:, :-1].T + at[:, -1], y, reduction="sum")
    (expected,) = torch.autograd.grad(loss + penalty / 2 * at[:, :-1].square().sum(), at)
    assert gradient_norms(x, y, s, w, b, penalty, bias=True)[0] == pytest.approx(float(expected.norm()))


def test_the_gradient_at_zero_weights_is_that_of_equal_shares() -> None:
    x, y, s, w, b, penalty = _numbers()
    apart = 1 / 4 - torch.nn.functional.one_hot(y, 4).double()
    expected = torch.cat([apart.T @ x.double(), apart.sum(0)[:, None]], 1).norm()
    assert gradient_norms(x, y, s, w, b, penalty, bias=True)[1] == pytest.approx(float(expected))
