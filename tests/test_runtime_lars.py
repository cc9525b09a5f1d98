"""LARS on the rule of MAE's and efficient probing's util/lars.py, written out with numbers; pretraining has its own."""

import math

import pytest
import torch

from twinbench.pretrain import lars as promised
from twinbench.runtime.lars import LARS


def norm(values):
    return math.sqrt(sum(value * value for row in values for value in row))


def test_a_weight_moves_a_thousandth_of_its_norm_along_its_gradient():
    weight = torch.nn.Parameter(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    weight.grad = torch.tensor([[0.0, 6.0], [8.0, 0.0]])
    LARS([weight], lr=2.0).step()
    step = 2.0 * 0.001 * 5.0 / 10.0  # lr x trust x |p| / |g|
    torch.testing.assert_close(weight.detach(), torch.tensor([[3.0, -6 * step], [-8 * step, 4.0]]))


def test_two_steps_are_the_rule_of_mae_with_decay_before_the_scale():
    weight, bias = [[0.5, -1.0], [2.0, 0.25]], [0.5, -0.5]
    slopes, slope = [[0.1, 0.2], [-0.3, 0.4]], [1.0, -2.0]
    p, b = torch.nn.Parameter(torch.tensor(weight).double()), torch.nn.Parameter(torch.tensor(bias).double())
    optimizer = LARS([p, b], lr=3.2, weight_decay=0.01)
    momenta, momentum = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]
    for _ in range(2):
        p.grad, b.grad = torch.tensor(slopes).double(), torch.tensor(slope).double()
        optimizer.step()
        decayed = [[g + 0.01 * w for g, w in zip(*rows, strict=True)] for rows in zip(slopes, weight, strict=True)]
        trust = 0.001 * norm(weight) / norm(decayed)
        for i in range(2):
            for j in range(2):
                momenta[i][j] = 0.9 * momenta[i][j] + trust * decayed[i][j]
                weight[i][j] -= 3.2 * momenta[i][j]
            momentum[i] = 0.9 * momentum[i] + slope[i]  # neither decay nor scale
            bias[i] -= 3.2 * momentum[i]
    assert p.detach().flatten().tolist() == pytest.approx([value for row in weight for value in row], rel=1e-6)
    assert b.detach().tolist() == pytest.approx(bias, rel=1e-6)


def test_queries_of_three_axes_are_scaled_as_weights_are():
    """Efficient probing keeps its queries as (1, Q, C): the rule asks for one axis or more, not for two."""
    queries = torch.nn.Parameter(torch.ones(1, 2, 2))
    queries.grad = torch.full((1, 2, 2), 4.0)
    LARS([queries], lr=1.0).step()
    torch.testing.assert_close(queries.detach(), torch.full((1, 2, 2), 1 - 0.001))


def test_the_promised_name_is_the_same_class():
    assert promised.LARS is LARS
