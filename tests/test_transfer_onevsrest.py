"""One-vs-rest SVMs in blocks of classes: figures, ties, kills and memory."""

import subprocess
import sys
import weakref
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from twinbench.protocols.svm import INAT_SVM
from twinbench.runtime.progress import read_log
from twinbench.solver.batched import Batched
from twinbench.solver.liblinear import Liblinear
from twinbench.solver.linear_problems import Solution
from twinbench.transfer import one_vs_rest
from twinbench.transfer.one_vs_rest import STATE, evaluate_one_vs_rest, memory_bound
from twinbench.transfer.svm import SvmError

CLASSES, COST = 12, 3.0
RECIPE = replace(INAT_SVM, cost=COST)


def exact_scores(x, y, z):
    """Return scikit-learn's scores (M, K) of rows z, solved to 1e-10."""
    x, z = (a / (np.linalg.norm(np.float64(a), axis=1, keepdims=True) + 1e-5) for a in (x, z))
    machine = LinearSVC(C=COST, class_weight={1: 2, 0: 1}, dual=False, tol=1e-10, max_iter=100_000)
    return OneVsRestClassifier(machine).fit(x, y).decision_function(z)


@pytest.fixture(scope="module")
def data():
    """Twelve overlapping classes in 10 dimensions, 240 + 120 rows, and the exact scores of the latter.

    Whether a row's class is the first or among five hangs on more than 0.01: no rounding decides it.
    """
    draw = np.random.default_rng(0)
    centers, arrays = draw.normal(size=(CLASSES, 10)), []
    for count in (240, 120):
        y = np.arange(count) % CLASSES
        arrays += [(centers[y] + draw.normal(size=(count, 10))).astype(np.float32), y]
    x, y, z, t = arrays
    scores = exact_scores(x, y, z)
    others = np.sort(np.where(np.arange(CLASSES) == t[:, None], -np.inf, scores), axis=1)[:, ::-1]
    assert (np.abs(scores[np.arange(len(t)), t, None] - others[:, [0, 4]]) > 0.01).all()
    return x, y, z, t, scores


def evaluate(data, solver=None, **more):
    return evaluate_one_vs_rest(*data[:4], classes=CLASSES, recipe=RECIPE, solver=solver or Batched(), **more)


def in_blocks(monkeypatch, data, size):
    monkeypatch.setattr(one_vs_rest, "BUDGET", size * len(data[0]))


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("solver", [Batched(), Liblinear(2.0, 1e-6, 100_000, 0)], ids=["batched", "liblinear"])
def test_figures_are_scikit_learns_in_blocks_of_any_size(data, solver, size, monkeypatch):
    in_blocks(monkeypatch, data, size)
    *_, t, scores = data
    rank = (scores > scores[np.arange(len(t)), t, None]).sum(1)
    found = evaluate(data, solver)
    assert (found.top1, found.top5) == (100 * (rank < 1).sum() / len(t), 100 * (rank < 5).sum() / len(t))
    assert 20 < found.top1 < found.top5 < 100
    assert found.converged
    assert found.iterations.min() > 0
    assert 0 < found.gradient.max() < 1e-2


def scoring(table, y):
    """Return a solver that answers with the columns of `table` (M, K), whatever the features."""

    def solver(train, test):
        weak = weakref.ref(train)

        def solve(problems, costs):
            assert weak() is None, "the features are the solver's alone"
            classes = torch.as_tensor(y)[problems.labels.argmax(0)]
            count = torch.ones(len(classes))
            yield Solution(problems.labels, torch.as_tensor(table)[:, classes], count, lambda p: 0.5 * count, count < 2)

        return solve

    return solver


@pytest.mark.parametrize("size", [1, 4, 5, 12])
def test_of_equal_scores_the_lower_class_comes_first_in_blocks_of_any_size(data, size, monkeypatch):
    in_blocks(monkeypatch, data, size)
    _, y, _, t, _ = data
    table = np.random.default_rng(1).integers(0, 3, size=(len(t), CLASSES)).astype(np.float32)
    order = [sorted(range(CLASSES), key=lambda c, row=row: (-row[c], c)) for row in table]
    found = evaluate(data, scoring(table, y))
    for k, percent in ((1, found.top1), (5, found.top5)):
        right = sum(target in best[:k] for target, best in zip(t, order, strict=True))
        assert percent == 100 * right / len(t)


def dying(after):
    """Return the batched solver, which dies once it has solved `after` blocks, and the list of those it began."""
    begun = []

    def solver(train, test):
        solve = Batched()(train, test)

        def some(problems, costs):
            begun.append(len(problems))
            if len(begun) > after:
                raise KeyboardInterrupt
            return solve(problems, costs)

        return some

    return solver, begun


def test_killed_and_resumed_equals_never_killed(data, tmp_path, monkeypatch):
    in_blocks(monkeypatch, data, 5)
    whole = evaluate(data)
    with pytest.raises(KeyboardInterrupt):
        evaluate(data, dying(after=2)[0], out=tmp_path, identity="a trial")
    assert [line["classes"] for line in read_log(tmp_path / "log.jsonl")] == [5, 10]
    (tmp_path / "log.jsonl").open("a").write('{"classes": 12}\n{"cla')  # killed between the log and the state
    solver, begun = dying(after=1)
    resumed = evaluate(data, solver, out=tmp_path, identity="a trial")
    assert begun == [2]
    for one, other in zip(astuple(whole), astuple(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    log = [(line["classes"], line["not_converged"]) for line in read_log(tmp_path / "log.jsonl")]
    assert log == [(5, 0), (10, 0), (12, 0)]
    again = evaluate(data, dying(after=0)[0], out=tmp_path, identity="a trial")
    assert (again.top1, again.top5) == (whole.top1, whole.top5)


def test_a_foreign_or_damaged_state_is_refused(data, tmp_path, monkeypatch):
    evaluate(data, out=tmp_path, identity="this trial")
    for identity, size in (("that trial", 12), ("this trial", 5)):
        in_blocks(monkeypatch, data, size)
        message = (
            rf"{STATE}: belongs to this trial, .* blocks of 12, but this is {identity}, .* blocks of {size}; choose"
        )
        with pytest.raises(SvmError, match=message):
            evaluate(data, out=tmp_path, identity=identity)
    state = tmp_path / STATE
    for content in (state.read_bytes()[:-100], b"", b"nothing of ours"):
        state.write_bytes(content)
        with pytest.raises(SvmError, match="not a whole state of one-vs-rest SVMs .*; remove it to begin anew"):
            evaluate(data, out=tmp_path, identity="this trial")


def test_fits_that_did_not_converge_are_counted(data):
    found = evaluate(data, Batched(limit=1))
    assert found.not_converged == (found.iterations == 1).sum() > 0
    assert not found.converged


def test_wrong_data_are_told(data):
    x, y, z, t, _ = data
    with pytest.raises(SvmError, match="class 12 has 0 training images"):
        evaluate_one_vs_rest(x, y, z, t, classes=13, recipe=RECIPE, solver=Batched())
    with pytest.raises(SvmError, match="test: features with NaN or infinity"):
        evaluate_one_vs_rest(
            x, y, np.where(z == z.max(), np.nan, z), t, classes=CLASSES, recipe=RECIPE, solver=Batched()
        )


MEASURED = """
import sys, numpy, torch
from dataclasses import replace
from twinbench.protocols.svm import INAT_SVM
from twinbench.transfer import one_vs_rest
from twinbench.solver.batched import Batched
def status(field): return int(open("/proc/self/status").read().split(field + ":")[1].split()[0]) * 1024
rows, test_rows, features, classes, size = map(int, sys.argv[1:])
one_vs_rest.BUDGET = size * rows
x = numpy.random.default_rng(0).standard_normal((rows + test_rows, features), dtype=numpy.float32)
y = numpy.arange(len(x)) % classes
def run(some):
    split = x[:some], y[:some], x[rows:], y[rows:]
    recipe = replace(INAT_SVM, cost=1e-3)
    one_vs_rest.evaluate_one_vs_rest(*split, classes=classes, recipe=recipe, solver=Batched(limit=2))
run(2 * classes)  # libraries allocate on first use
before = status("VmRSS")
run(rows)
print(status("VmHWM") - before)
"""


def test_memory_stays_under_the_bound_whatever_the_number_of_classes(monkeypatch):
    rows, test_rows, features, classes, size = 21_000, 500, 200, 60, 20  # too many rows for a matrix of rows x rows
    monkeypatch.setattr(one_vs_rest, "BUDGET", size * rows)
    command = [sys.executable, "-c", MEASURED, *map(str, (rows, test_rows, features, classes, size))]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert peak < memory_bound(rows, test_rows, features, classes) == memory_bound(rows, test_rows, features, size)
