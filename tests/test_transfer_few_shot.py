"""Logistic regression on k images a class: whose they are, who chooses, and what is reported."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.house import SettingError
from twinbench.solver.softmax_reference import Lbfgs
from twinbench.transfer.few_shot import drawn_shots, evaluate_few_shot
from twinbench.transfer.logistic import Fits, LogisticError

RECIPE = dataclasses.replace(PROTOCOLS["few-shot-dinov3"].recipe, penalties=(0.01, 1.0, 100.0), shots=(1, 4), draws=3)


def blobs(rows=300, classes=3, features=6, spread=1.5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(rows) % classes)
    centres = np.random.default_rng(9).normal(0, 2, (classes, features))
    return (centres[y] + rng.normal(0, spread, (rows, features))).astype(np.float32), y


def evaluated(x, y, test_x, test_y, recipe=RECIPE, classes=3):
    solver = Fits(Lbfgs(tolerance=1e-8, max_iterations=5000))
    return evaluate_few_shot(x, y, test_x, test_y, classes=classes, recipe=recipe, metric="top1", solver=solver)


def dinov3s_draw(targets, share, k, seed):
    """Images held out and images drawn, as DINOv3's data.py has them, in our words."""
    shuffled = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    held = torch.zeros(len(targets), dtype=torch.bool)
    labels = torch.tensor(targets)[shuffled]
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        held[places[: max(1, int(share * len(places)))]] = True
    left, generator = shuffled[~held], torch.Generator().manual_seed(seed)
    labels, taken = torch.tensor(targets)[left], []
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        taken += left[places[torch.randperm(len(places), generator=generator)[:k]]].tolist()
    return sorted(shuffled[held].tolist()), sorted(taken)


def test_each_draw_is_the_sources(monkeypatch):
    x, y = blobs()
    x[:, 0] = np.arange(len(x))  # says which image it is
    seen = []

    class Noting(Fits):
        def __call__(self, x):
            seen.append(sorted(x[:, 0].astype(int).tolist()))
            return super().__call__(x)

    recipe = dataclasses.replace(RECIPE, held_out=0.05)
    solver = Noting(Lbfgs(max_iterations=50))
    found = evaluate_few_shot(x, y, x, y, classes=3, recipe=recipe, metric="top1", solver=solver)
    wanted = [dinov3s_draw(y, 0.05, k, seed) for k in (1, 4) for seed in range(3)]
    assert seen == [rows for _, rows in wanted]
    assert found.held_out == len(wanted[0][0]) == 15


def test_the_images_held_out_choose_and_train_nothing():
    x, y = blobs()
    test_x, test_y = blobs(seed=1)
    found = evaluated(x, y, test_x, test_y)
    held, rows = dinov3s_draw(y, 0.01, 4, 1)
    scores = {}
    for number in RECIPE.penalties:
        scores[number] = LogisticRegression(C=number, tol=1e-8, max_iter=5000).fit(x[rows], y[rows])
    best = max(scores, key=lambda number: scores[number].score(x[held], y[held]))  # of equal ones the first
    draw = found.draws[4][1]
    assert (draw.penalty, draw.images) == (best, 12)
    assert draw.metrics["top1"] == pytest.approx(100 * scores[best].score(test_x, test_y))


def test_more_images_are_better():
    found = evaluated(*blobs(rows=900, spread=4.0), *blobs(seed=1, spread=4.0))
    means = {k: np.mean([draw.metrics["top1"] for draw in draws]) for k, draws in found.draws.items()}
    assert means[4] > means[1] + 3


def test_of_a_class_with_fewer_images_all_are_taken():
    targets = np.array([0] * 10 + [1] * 2)
    assert drawn_shots(targets, 4, seed=0).tolist()[-2:] == [10, 11]
    assert len(drawn_shots(targets, 4, seed=0)) == 6


def test_a_class_that_is_left_without_an_image_is_refused():
    x, y = blobs()
    with pytest.raises(LogisticError, match="class 3 has 0 training images"):
        evaluated(x, y, x, y, classes=4)


def test_the_headlines_k_must_be_among_the_shots():
    pair = find_protocol("few-shot-dinov3@oxford-pets")
    assert pair.metric == "per-class-k16"
    with pytest.raises(SettingError, match="expected 16 among them for per-class-k16"):
        pair.with_settings({"shots": "1,2"})
