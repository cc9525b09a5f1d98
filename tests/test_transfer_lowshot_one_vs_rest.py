"""Low-shot SVMs on images of one class each: what is drawn, what it comes to, and what a kill costs."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from twinbench.protocols.catalogue import PROTOCOLS, find_protocol
from twinbench.protocols.house import SettingError
from twinbench.report.asked import Asked
from twinbench.solver.liblinear import Liblinear
from twinbench.suite.estimate import disk_bytes
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import read_suite
from twinbench.transfer.lowshot import LowShotError
from twinbench.transfer.lowshot_one_vs_rest import draw_of_each, evaluate_low_shot_one_vs_rest, rows_of
from twinbench.transfer.measure import measure
from twinbench.transfer.metrics import average_precision
from twinbench.transfer.options import Options
from twinbench.transfer.svm import choose_solver

COSTS, SHOTS = (0.1, 1.0, 10.0), (2, 6)
RECIPE = dataclasses.replace(PROTOCOLS["places205-svm-lowshot"].recipe, costs=COSTS, shots=SHOTS, samples=3)
NAMES = ("abbey", "airport", "alley", "aquarium")
TIGHT = Liblinear(2.0, 1e-8, 100_000, 0)


@pytest.fixture(scope="module")
def data():
    """Four classes in 8 dimensions, 120 + 80 rows, in no order."""
    draw, arrays = np.random.default_rng(0), []
    centers = draw.normal(size=(4, 8))
    for count in (120, 80):
        y = draw.permutation(np.arange(count) % 4)
        arrays += [(centers[y] + draw.normal(0, 1.5, (count, 8))).astype(np.float32), y]
    return arrays


def drawn_from(data, seed=0, recipe=RECIPE):
    return draw_of_each(data[1], recipe.shots, recipe.samples, seed, NAMES)


def evaluated(data, solver=TIGHT, **more):
    return evaluate_low_shot_one_vs_rest(*data, drawn_from(data), names=NAMES, recipe=RECIPE, solver=solver, **more)


def test_each_sample_has_k_different_images_of_every_class(data):
    drawn = drawn_from(data)
    assert set(drawn) == {(sample, k) for sample in (1, 2, 3) for k in SHOTS}
    for (_, k), rows in drawn.items():
        assert np.bincount(data[1][rows]).tolist() == [k] * 4
        assert (np.diff(rows) > 0).all()


def test_a_class_draws_from_numpys_generator_of_seed_sample_and_k(data):
    drawn = drawn_from(data, seed=7)
    rng, expected = np.random.default_rng((7, 2, 6)), []
    for label in range(4):
        expected += rng.choice(np.flatnonzero(data[1] == label), 6, replace=False).tolist()
    assert drawn[2, 6].tolist() == sorted(expected)


def test_samples_and_seeds_differ(data):
    drawn, other = drawn_from(data), drawn_from(data, seed=1)
    assert drawn[1, 6].tolist() != drawn[2, 6].tolist()
    assert drawn[1, 6].tolist() != other[1, 6].tolist()


def test_another_process_draws_the_same(data):
    code = (
        "import sys, numpy as np\n"
        "from twinbench.transfer.lowshot_one_vs_rest import draw_of_each, rows_of\n"
        "targets = np.array(sys.argv[1].split(','), int)\n"
        "print(rows_of(draw_of_each(targets, (2, 6), 3, 0, 'abcd')).tolist())"
    )
    targets = ",".join(map(str, data[1].tolist()))
    found = subprocess.run([sys.executable, "-c", code, targets], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(rows_of(drawn_from(data)).tolist())


def test_figures_are_those_of_a_loop_over_scikit_learn(data):
    train_x, train_y, test_x, test_y = data
    drawn, found = drawn_from(data), evaluated(data)
    x, z = (a / (np.linalg.norm(np.float64(a), axis=1, keepdims=True) + 1e-5) for a in (train_x, test_x))
    for k in SHOTS:
        test, held = np.zeros((2, len(COSTS), 3))  # mAP by cost and sample
        for at, cost in enumerate(COSTS):
            for sample in (1, 2, 3):
                rows, following = drawn[sample, k], drawn[sample % 3 + 1, k]
                others = [row for row in following if row not in set(rows.tolist())]
                on_test, on_held = [], []
                for c in range(4):
                    machine = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, tol=1e-8, max_iter=100_000, dual=True)
                    machine.fit(x[rows], np.where(train_y[rows] == c, 1, -1))
                    on_test.append(average_precision(machine.decision_function(z), (test_y == c).astype(int)))
                    if (train_y[others] == c).any():
                        scores = machine.decision_function(x[others])
                        on_held.append(average_precision(scores, (train_y[others] == c).astype(int)))
                test[at, sample - 1], held[at, sample - 1] = 100 * np.mean(on_test), 100 * np.mean(on_held)
        best, honest = test.mean(1).argmax(), held.mean(1).argmax()
        assert (found[k].cost, found[k].heldout_cost) == (COSTS[best], COSTS[honest])
        assert found[k].mean == pytest.approx(test[best].mean(), abs=1e-6)
        assert found[k].deviation == pytest.approx(test[best].std(), abs=1e-6)
        assert (found[k].least, found[k].most) == pytest.approx((test[best].min(), test[best].max()))
        assert found[k].heldout_mean == pytest.approx(test[honest].mean(), abs=1e-6)


def test_the_batched_solver_gives_the_same_figures(data):
    ours, tight = evaluated(data, solver=choose_solver("batched", RECIPE)), evaluated(data)
    for k in SHOTS:
        assert ours[k].converged
        assert ours[k].mean == pytest.approx(tight[k].mean, abs=0.05)
        assert ours[k].gradient < 1e-3


class Killed:
    """A solver that is killed at a fit, and counts the samples that it is asked for."""

    def __init__(self, fits):
        self.left, self.samples = fits, 0

    def __call__(self, train, test):
        self.samples += 1
        solve = choose_solver("batched", RECIPE)(train, test)

        def solutions(problems, costs):
            for found in solve(problems, costs):
                if not self.left:
                    raise KeyboardInterrupt
                self.left -= 1
                yield found

        return solutions


def test_a_run_that_was_killed_within_a_sample_goes_on_behind_the_last_whole_one(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        evaluated(data, solver=Killed(2 * len(COSTS) + 1), out=tmp_path, identity="this")
    again = Killed(1000)
    found = evaluated(data, solver=again, out=tmp_path, identity="this")
    assert again.samples == 4  # of 6
    assert found == evaluated(data, solver=choose_solver("batched", RECIPE))


def test_what_another_trial_or_a_torn_file_left_is_refused(data, tmp_path):
    evaluated(data, out=tmp_path, identity="this")
    with pytest.raises(LowShotError, match=r"samples.json: belongs to this, but this is that; choose another OUT"):
        evaluated(data, out=tmp_path, identity="that")
    (tmp_path / "samples.json").write_text('{"identity": "this", "samples": [[1, 2, [{"test": 1}]]]}')
    with pytest.raises(LowShotError, match=r"samples.json: not a whole state .*; remove it to begin anew"):
        evaluated(data, out=tmp_path, identity="this")


def test_a_class_with_fewer_images_is_told_by_its_name(data):
    with pytest.raises(LowShotError, match=r"class abbey: 30 training images, but k = 31 needs 31; .*data check`"):
        draw_of_each(data[1], (2, 31), 2, 0, NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_y": lambda y: np.where(y == 2, 0, y)}, "class alley: 0 test images"),
        ({"train_x": lambda x: np.where(x == x[0, 0], np.nan, x)}, "features with NaN or infinity"),
        ({"names": lambda names: names[:1]}, "1 class; expected two or more"),
    ],
)
def test_what_cannot_be_measured_is_told(data, change, message):
    given = dict(zip(("train_x", "train_y", "test_x", "test_y"), data, strict=True)) | {"names": NAMES}
    given |= {name: changed(given[name]) for name, changed in change.items()}
    with pytest.raises(LowShotError, match=message):
        evaluate_low_shot_one_vs_rest(**given, samples=drawn_from(data), recipe=RECIPE, solver=TIGHT)


def test_one_sample_is_refused():
    with pytest.raises(SettingError, match="setting samples=1: expected at least 2: a sample's honest cost"):
        PROTOCOLS["places205-svm-lowshot"].with_settings({"samples": "1"})


def test_only_drawn_images_are_extracted(scenes: Path, tmp_path: Path):
    protocol = dataclasses.replace(find_protocol("demo-places205-svm-lowshot@places"), width=0.125, metric="mAP-k1")
    asked = Asked(
        protocol.with_settings({"shots": "1", "samples": "2", "transform.crop": 32}),
        "random",
        scenes / "places",
        tmp_path / "out",
        method="ours",
        device="cpu",
        workers=0,
    )
    result = measure(asked, Options(cache=tmp_path / "features", partial=True))
    assert result is not None
    sizes = sorted(len(np.load(path)) for path in (tmp_path / "features").rglob("features.npy"))
    assert result.details["images_drawn"] in sizes
    assert result.images["train"] > result.details["images_drawn"]
    assert not (tmp_path / "out" / "samples.json").exists()


def test_a_plan_counts_the_features_of_what_is_drawn(tmp_path: Path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "suite.yaml").write_text(
        "name: s\nroot: out\nmethods: {a: {checkpoint: random}}\ndata: {places: sets}\n"
        "protocols: {places205-svm-lowshot: {seeds: [0, 1]}}\n"
    )
    jobs = build_jobs(read_suite(tmp_path / "suite.yaml"))
    drawn, test = 5 * (10 + 100) * 205, 20_500
    trials = {name: bytes_ for name, bytes_ in disk_bytes(jobs, {}).items() if "seed" in name}
    assert [round(bytes_ / (4 * 8192 * (drawn + test)), 2) for bytes_ in trials.values()] == [1.0, 1.0]
    assert [job.after for job in jobs if job.name in trials] == [(), ()]  # another seed draws other images
