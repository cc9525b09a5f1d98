"""Label efficiency: whose images a draw has, who chooses its penalty, what a kill costs, and the area."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterSampler
from sklearn.preprocessing import MinMaxScaler

from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.house import SettingError, UserError
from twinbench.protocols.kinds.labels import Size
from twinbench.protocols.labels import THIRTY
from twinbench.protocols.published import published_for
from twinbench.report.asked import Asked
from twinbench.runtime.seeds import generator
from twinbench.solver.softmax_reference import Lbfgs
from twinbench.transfer import labels
from twinbench.transfer.label_draws import CHOOSE, drawn, equally_many
from twinbench.transfer.labels import (
    Finished,
    LabelsError,
    area,
    curves_of,
    evaluate_labels,
    metrics_of,
    min_max,
    require_classes,
)
from twinbench.transfer.logistic import Fits, LogisticError
from twinbench.transfer.measure import measure
from twinbench.transfer.options import Options

FEW = (100.0, 1.0, 0.01)
OURS = replace(PROTOCOLS["imagenet-labels"].recipe, penalties=FEW, shots=(1, 4), shares=(10.0, 100.0), draws=3)
RISK = replace(PROTOCOLS["imagenet-labels-ssl-risk"].recipe, penalties=FEW, shots=(3,), shares=(10.0,), draws=2)
K5 = Size(5, "class")


def blobs(rows=300, classes=3, features=6, spread=2.5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(rows) % classes)
    centres = np.random.default_rng(9).normal(0, 2, (classes, features))
    return (centres[y] + rng.normal(0, spread, (rows, features))).astype(np.float32), y


def evaluated(recipe=OURS, x=None, y=None, tests=None, classes=3, **changes):
    if x is None:
        x, y = blobs()
    settings = {"metric": "top1", "seed": 0, "solver": Fits(Lbfgs(tolerance=1e-8, max_iterations=5000))}
    return evaluate_labels(x, y, *(tests or blobs(200, seed=1)), classes=classes, recipe=recipe, **settings | changes)


def test_a_draw_has_k_images_of_each_class_and_all_of_a_smaller_class():
    targets = np.repeat([0, 1, 2], [40, 3, 17])
    rows = drawn(targets, K5, OURS, seed=0, number=0)
    assert np.bincount(targets[rows]).tolist() == [5, 3, 5]
    assert len(set(rows.tolist())) == len(rows)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(1, [4, 1, 1]), (10, [40, 4, 1]), (25, [100, 10, 2]), (100, [400, 40, 7])],  # a quarter of 7 is 1.75
)
def test_a_share_is_that_of_each_class_and_at_least_an_image(share, expected):
    targets = np.repeat([0, 1, 2], [400, 40, 7])
    rows = drawn(targets, Size(share, "all"), OURS, seed=0, number=0)
    assert np.bincount(targets[rows]).tolist() == expected


def test_ssl_risks_share_has_equally_many_of_each_class():
    """As `size // n_classes`, and one more for as many classes as are left over: 43 of 430 are 14, 14 and 15."""
    targets = np.repeat([0, 1, 2], [300, 80, 50])
    counts = [np.bincount(targets[drawn(targets, Size(10, "all"), RISK, 0, number)]) for number in range(20)]
    assert all(sorted(each) == [14, 14, 15] for each in counts)
    assert {int(each.argmax()) for each in counts} == {0, 1, 2}


def test_larger_draws_hold_the_smaller_ones_of_their_number():
    targets = blobs()[1]
    sizes = [drawn(targets, Size(k, "class"), OURS, 0, 1).tolist() for k in (1, 4, 20)]
    assert set(sizes[0]) < set(sizes[1]) < set(sizes[2])


def test_draws_are_of_the_seed_and_their_number():
    targets = blobs()[1]
    assert drawn(targets, K5, OURS, 3, 1).tolist() == drawn(targets, K5, OURS, 3, 1).tolist()
    other = [drawn(targets, K5, OURS, *words).tolist() for words in ((3, 2), (4, 1))]
    assert drawn(targets, K5, OURS, 3, 1).tolist() not in other


def test_images_of_the_draw_itself_choose_and_train_in_the_end():
    """By scikit-learn: a fifth of each class, at least one, scores what the others fit; then all of them are fitted."""
    x, y = blobs()
    test_x, test_y = blobs(200, seed=1)
    size = Size(4, "class")
    rows = drawn(y, size, OURS, 0, 2)
    held = np.zeros(12, bool)
    for label in range(3):
        held[np.flatnonzero(y[rows] == label)[:1]] = True
    scores = {}
    for penalty in FEW:
        machine = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000).fit(x[rows[~held]], y[rows[~held]])
        scores[penalty] = machine.score(x[rows[held]], y[rows[held]])
    chosen = max(FEW, key=lambda penalty: scores[penalty])  # of equal ones the first, which is the strongest
    machine = LogisticRegression(C=1 / chosen, tol=1e-8, max_iter=5000).fit(x[rows], y[rows])
    draw = evaluated()[size][2]
    assert (draw.penalty, draw.chosen_by, draw.images) == (chosen, 3, 12)
    assert draw.metrics["top1"] == pytest.approx(100 * machine.score(test_x, test_y))


def test_of_one_image_a_class_none_is_held_out_and_the_penalty_is_given():
    x, y = blobs()
    test_x, test_y = blobs(200, seed=1)
    rows = drawn(y, Size(1, "class"), OURS, 0, 0)
    machine = LogisticRegression(C=1 / 7.0, tol=1e-8, max_iter=5000).fit(x[rows], y[rows])
    draw = evaluated(replace(OURS, alone=7.0))[Size(1, "class")][0]
    assert (draw.penalty, draw.chosen_by) == (7.0, 0)
    assert draw.metrics["top1"] == pytest.approx(100 * machine.score(test_x, test_y))


def test_no_test_image_has_a_say_in_what_is_chosen():
    x, y = blobs()
    first, second = (evaluated(tests=blobs(200, seed=seed)) for seed in (1, 2))
    for size in OURS.sizes:
        assert [draw.penalty for draw in first[size]] == [draw.penalty for draw in second[size]]


def test_ssl_risks_draws_are_scaled_chosen_on_training_images_and_fitted_once():
    """By scikit-learn, as its code has them: MinMaxScaler and LogisticRegression of the draw."""
    x, y = blobs()
    test_x, test_y = blobs(60, seed=1)
    size = Size(3, "class")
    choosing = equally_many(y, 60, generator(0, CHOOSE))
    assert np.bincount(y[choosing]).tolist() == [20, 20, 20]
    rows = drawn(y, size, RISK, 0, 1)
    scaler = MinMaxScaler().fit(x[rows])
    best, accuracy = 0.0, -1.0
    for number in FEW:
        machine = LogisticRegression(C=number, tol=1e-8, max_iter=5000).fit(scaler.transform(x[rows]), y[rows])
        score = machine.score(scaler.transform(x[choosing]), y[choosing])
        if score > best:
            best, accuracy, chosen = score, machine.score(scaler.transform(test_x), test_y), number
    draw = evaluated(RISK, tests=(test_x, test_y))[size][1]
    assert (draw.penalty, draw.chosen_by, draw.images) == (chosen, 60, 9)
    assert draw.metrics["top1"] == pytest.approx(100 * accuracy)


def test_features_are_scaled_as_by_scikit_learn():
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    x[:, 2] = 5.0  # constant
    other = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    np.testing.assert_allclose(min_max(x)(other), MinMaxScaler().fit(x).transform(other), rtol=1e-5, atol=1e-6)


def test_ssl_risks_penalties_are_its_random_search():
    sampled = ParameterSampler({"C": loguniform(1e-6, 100)}, 30, random_state=123)
    assert pytest.approx([each["C"] for each in sampled], rel=1e-12) == THIRTY


def test_of_all_images_there_is_one_draw():
    found = evaluated()
    assert {size.name: len(draws) for size, draws in found.items()} == {"k1": 3, "k4": 3, "10pct": 3, "100pct": 1}
    assert found[Size(100, "all")][0].images == 300
    assert OURS.length(3) == ("draws", 10)


def test_an_area_is_the_mean_over_the_logarithm_of_images():
    """40 at 1 image, 60 at 10, 90 at 1000: over three decades (1 * 50 + 2 * 75) / 3."""
    assert area([(1, 40.0), (10, 60.0), (1000, 90.0)]) == pytest.approx(200 / 3)
    assert area([(1, 40.0), (10, 40.0)]) == pytest.approx(40)
    line = [(n, 10 + 20 * math.log2(n)) for n in (1, 2, 8)]
    assert area(line) == pytest.approx(10 + 20 * 1.5)  # a line in log2(n): its middle
    assert area([(20, 30.0), (20, 50.0)]) == 40.0  # two shares of few images are one


def test_metrics_are_means_over_draws_and_curves_have_their_spread():
    found = evaluated()
    means, curves = metrics_of(found, OURS), curves_of(found, OURS)
    assert tuple(means) != () and set(means) == set(OURS.metrics())
    values = [draw.metrics["top1"] for draw in found[Size(4, "class")]]
    assert means["top1-k4"] == pytest.approx(np.mean(values))
    assert curves["top1 by images per class"][1] == [4, pytest.approx(np.mean(values)), np.std(values, ddof=1)]
    assert [point[0] for point in curves["top1 by images"]] == [30.0, 300.0]
    assert curves["top1 by images"][1][2] == 0.0
    assert means["top1-area-shares"] == pytest.approx((means["top1-10pct"] + means["top1-100pct"]) / 2)


def test_more_labels_are_better():
    means = metrics_of(evaluated(), OURS)
    assert means["top1-k1"] + 3 < means["top1-k4"] < means["top1-100pct"]


@pytest.mark.parametrize("recipe", [OURS, RISK], ids=["ours", "ssl-risk"])
def test_a_kill_costs_at_most_a_draw(recipe, tmp_path, monkeypatch):
    """Killed after the third draw, and within a line of the log, a run goes on to the same numbers."""
    path = tmp_path / "log.jsonl"
    fits, of = [], labels._Heads.of

    def counted(self, rows):
        if len(fits) == 3:
            raise KeyboardInterrupt
        fits.append(len(rows))
        return of(self, rows)

    whole = evaluated(recipe)
    monkeypatch.setattr(labels._Heads, "of", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluated(recipe, finished=Finished(path, "a trial"))
    with path.open("a") as log:
        log.write('{"draws": 4, "size": "k4", "dr')
    monkeypatch.setattr(labels._Heads, "of", lambda self, rows: fits.append(len(rows)) or of(self, rows))
    assert evaluated(recipe, finished=Finished(path, "a trial")) == whole
    assert len(fits) == recipe.length(3)[1]


def test_draws_of_another_trial_are_refused(tmp_path):
    path = tmp_path / "log.jsonl"
    evaluated(RISK, finished=Finished(path, "one trial"))
    with pytest.raises(LabelsError, match="belongs to one trial, but this is another; choose another OUT or remove it"):
        Finished(path, "another")


@pytest.mark.parametrize(
    ("targets", "recipe", "words"),
    [
        ([0] * 9 + [2] * 9, OURS, "class 1 has 0 training images; expected at least 1"),
        ([0, 1, 2] * 6, RISK, "10 % of 18 training images are fewer than 3 classes; expected an image of each"),
    ],
)
def test_images_that_no_draw_can_be_made_of_are_told(targets, recipe, words):
    with pytest.raises(LabelsError, match=words):
        require_classes(np.array(targets), 3, recipe)


def test_features_that_are_no_numbers_are_told():
    x, y = blobs()
    x[3, 2] = np.nan
    with pytest.raises(LogisticError, match="training features with NaN or infinity"):
        evaluated(x=x, y=y)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shares": "5,10"}, "gives no top1-1pct, the protocol's headline"),
        ({"shares": "1,200"}, "expected different percentages above 0 and up to 100"),
        ({"shots": "2,2"}, "expected different whole numbers of images per class"),
        ({"held_out": "0"}, "setting held_out=0.0: expected above 0 where each draw chooses its penalty"),
        ({"shots": "", "shares": ""}, "setting shots=: expected images per class, or shares"),
        ({"alone": "0"}, "setting alone=0.0: expected a number above 0"),
    ],
)
def test_settings_that_no_run_can_have(settings, words):
    with pytest.raises(SettingError, match=words):
        PROTOCOLS["imagenet-labels"].with_settings(settings)


def test_a_set_that_reports_the_mean_over_classes_has_that_of_the_smallest_share():
    pair = find_protocol("imagenet-labels@oxford-pets")
    assert pair.metric == "per-class-1pct"
    pair.recipe.require_metric(pair.metric)


def test_ssl_risks_numbers_of_barlow_twins_stand_beside():
    """Its table has errors: 43.576, 49.092, 57.326 and 63.298."""
    rows = published_for(PROTOCOLS["imagenet-labels-ssl-risk"], "barlow_rn50 [")
    assert {row.metric: row.value for row in rows} == {
        "top1-k30": 56.42,
        "top1-1pct": 50.91,
        "top1-k5": 42.67,
        "top1-k3": 36.70,
    }


SMALL = {"transform.resize": 40, "transform.crop": 32, "penalties": "100,1", "shots": "1,2", "draws": 2}


def asked(name, data, out, **settings):
    protocol = replace(find_protocol(name), width=0.125).with_settings(SMALL | settings)
    return Asked(protocol, "random", data, out, method="ours", device="cpu", workers=0)


def test_a_trial_on_own_data_is_the_same_after_its_result_is_lost(scenes, tmp_path, monkeypatch):
    options = Options(cache=tmp_path / "features")
    trial = asked("imagenet-labels@digits", scenes / "imagenet", tmp_path / "out", shares="1,100")
    result = measure(trial, options)
    assert result is not None
    assert set(result.metrics) == set(trial.protocol.recipe.metrics())
    assert result.details["by_size"]["k2"]["images"] == [20, 20]
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["draws"] for line in lines] == [1, 2, 3, 4, 5, 6, 7]
    (tmp_path / "out" / "result.json").unlink()
    monkeypatch.setattr(labels._Heads, "of", None)  # nothing is fitted again
    again = measure(trial, options)
    assert again is not None
    assert again.metrics == result.metrics
    assert again.curves == result.curves


def test_a_class_without_an_image_is_told_before_features_are_extracted(scenes, tmp_path):
    data = tmp_path / "imagenet"
    shutil.copytree(scenes / "imagenet", data)
    last = sorted((data / "train").iterdir())[-1]
    for path in last.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="training images|no image|empty"):
        measure(asked("imagenet-labels@digits", data, tmp_path / "out"))
    assert not list(tmp_path.rglob("*.npy"))
