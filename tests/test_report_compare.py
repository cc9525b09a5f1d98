import json
import math
import statistics

import pytest
from scipy import stats

import twinbench


@pytest.fixture
def two(write, tmp_path):
    write(tmp_path, "a", "voc07-svm", [60.0, 61.0, 62.5])
    write(tmp_path, "b", "voc07-svm", [50.0, 51.5, 51.0])
    write(tmp_path, "a", "imagenet-linear", [70.0, 71.0])
    write(tmp_path, "b", "imagenet-linear", [70.9, 70.3])
    write(tmp_path, "a", "imagenet-knn", [30.0])
    write(tmp_path, "b", "imagenet-knn", [20.0])
    write(tmp_path, "a", "imagenet-1pct", [30.0])
    return tmp_path


def compared(capsys, *paths):
    assert twinbench.main(["compare", *map(str, paths), "--json"]) == 0
    return {entry["protocol"]: entry for entry in json.loads(capsys.readouterr().out)["columns"]}


def test_the_verdict_follows_the_adjusted_test(two, capsys):
    found = compared(capsys, two / "a", two / "b")
    gaps = [10.0, 9.5, 11.5]
    t = statistics.mean(gaps) / (statistics.stdev(gaps) / math.sqrt(3))
    assert found["voc07-svm"]["adjusted_p"] == pytest.approx(2 * 2 * stats.t.sf(t, 2))  # two columns were tested
    assert found["voc07-svm"]["winner"] == "A"
    assert found["imagenet-linear"]["winner"] == ""
    assert found["imagenet-linear"]["adjusted_p"] > 0.05
    assert found["imagenet-knn"]["adjusted_p"] is None
    assert found["imagenet-knn"]["winner"] == ""
    assert "imagenet-1pct" not in found


def test_the_order_turns_the_sign_and_nothing_else(two, capsys):
    forth, back = compared(capsys, two / "a", two / "b"), compared(capsys, two / "b", two / "a")
    assert back["voc07-svm"]["value"] == pytest.approx(-forth["voc07-svm"]["value"])
    assert back["voc07-svm"]["adjusted_p"] == pytest.approx(forth["voc07-svm"]["adjusted_p"])
    assert back["voc07-svm"]["winner"] == "B"


def test_the_screen_says_it_in_words(two, capsys):
    assert twinbench.main(["compare", str(two / "a"), str(two / "b")]) == 0
    screen = capsys.readouterr().out
    lines = {line.split()[0]: line for line in screen.splitlines() if line}
    assert "A is better (p 0.0" in lines["voc07-svm"]
    assert "trials each would" in lines["imagenet-linear"]
    assert "one trial on a side" in lines["imagenet-knn"]
    assert "A is better on 1, B on 0; not shown on 2 of 3 columns." in screen


def test_a_folder_must_hold_one_method(two, capsys):
    assert twinbench.main(["compare", str(two), str(two / "b")]) == 2
    assert "holds 2 methods (a, b), expected one" in capsys.readouterr().err


def test_nothing_in_common_is_said(write, two, capsys):
    write(two, "c", "voc0712-frcnn-c4", [50.0])
    assert twinbench.main(["compare", str(two / "a"), str(two / "c")]) == 2
    assert "no protocol in common" in capsys.readouterr().err
