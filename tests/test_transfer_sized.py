"""Logistic regression on draws of so many images: whose they are, who chooses, and what is never predicted."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.datasets import DataSet
from twinbench.protocols.house import SettingError
from twinbench.report.asked import Asked
from twinbench.solver.softmax_reference import Lbfgs
from twinbench.transfer.logistic import Fits, LogisticError
from twinbench.transfer.measure import measure
from twinbench.transfer.options import Options
from twinbench.transfer.sized import SizedDraw, draw_sizes, evaluate_sized, rows_of

VTAB = PROTOCOLS["few-shot-vtab1k"].recipe
RECIPE = dataclasses.replace(VTAB, penalties=(0.01, 1.0, 100.0), train_images=40, validation_images=20, draws=3)
SOLVER = Fits(Lbfgs(tolerance=1e-8, max_iterations=5000))


def blobs(rows=300, classes=5, features=6, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(rows) % classes)
    centres = np.random.default_rng(9).normal(0, 1, (classes, features))
    return (centres[y] + rng.normal(0, 1.5, (rows, features))).astype(np.float32), y


def evaluated(train, test, drawn, classes=5, recipe=RECIPE):
    return evaluate_sized(*train, *test, drawn, classes=classes, recipe=recipe, metric="top1", solver=SOLVER)


def test_a_draw_is_the_first_of_numpys_permutation_of_seed_and_number():
    drawn = draw_sizes(5000, None, VTAB, seed=3)
    assert len(drawn) == 5
    for number, draw in enumerate(drawn):
        order = np.random.default_rng((3, number)).permutation(5000)
        assert draw.train.tolist() == sorted(order[:800].tolist())
        assert draw.validation.tolist() == sorted(order[800:1000].tolist())


def test_an_official_split_chooses_and_trains_in_the_last_fit_only():
    official = np.arange(3000) % 3 == 0
    for draw in draw_sizes(3000, official, VTAB, seed=0):
        assert (len(draw.train), len(draw.validation)) == (800, 200)
        assert official[draw.validation].all()
        assert not official[draw.train].any()
        assert len(draw.rows) == 1000


def test_classes_fall_as_they_may():
    """As the first rows of a file in no order do: no class has its share by right."""
    targets = np.arange(5000) % 10
    (first, *_) = draw_sizes(5000, None, VTAB, seed=0)
    assert len(set(np.bincount(targets[first.train]).tolist())) > 1


@pytest.mark.parametrize(
    ("images", "validation", "message"),
    [
        (999, 0, "999 training images; expected 800 to train and 200 to choose a penalty on; use --set train_images=N"),
        (1500, 199, "1500 training images, 199 of them validation; expected 800 to train and 200 to choose"),
        (1500, 701, "1500 training images, 701 of them validation; expected 800 to train and 200 to choose"),
    ],
)
def test_a_set_with_too_few_images_is_refused(images, validation, message):
    official = np.arange(images) < validation if validation else None
    with pytest.raises(LogisticError, match=message):
        draw_sizes(images, official, VTAB, seed=0)


@pytest.mark.parametrize(("images", "validation"), [(1000, 0), (1000, 200)])
def test_a_set_of_just_enough_images_is_drawn_whole(images, validation):
    official = np.arange(images) < validation if validation else None
    assert len(rows_of(draw_sizes(images, official, VTAB, seed=0))) == 1000


def test_each_draw_is_scikit_learns_search_and_refit():
    (x, y), (test_x, test_y) = blobs(), blobs(seed=1)
    drawn = draw_sizes(300, None, RECIPE, seed=0)
    for draw, found in zip(drawn, evaluated((x, y), (test_x, test_y), drawn), strict=True):

        def fitted(number, rows):
            return LogisticRegression(C=1 / number, tol=1e-8, max_iter=5000).fit(x[rows], y[rows])

        scores = [fitted(number, draw.train).score(x[draw.validation], y[draw.validation]) for number in (0.01, 1, 100)]
        best = RECIPE.penalties[int(np.argmax(scores))]  # of equal ones the first
        assert found.penalty == best
        last = fitted(best, np.concatenate([draw.train, draw.validation]))
        assert found.metrics["top1"] == pytest.approx(100 * last.score(test_x, test_y))


def test_places_among_the_drawn_rows_are_the_same_images():
    (x, y), test = blobs(), blobs(seed=1)
    drawn = draw_sizes(300, None, RECIPE, seed=0)
    rows = rows_of(drawn)
    assert len(rows) < 300
    of_rows = evaluated((x[rows], y[rows]), test, [draw.among(rows) for draw in drawn])
    assert of_rows == evaluated((x, y), test, drawn)


def test_a_class_without_a_drawn_image_is_never_predicted_and_its_images_are_errors():
    x, y = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0), np.repeat(np.arange(4), 10)
    without = np.flatnonzero(y != 2)
    draw = SizedDraw(without[::2], without[1::2])
    (found,) = evaluated((x, y), (x, y), [draw], classes=4)
    assert found.metrics == {"top1": 75, "per-class": 75}
    assert found.classes == 3


def test_a_draw_of_one_class_is_told():
    x, y = blobs()
    rows = np.flatnonzero(y == 0)
    with pytest.raises(LogisticError, match="1 class among 10 drawn images; expected two or more"):
        evaluated((x, y), (x, y), [SizedDraw(rows[:10], rows[10:20])])


@pytest.mark.parametrize(("name", "value"), [("held_out", "0.1"), ("draw", "numpy")])
def test_a_setting_that_the_sizes_leave_without_a_meaning_is_refused(name, value):
    with pytest.raises(SettingError, match=f"setting {name}={value}: expected"):
        find_protocol("few-shot-vtab1k@dtd").with_settings({name: value})


def test_top1_is_the_headline_on_every_set():
    assert {pair.metric for pair in PROTOCOLS["few-shot-vtab1k"].members.values()} == {"top1"}


def asked(data, out, **settings):
    own = DataSet("digits", ("single-label",))
    pair = dataclasses.replace(PROTOCOLS["few-shot-vtab1k"].on(own), width=0.125)
    small = {"transform.crop": 32, "penalties": "0.01,1,100", "train_images": 12, "validation_images": 6, "draws": 2}
    return Asked(pair.with_settings(small | settings), "random", data, out, method="ours", device="cpu", workers=0)


def test_a_trial_extracts_what_it_draws_and_tells_every_draw(scenes: Path, tmp_path: Path):
    result = measure(asked(scenes / "imagenet", tmp_path / "out"), Options(cache=tmp_path / "features"))
    assert result is not None
    sizes = [len(np.load(path)) for path in (tmp_path / "features").rglob("features.npy")]
    assert sorted(sizes) == sorted([result.details["images_drawn"], result.images["test"]])
    draws = [draw["top1"] for draw in result.details["draws"]]
    assert result.metrics["top1"] == pytest.approx(np.mean(draws))
    assert result.details["deviation_over_draws"]["top1"] == pytest.approx(np.std(draws, ddof=1))
    assert result.details["validation_by"] == "a draw"


def test_too_few_images_are_told_before_features_are_extracted(scenes: Path, tmp_path: Path):
    with pytest.raises(LogisticError, match="60 training images; expected 800 to train"):
        measure(asked(scenes / "imagenet", tmp_path / "out", train_images=800, validation_images=200))
    assert not list(tmp_path.rglob("*.npy"))


def test_data_are_read_with_their_official_split():
    assert VTAB.takes_validation
