"""LARS against a numpy step, the schedule against its formula."""

import math

import numpy as np
import pytest
import torch

from twinbench.pretrain.lars import LARS
from twinbench.pretrain.schedule import learning_rate


def test_three_steps_by_numpy() -> None:
    random = np.random.default_rng(0)
    values = {"weight": random.normal(size=(3, 4)), "bias": random.normal(size=4), "zero": np.zeros((2, 2))}
    params = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in values.items()}
    unused = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([*params.values(), unused], lr=0.5, weight_decay=0.1, momentum=0.8, eta=0.02)
    momenta = {name: np.zeros_like(value) for name, value in values.items()}
    for _ in range(3):
        for name, value in values.items():
            g = random.normal(size=value.shape)
            params[name].grad = torch.tensor(g)
            if value.ndim != 1:
                g = g + 0.1 * value
                size, slope = np.linalg.norm(value), np.linalg.norm(g)
                g = g * (0.02 * size / slope if size > 0 and slope > 0 else 1)
            momenta[name] = 0.8 * momenta[name] + g
            values[name] = value - 0.5 * momenta[name]
        optimizer.step()
    for name, value in values.items():
        np.testing.assert_allclose(params[name].detach().numpy(), value, rtol=1e-12)
        np.testing.assert_allclose(optimizer.state[params[name]]["mu"].numpy(), momenta[name], rtol=1e-12)
    assert torch.equal(unused.detach(), torch.ones(2, 2))
    assert unused not in optimizer.state


def test_a_weight_without_gradient_or_size_is_not_scaled() -> None:
    still = torch.nn.Parameter(torch.ones(2, 2))
    still.grad = torch.zeros(2, 2)
    born = torch.nn.Parameter(torch.zeros(2, 2))
    born.grad = torch.full((2, 2), 2.0)
    LARS([still, born], lr=0.1, eta=0.001).step()
    assert torch.equal(still.detach(), torch.ones(2, 2))
    torch.testing.assert_close(born.detach(), torch.full((2, 2), -0.2))


def test_groups_have_rates_of_their_own() -> None:
    first, second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = LARS([{"params": [first], "lr": 1.0}, {"params": [second]}], lr=0.25)
    for p in (first, second):
        p.grad = torch.ones(2)
    assert optimizer.step(lambda: 7.0) == 7.0
    assert first.tolist() == [0, 0]
    assert second.tolist() == [0.75, 0.75]


def rate(step: int, **changes: float) -> float:
    settings = {"steps_per_epoch": 5, "epochs": 40, "batch_size": 512, "base": 0.2, "warmup_epochs": 10} | changes
    return learning_rate(step, **settings)  # type: ignore[arg-type]


def test_schedule() -> None:
    assert rate(0) == 0
    assert rate(25) == pytest.approx(0.4 * 25 / 50)
    assert rate(50) == pytest.approx(0.4)
    assert rate(125) == pytest.approx(0.4 * 0.5 + 0.4 * 0.001 * 0.5)  # half of the way down
    assert rate(200) == pytest.approx(0.4 * 0.001)
    q = 0.5 * (1 + math.cos(math.pi * (80 - 50) / 150))
    assert rate(80) == pytest.approx(0.4 * q + 0.4 * 0.001 * (1 - q))


def test_published_peaks() -> None:
    """At batch 2048: 1.6 and 0.0384 after the warm-up."""
    assert rate(50, batch_size=2048) == pytest.approx(1.6)
    assert rate(50, batch_size=2048, base=0.0048) == pytest.approx(0.0384)


def test_a_run_within_its_warm_up_only_grows() -> None:
    rates = [rate(step, epochs=4) for step in range(20)]
    assert rates == pytest.approx([0.4 * step / 50 for step in range(20)])
    assert rate(3, warmup_epochs=0) > 0
