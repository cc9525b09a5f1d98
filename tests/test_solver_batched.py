"""The batched solver against LIBLINEAR solved tightly, against scipy's general minimiser, and against itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize
from sklearn.svm import LinearSVC

from twinbench.protocols.svm import VISSL_SVM
from twinbench.solver import batched, principal_rows
from twinbench.solver.batched import Batched
from twinbench.solver.cost_path import CostPath
from twinbench.solver.linear_problems import Problems, with_bias
from twinbench.solver.newton_cg import Descents
from twinbench.solver.newton_dual import duality_gap, minimize_dual
from twinbench.solver.objective import line_search, objective
from twinbench.solver.principal_rows import PrincipalRows, self_product
from twinbench.transfer.svm import evaluate_svm

COSTS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def rows(count, features, seed):
    """Return unit rows with a decaying spectrum and a common direction, as pooled features have."""
    draw = np.random.default_rng(seed)
    x = np.abs(draw.normal(size=(count, features)) @ np.diag(np.arange(1, features + 1) ** -0.5) + 0.5)
    return torch.as_tensor(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=torch.float32)


def problems(x, seed, count=4):
    """Return separable-with-noise labels; in the odd problems a third of the rows is held out."""
    draw = np.random.default_rng(seed)
    outputs = x.numpy() @ draw.normal(size=(x.shape[1], count)) + 0.2 * draw.normal(size=(len(x), count))
    y = np.where(outputs > np.quantile(outputs, 0.7, axis=0), 1.0, -1.0)
    s = np.where(y > 0, 2.0, 1.0)
    s[::3, 1::2] = 0
    return Problems(torch.as_tensor(y).float(), torch.as_tensor(s).float())


def value(w, x, y, s, cost):
    """Return the objective in float64; w ends with the bias."""
    slack = np.maximum(0, 1 - y * (x @ w[:-1] + w[-1]))
    return 0.5 * w @ w + cost * (s * slack**2).sum()


def exact(x, y, s, cost):
    """Return LIBLINEAR's primal minimum to 1e-10."""
    machine = LinearSVC(C=cost, tol=1e-10, max_iter=100_000, dual=False, class_weight={1: 2, -1: 1})
    machine.fit(x[s > 0], y[s > 0])
    return np.append(machine.coef_[0], machine.intercept_)


def descend(x, task, costs, tolerance=1e-9):
    """Return the path of conjugate gradients alone over features x (N, F)."""
    rows = PrincipalRows.of(x)
    path = CostPath.empty(costs, task.labels.T.contiguous(), task.weights.T.contiguous(), rows.z.shape[1])
    counts = Descents(rows, path).run(tolerance, 60, lambda _, i: torch.zeros_like(i, dtype=torch.bool))
    assert sum(counts) == len(costs) * len(task)
    return rows, path


@pytest.mark.parametrize("shape", [(120, 20), (60, 90)], ids=["N > F", "F > N"])
@pytest.mark.parametrize("dearer", [0.0, 1.0, 1e9], ids=["dual", "mixed", "conjugate gradients"])
@pytest.mark.parametrize("rough", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_scores_and_objective_are_liblinears_minimum(shape, dearer, rough, monkeypatch):
    monkeypatch.setattr(batched, "SLOWER", dearer)
    monkeypatch.setattr(batched, "NARROW", 1)
    monkeypatch.setattr(principal_rows, "rough_type", lambda device: rough)
    x, test = rows(*shape, seed=0), rows(30, shape[1], seed=1)
    task = problems(x, seed=2)
    if dearer == 1e9:  # conjugate gradients alone, far beyond the costs they are chosen for
        costs, tolerance = COSTS[:4], 1e-3
    else:
        costs, tolerance = COSTS, 2e-3
    for cost, found in zip(costs, Batched(tolerance=1e-9)(x, test)(task, costs), strict=True):
        for p in range(len(task)):
            w = exact(x.double().numpy(), task.labels[:, p].numpy(), task.weights[:, p].numpy(), cost)
            best = with_bias(torch.cat([x, test])).double().numpy() @ w
            ours = torch.cat([found.train_scores, found.test_scores])[:, p].numpy()
            scale = np.abs(best).max()
            np.testing.assert_allclose(ours / scale, best / scale, atol=tolerance, err_msg=f"C={cost}, problem {p}")
        assert found.converged.all()


def test_the_minimum_is_a_general_minimisers_too():
    x = rows(40, 6, seed=3)
    task, w = problems(x, seed=4, count=1), np.zeros(7)
    y, s = task.labels[:, 0].double().numpy(), task.weights[:, 0].double().numpy()
    best = scipy_minimize(value, w, (x.double().numpy(), y, s, 5.0), method="BFGS", options={"gtol": 1e-9})
    principal, path = descend(x, task, [5.0])
    ours = principal.features(path.w[0])[0].double().numpy()
    assert value(ours, x.double().numpy(), y, s, 5.0) == pytest.approx(best.fun, rel=1e-6)


def test_both_ways_meet_at_the_same_point():
    x = rows(80, 15, seed=5)
    task, z = problems(x, seed=6), with_bias(x)
    y, s = task.labels.T, task.weights.T
    principal, path = descend(x, task, [3.0])
    for guess in (s > 0, torch.eye(4, 80) > 0):  # every row, or one: both far from the end
        two = minimize_dual(z @ z.T, y, s, guess, cost=3.0, tolerance=1e-10, limit=60)
        torch.testing.assert_close(path.margins[0], two.margins, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(principal.features(path.w[0]), two.b @ z, atol=1e-3, rtol=1e-3)


def test_a_gram_that_rounding_leaves_indefinite_is_solved_in_float64():
    x = with_bias(rows(60, 10, seed=13)).repeat(8, 1)  # of rank 11: all but 11 eigenvalues are float32's noise
    y, s, cost = torch.ones(1, 480), torch.ones(1, 480), 1e6
    y[0, ::3] = -1
    gram = x @ x.T
    everywhere = gram + torch.eye(480) / (2 * cost)
    assert torch.linalg.cholesky_ex(everywhere).info > 0
    found = minimize_dual(gram, y, s, s > 0, cost=cost, tolerance=1e-6, limit=1)
    expected = np.linalg.solve(everywhere.double().numpy(), y[0].double().numpy())
    np.testing.assert_allclose(found.b[0].numpy(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_problems_that_walk_along_the_costs_together_end_where_each_does_alone():
    x = rows(150, 25, seed=10)
    task = problems(x, seed=11, count=9)
    _, together = descend(x, task, COSTS[:4])
    for p in range(len(task)):
        _, alone = descend(x, Problems(task.labels[:, p : p + 1], task.weights[:, p : p + 1]), COSTS[:4])
        torch.testing.assert_close(together.margins[:, p], alone.margins[:, 0], atol=2e-4, rtol=2e-4)


def test_the_duality_gap_bounds_how_far_the_objective_is_above_its_minimum():
    x = rows(80, 15, seed=5)
    task, z = problems(x, seed=6), with_bias(x)
    gram, y, s = z @ z.T, task.labels.T, task.weights.T
    least = minimize_dual(gram, y, s, s > 0, cost=3.0, tolerance=1e-10, limit=60)

    def above(b):
        values = (objective((b * (b @ gram)).sum(1), b @ gram, y, s, 3.0) for b in (b, least.b))
        return next(values) - next(values)

    def gap(b):
        return duality_gap(b, b @ gram, y, s, 3.0, gram.diagonal().sqrt()[None])

    assert (gap(least.b) < 1e-3).all()
    for seed in range(20):
        b = least.b + 0.3 * torch.randn(4, 80, generator=torch.Generator().manual_seed(seed)) * (s > 0)
        assert (gap(b) >= above(b)).all()
        assert (above(b) > 0.01).all()


def test_line_search_finds_the_least_value_along_the_line():
    draw = np.random.default_rng(7)
    y = torch.as_tensor(np.sign(draw.normal(size=(3, 50)))).float()
    s, margins, moved = (torch.as_tensor(draw.normal(size=(3, 50))).float() for _ in range(3))
    s, slope, curvature = s.abs(), torch.tensor([-0.5, 0.3, -2.0]), torch.tensor([1.0, 2.0, 0.5])
    cost, moved = torch.tensor([[2.0], [1.0], [5.0]]), moved + 2 * y  # towards the right side: descent
    found = line_search(y, s, cost, margins, moved, slope, curvature)
    grid = torch.linspace(0, 6, 60_001, dtype=torch.float64)
    for p in range(3):
        slack = (1 - y[p, :, None] * (margins[p, :, None] + moved[p, :, None] * grid)).clamp(min=0)
        values = slope[p] * grid + 0.5 * curvature[p] * grid**2 + cost[p] * (s[p, :, None] * slack**2).sum(0)
        assert found[p].item() == pytest.approx(grid[values.argmin()].item(), abs=2e-4)


@pytest.mark.parametrize("shape", [(30, 10), (10, 30)], ids=["N > F", "F > N"])
def test_principal_axes_keep_every_product_and_every_score(shape):
    x, test = rows(*shape, seed=8), rows(7, shape[1], seed=9)
    principal, b = PrincipalRows.of(x), with_bias(x)
    torch.testing.assert_close(principal.z @ principal.z.T, b @ b.T, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(principal.gram, b @ b.T, atol=1e-4, rtol=1e-4)
    apart = principal.z.T @ principal.z  # diagonal: the axes are the principal ones
    torch.testing.assert_close(apart, torch.diag(apart.diagonal()), atol=1e-3, rtol=0)
    w = torch.randn(4, principal.z.shape[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(principal.scores(w, x), principal.onto_rows(w), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(principal.scores(w, test), principal.features(w) @ with_bias(test).T)


def test_one_triangle_gives_the_whole_product():
    x = rows(40, 25, seed=12)
    torch.testing.assert_close(self_product(x), x @ x.T)
    torch.testing.assert_close(self_product(x.T), x.T @ x)


def path_of(values, costs):
    """Return a path of one problem with one row and one axis, whose w and margins are `values` at all but the last."""
    path = CostPath.empty(costs, torch.ones(1, 1), torch.ones(1, 1), 1)
    for at, number in enumerate(values):
        path.w[at], path.margins[at] = number, number
    return path


def test_a_path_goes_on_along_the_line_or_parabola_that_its_solutions_lie_on():
    costs, only = [0.1, 1.0, 10.0, 100.0], torch.tensor([0])

    def u(cost):
        return np.log(cost / (cost + 10))

    line, parabola = (lambda c: 0.7 + 0.05 * u(c)), (lambda c: 0.7 + 0.05 * u(c) + 0.02 * u(c) ** 2)
    # With a row at 1 the objective 1/2 w^2 + C (1 - w)^2 is lower where w is nearer to 2 C / (1 + 2 C).
    for curve in (line, parabola):
        path = path_of([curve(c) for c in costs[:3]], costs)
        assert path.start(3, only).item() == pytest.approx(curve(100.0), rel=1e-5)
    assert path_of([0.5, 0.5, 2.0], costs).start(3, only).item() == pytest.approx(2.0)  # both lead away: the last one
    assert path_of([], costs).start(0, only).item() == 0


def test_a_far_cost_is_not_reached_for():
    costs = [1.0, 1.01, 1000.0]
    path = path_of([0.10, 0.11], costs)
    assert path.start(2, torch.tensor([0])).item() == pytest.approx(0.11 + 3 * 0.01, rel=1e-4)


@pytest.fixture(scope="module")
def voc_like():
    """Six overlapping classes of 4 to 40 % in 64 dimensions, 400 + 300 rows, with ignored labels."""
    draw = np.random.default_rng(9)
    directions, parts = draw.normal(size=(6, 64)) * 0.7, []
    for count in (400, 300):
        y = (draw.random((count, 6)) < np.linspace(0.04, 0.4, 6)).astype(np.int8)
        x = np.maximum(y @ directions + draw.normal(size=(count, 64)) @ np.diag(np.linspace(2, 0.3, 64)) + 0.5, 0)
        y[(draw.random(y.shape) < 0.03) & (y == 0)] = -1
        parts += [x.astype(np.float32), y]
    return parts


def test_the_protocol_gives_liblinears_aps_and_costs(voc_like):
    ours = evaluate_svm(*voc_like, costs=COSTS)
    exact_fits = replace(VISSL_SVM, tolerance=1e-8, max_iterations=200_000)
    reference = evaluate_svm(*voc_like, costs=COSTS[:5], recipe=exact_fits, solver="liblinear")
    assert ours.converged
    assert reference.converged
    np.testing.assert_allclose(ours.cv_ap[:, :5], reference.cv_ap, atol=0.1)
    np.testing.assert_allclose(ours.test_ap[:, :5], reference.test_ap, atol=0.1)  # points
    assert abs(ours.test_ap[:, :5].mean() - reference.test_ap.mean()) < 0.01
    two_best = np.sort(reference.cv_ap, axis=1)[:, -2:]
    clear = (two_best[:, 1] - two_best[:, 0] > 0.1) & (ours.cv_ap.argmax(1) < 5)
    assert clear.any()
    np.testing.assert_array_equal(ours.cost[clear], reference.cost[clear])


def test_the_same_seed_and_threads_give_the_same_bits(voc_like):
    first, second = (evaluate_svm(*voc_like, costs=COSTS) for _ in range(2))
    np.testing.assert_array_equal(first.test_ap, second.test_ap)
    np.testing.assert_array_equal(first.gradient, second.gradient)


def test_a_limit_that_is_too_low_is_seen(voc_like):
    x, y = torch.as_tensor(voc_like[0]), voc_like[1]
    labels = torch.as_tensor(np.where(y == 1, 1.0, -1.0))
    task = Problems(labels, torch.ones_like(labels))
    (found,) = Batched(limit=1)(x, x[:5])(task, [10.0])
    assert not found.converged.all()
    assert (found.iterations == 1).any()
    assert (found.gradient(torch.arange(len(task))) > 1e-3).any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees(voc_like):
    on_cpu, on_gpu = (evaluate_svm(*voc_like, costs=COSTS, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu.test_ap, on_cpu.test_ap, atol=0.1)
