import json
import math
import statistics

import pytest
from scipy import stats

import twinbench
from twinbench.report import paper
from twinbench.report.beside import Options
from twinbench.report.files import Found, find


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


def test_the_papers_tables_stand_without_any_result():
    found = dict(paper.tables(Found(()), Options()))
    table = found["Table 4: detection and instance segmentation"]
    numbers = [
        (column.metric, table.cell("Barlow Twins, published", column).number)
        for column in table.columns
        if column.protocol == "coco-mrcnn-c4-1x"
    ]
    assert numbers == [
        ("box-AP", "39.2"),
        ("box-AP50", "59.0"),
        ("box-AP75", "42.5"),
        ("mask-AP", "34.3"),
        ("mask-AP50", "56.0"),
        ("mask-AP75", "36.5"),
    ]
    assert set(table.methods) == set(table.published)


def test_the_papers_tables_fill_as_results_arrive(write, tmp_path):
    write(tmp_path, "barlow-twins", "imagenet-linear", [{"top1": 73.4, "top5": 91.2}])
    found = dict(paper.tables(find([tmp_path]), Options()))
    first = found["Table 1: linear classification on ImageNet"]
    assert [first.cell("barlow-twins", column).number for column in first.columns] == ["73.4", "91.2"]
    assert first.methods[:2] == ("barlow-twins", "Barlow Twins, published")
    assert first.contrasts[0].shown("barlow-twins", first.columns[0]) == "+0.2"
    write(tmp_path, "barlow-twins", "imagenet-1pct", [54.0])
    found = dict(paper.tables(find([tmp_path]), Options()))
    second = found["Table 2: ImageNet with 1 % and 10 % of the labels"]
    missing = [second.cell("barlow-twins", column).missing for column in second.columns[1:]]
    assert missing == ["not run", "not recorded", "not run"]  # 10 % top1, 1 % top5, 10 % top5


def test_the_command_prints_the_skeleton_in_each_format(capsys):
    for form in ("text", "markdown", "latex", "csv", "json", "html"):
        assert twinbench.main(["report", "--paper", "--format", form]) == 0
        assert "86.2" in capsys.readouterr().out
    assert twinbench.main(["report"]) == 2
    assert "no RESULTS given; expected" in capsys.readouterr().err
