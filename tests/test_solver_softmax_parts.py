"""The parts of the softmax regression solver, each against its formula or autograd."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from twinbench.solver.principal_rows import aligned
from twinbench.solver.softmax import of_rows
from twinbench.solver.softmax_newton import ROUGHLY
from twinbench.solver.softmax_path import Guesses
from twinbench.solver.softmax_rows import AxisRows
from twinbench.solver.softmax_terms import Terms


def _rows(rows: int = 40, size: int = 6, bias: bool = True, dtype: torch.dtype = torch.float64) -> AxisRows:
    draw = torch.Generator().manual_seed(0)
    return AxisRows.of(torch.randn(rows, size, generator=draw, dtype=dtype) + 2, bias=bias)


def _terms(rows: AxisRows, weighted: bool) -> tuple[Terms, Tensor]:
    """Return two problems' terms at random scores, and the weights (2, 3, A) that give these."""
    draw = torch.Generator().manual_seed(1)
    w = torch.randn(2, 3, rows.z.shape[1], generator=draw, dtype=torch.float64)
    s = torch.randint(0, 3, (len(rows.z), 2), generator=draw).double() if weighted else None
    labels = torch.randint(0, 3, (len(rows.z),), generator=draw)
    terms = Terms(rows, labels, s, w.new_empty(len(rows.z), 2, 3))
    terms.refresh(rows.onto_rows(w))
    return terms, w


def _losses(terms: Terms, w: Tensor) -> Tensor:
    """Return the sum over problems of their losses, by torch's cross entropy."""
    scores = terms.rows.z @ w.flatten(0, 1).T
    total = w.new_zeros(())
    for p, each in enumerate(scores.view(-1, *w.shape[:2]).unbind(1)):
        loss = functional.cross_entropy(each, terms.labels, reduction="none")
        total = total + (loss if terms.weights is None else loss * terms.weights[:, p]).sum()
    return total


@pytest.mark.parametrize("weighted", [False, True])
def test_the_losses_are_cross_entropies(weighted: bool) -> None:
    rows = _rows()
    terms, w = _terms(rows, weighted)
    assert float(terms.refresh(rows.onto_rows(w)).sum()) == pytest.approx(float(_losses(terms, w)))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_autograds(weighted: bool) -> None:
    terms, w = _terms(_rows(), weighted)
    w.requires_grad_()
    (expected,) = torch.autograd.grad(_losses(terms, w), w)
    assert torch.allclose(terms.gradient(), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_product_with_the_curvature_is_autograds(weighted: bool) -> None:
    terms, w = _terms(_rows(), weighted)
    v = torch.randn(w.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, expected = torch.autograd.functional.hvp(lambda at: _losses(terms, at), w, v)
    assert isinstance(expected, Tensor)
    assert torch.allclose(terms.curved(v), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_change_of_the_gradient_is_that_of_two_gradients(weighted: bool) -> None:
    terms, w = _terms(_rows(), weighted)
    before, residuals = terms.gradient(), terms.residuals.clone()
    terms.refresh(terms.rows.onto_rows(0.9 * w))
    assert torch.allclose(terms.gradient_since(residuals), terms.gradient() - before)


def test_of_a_rough_change_of_the_gradient_little_is_unseen() -> None:
    rows = _rows(rows=400, dtype=torch.float32)
    labels, w = torch.arange(400) % 3, torch.randn(1, 3, rows.z.shape[1], generator=torch.Generator().manual_seed(1))
    terms = Terms(rows, labels, None, torch.empty(400, 1, 3))
    terms.refresh(rows.onto_rows(w))
    before, residuals = terms.gradient(), terms.residuals.clone()
    terms.refresh(rows.onto_rows(0.9 * w))
    exact = terms.gradient() - before
    assert float((terms.gradient_since(residuals) - exact).norm()) < ROUGHLY * float(exact.norm())


@pytest.mark.parametrize("columns", [1, 2048, 2049])
def test_aligned_rows_begin_at_multiples_of_64_bytes(columns: int) -> None:
    array = aligned(3, columns, torch.empty(0), torch.float32)
    assert array.stride(0) * array.element_size() % 64 == 0


def test_aligned_rows_are_no_power_of_two_apart() -> None:
    assert aligned(3, 2048, torch.empty(0), torch.float32).stride(0) == 2064


def test_the_product_of_some_problems_is_theirs_among_all() -> None:
    terms, w = _terms(_rows(), True)
    assert torch.allclose(terms.some(torch.tensor([1])).curved(w[1:]), terms.curved(w)[1:])


def test_the_mean_curvature_is_that_of_the_rows_by_weight_and_length() -> None:
    terms, w = _terms(_rows(), True)
    shares = torch.softmax(terms.rows.onto_rows(w), 2)[:, 0]
    lengths = terms.rows.lengths()
    assert terms.weights is not None
    by = lengths * terms.weights[:, 0]
    each = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]
    expected = (each * by[:, None, None]).sum(0) / by.sum()
    assert torch.allclose(terms.spread(lengths)[0], expected)


def test_a_loss_far_below_the_spacing_of_float32_near_1_keeps_its_digits() -> None:
    rows = _rows(rows=7, dtype=torch.float32)
    terms = Terms(rows, torch.zeros(7, dtype=torch.int64), None, torch.empty(7, 1, 2))
    loss = terms.refresh(torch.tensor([30.0, 0.0]).expand(7, 1, 2))
    assert float(loss[0]) == pytest.approx(7 * math.log1p(math.exp(-30)), rel=1e-5)


def test_a_residual_of_a_sure_row_keeps_its_digits() -> None:
    rows = _rows(rows=7, dtype=torch.float32)
    terms = Terms(rows, torch.zeros(7, dtype=torch.int64), None, torch.empty(7, 1, 2))
    terms.refresh(torch.tensor([30.0, 0.0]).expand(7, 1, 2))
    assert float(terms.residuals[0, 0, 0]) == pytest.approx(-math.exp(-30), rel=1e-5)


@pytest.mark.parametrize("rows", [40, 4])  # more than features, and fewer
@pytest.mark.parametrize("bias", [True, False])
def test_weights_turned_back_give_the_features_their_scores(rows: int, bias: bool) -> None:
    x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    turned = AxisRows.of(x, bias=bias)
    w = torch.randn(1, 3, turned.z.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights, biases = turned.features(w)
    assert torch.allclose(x @ weights[0].T + biases[0], turned.onto_rows(w)[:, 0])


def test_rows_in_their_axes_have_a_diagonal_scatter() -> None:
    z = _rows(bias=False).z
    scatter = z.T @ z
    assert torch.allclose(scatter, torch.diag(scatter.diagonal()), atol=1e-9)


@pytest.mark.parametrize("rows", [40, 4])
def test_the_size_of_a_gradient_is_that_for_the_features_that_came(rows: int) -> None:
    x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 2
    turned = AxisRows.of(x, bias=True)
    r = torch.randn(rows, 1, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.cat([r[:, 0].T @ x, r[:, 0].sum(0)[:, None]], 1).norm()
    assert float(turned.gradient_norm(turned.onto_axes(r, None))) == pytest.approx(float(expected))


def test_rows_in_several_blocks_are_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = _terms(_rows(), True)
    expected = whole.gradient().norm()
    monkeypatch.setattr("twinbench.solver.softmax_rows.BLOCK", 7)
    assert float(_terms(_rows(), True)[0].gradient().norm()) == pytest.approx(float(expected))


def test_weights_that_grow_as_in_ridge_regression_are_foretold_exactly() -> None:
    curvature = torch.tensor([[[5.0, 0.1]]], dtype=torch.float64)
    guesses = Guesses(curvature, torch.ones(2))
    for penalty in (100.0, 30.0, 10.0):
        guesses.add(penalty, 7 / (penalty + curvature))
    found = guesses.start(3.0)
    assert found is not None
    assert torch.allclose(found, 7 / (3.0 + curvature))


def test_weights_that_grow_as_the_logarithm_are_foretold_exactly() -> None:
    guesses = Guesses(torch.tensor([[[5.0, 0.1]]], dtype=torch.float64), torch.ones(2))
    for penalty in (100.0, 30.0, 10.0):
        guesses.add(penalty, torch.full((1, 1, 2), -math.log(penalty), dtype=torch.float64))
    found = guesses.start(3.0)
    assert found is not None
    assert torch.allclose(found, torch.full((1, 1, 2), -math.log(3.0), dtype=torch.float64))


def test_a_bias_is_not_foretold_to_shrink_with_the_penalty() -> None:
    guesses = Guesses(torch.tensor([[[5.0, 0.1]]]), torch.tensor([1.0, 0.0]))
    guesses.add(100.0, torch.ones(1, 1, 2))
    found = guesses.start(10.0)
    assert found is not None
    assert float(found[0, 0, 1]) == 1


def test_splits_of_row_numbers_count_each_row() -> None:
    splits = of_rows(3, torch.tensor([0, 2, 2]), torch.tensor([1]))
    assert splits.tolist() == [[1, 0], [0, 1], [2, 0]]


@pytest.mark.parametrize("columns", [65, 513])
def test_between_aligned_rows_are_zeros_whatever_memory_held_before(columns: int) -> None:
    """Uninitialised, they made of bfloat16 products of an odd number of columns no numbers, by chance."""
    whole = aligned(50, columns, torch.empty(0), torch.bfloat16)
    beyond = torch.as_strided(whole, (50, whole.stride(0) - columns), (whole.stride(0), 1), columns)
    assert beyond.count_nonzero() == 0


@pytest.mark.parametrize("axes", [64, 65])
def test_rough_products_are_near_exact_ones_whatever_memory_held_before(axes: int) -> None:
    x = torch.randn(300, axes, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        torch.full((300, 2 * axes), torch.nan)  # freed at once, and handed out again
        rows = AxisRows.of(x, bias=True)
    w = torch.randn(2, 3, axes + 1, generator=torch.Generator().manual_seed(1))
    exact = rows.onto_rows(w)
    assert (rows.onto_rows(w, rough=True) - exact).abs().max() < 0.02 * exact.abs().max()
