"""A metric of which lower is better, in metres: ranks, differences, thresholds, prints and drawings."""

import csv
import io
import json
import re

import pytest

import twinbench
from twinbench.protocols.metrics import ERRORS, PERCENT, unit_of
from twinbench.protocols.published import Published
from twinbench.report import csvfile, html
from twinbench.report.beside import Options, _published_cell
from twinbench.report.drawings import curve_charts
from twinbench.report.files import find
from twinbench.report.gate import failures, parse_gates
from twinbench.report.hub import _notes
from twinbench.report.meaning import meaning
from twinbench.report.overview import overview
from twinbench.report.ranking import best_first
from twinbench.report.result import ResultError, parse_result
from twinbench.report.table import build

DEPTH = "nyuv2-linear-dinov3"


@pytest.fixture
def three(write, tmp_path):
    """`a` is the best on depth and the worst on VOC."""
    for method, errors, mean_ap in (("a", [0.373, 0.375], 60.0), ("b", [0.403, 0.405], 70.0), ("c", [0.5, 0.52], 80.0)):
        write(tmp_path, method, DEPTH, errors)
        write(tmp_path, method, "voc07-svm", [mean_ap])
    return tmp_path


def table_of(root, **options):
    return build(find([root]), Options(**options))


def column_of(table):
    return next(column for column in table.columns if column.metric == "rmse")


def test_a_percentage_is_what_is_not_said_to_be_another_thing():
    assert unit_of("mIoU") is PERCENT
    assert not PERCENT.falls
    assert all(unit.falls for unit in ERRORS.values())


def test_the_least_error_is_the_best_and_three_decimals_tell_them_apart(three):
    table = table_of(three)
    column = column_of(table)
    assert [table.cell(method, column).place for method in "abc"] == [1, 2, 3]
    assert [table.cell(method, column).shown for method in "ab"] == ["0.374 ±0.001 (2)", "0.404 ±0.001 (2)"]
    assert dict(table.ranks) == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert "Percent, higher is better (of rmse in metres lower is better):" in table.key


def test_errors_that_print_alike_share_a_place(write, tmp_path):
    for method, error in (("a", 0.3731), ("b", 0.3734), ("c", 0.4)):
        write(tmp_path, method, DEPTH, [error])
    table = table_of(tmp_path)
    assert [table.cell(method, table.columns[0]).place for method in "abc"] == [1, 1, 3]
    assert best_first(table).methods[-1] == "c"


def test_a_difference_has_the_decimals_of_its_metric(three):
    table = table_of(three, baseline="b")
    (contrast,) = table.contrasts
    assert contrast.shown("a", column_of(table)) == "-0.030"
    assert contrast.shown("a", next(column for column in table.columns if column.metric == "mAP")) == "-10.0"


def test_csv_tells_a_difference_as_the_table_does(three):
    lines = csv.DictReader(io.StringIO(csvfile.render(table_of(three, baseline="b"))))
    notes = {line["metric"]: line["notes"] for line in lines if line["kind"] == "difference" and line["method"] == "a"}
    assert notes == {"rmse": "minus b: -0.030", "mAP": "minus b: -10.0"}


def test_a_press_on_the_header_of_an_error_shows_the_least_first(three):
    page = html.render(table_of(three, baseline="b"))
    headers = re.findall(r'<th scope="col"([^>]*)>\s*<span class="sorts">([^<]*)<small>([^<]*)</small>', page)
    low = {metric: 'data-best="low"' in attributes for attributes, _, metric in headers}
    assert low == {"rmse": True, "mAP": False, "2 tasks": True}
    assert len(headers) == 5  # two columns of numbers, two of differences, the average rank


@pytest.mark.parametrize("name", ["rmse", "rmse by epoch"])
def test_a_curve_of_an_error_has_its_unit(name):
    found = meaning(name, {"rmse"}, {1.0, 2.0}, unit="epoch")
    assert (found.x, found.y) == ("epoch", "rmse, metres")
    assert found.of_training
    assert found.falls
    assert found.most > 100
    percent = meaning(name.replace("rmse", "top1"), {"top1"}, {1.0, 2.0}, unit="epoch")
    assert (percent.y, percent.falls, percent.most) == ("top1, percent", False, 100.0)


def test_who_has_the_lower_error_wins(write, tmp_path, capsys):
    write(tmp_path, "a", DEPTH, [0.300, 0.301, 0.302])
    write(tmp_path, "b", DEPTH, [0.400, 0.402, 0.401])
    assert twinbench.main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    (column,) = json.loads(capsys.readouterr().out)["columns"]
    assert column["value"] == pytest.approx(-0.1)
    assert column["winner"] == "A"


def test_a_threshold_of_an_error_is_the_most_that_will_do(three):
    table = table_of(three)
    assert failures(table, parse_gates([f"a/{DEPTH}=0.374"])) == []
    assert failures(table, parse_gates([f"b/{DEPTH}=0.4"])) == [
        f"b/{DEPTH}: b reaches 0.4040, expected at most 0.4",
    ]
    assert "expected at most 0.4" in failures(table, parse_gates([f"d/{DEPTH}=0.4"]))[0]


def test_the_overview_has_the_best_to_the_right(three):
    drawn = overview(table_of(three), {"a": 0, "b": 1, "c": 2})
    assert drawn
    task = next(task for task in drawn.tasks if task.metric == "rmse")
    assert (task.left, task.right) == ("0.510", "0.374")
    assert [mark.label for mark in task.marks] == ["c", "b", "a"]
    assert all(mark.low <= mark.at <= mark.high for mark in task.marks)


def test_the_overview_of_two_ends_at_no_error(three):
    drawn = overview(table_of(three), {"a": 0, "c": 1})
    assert drawn
    task = next(task for task in drawn.tasks if task.metric == "rmse")
    assert (task.left, task.right) == ("0.510", "0.000")
    assert drawn.how == "Percent, or in the metric's unit, as measured: two methods have no scale of their own."
    assert task.marks[0].label == "c"


def test_metres_and_points_share_no_scale_of_differences(three):
    drawn = overview(table_of(three), {"a": 0, "b": 1, "c": 2}, "b")
    assert drawn
    ends = {task.metric: (task.left, task.right) for task in drawn.tasks}
    assert ends == {"rmse": ("+0.106", "-0.030"), "mAP": ("-10.0", "+10.0")}
    assert drawn.how.endswith("above or below b, one scale for all tasks of a unit; better is to the right.")


def test_bars_come_best_first_with_their_unit(three):
    drawn = [bars for _, bars in curve_charts(table_of(three), {"c": 0, "b": 1, "a": 2})]
    bars = next(bars for bars in drawn if bars.x_label == "rmse, metres")
    assert [group.label for group in bars.groups] == ["a", "b", "c"]
    assert bars.groups[0].bars[0].text == "0.374 ±0.001"


def test_the_hub_is_told_the_unit(three):
    table = table_of(three)
    assert _notes(column_of(table), table.cell("a", column_of(table))).startswith("rmse in metres, mean of 2 trials")


def test_a_published_error_is_printed_as_a_measured_one():
    entry = Published("depth", "rmse", "DINOv3 ViT-L/16", 0.352, "facebookresearch/dinov3", "MODEL_CARD.md", "", "")
    assert _published_cell(None, entry).shown == "0.352"


@pytest.mark.parametrize(
    ("metric", "value", "fits"), [("rmse", 120.0, True), ("rmse", -0.1, False), ("d1", 101.0, False)]
)
def test_a_result_holds_percents_to_100_and_errors_from_0(three, tmp_path, metric, value, fits):
    path = next(three.rglob("result.json"))
    told = json.loads(path.read_text())
    told["metrics"][metric] = value
    if fits:
        assert parse_result(json.dumps(told), path).metrics[metric] == value
    else:
        with pytest.raises(ResultError, match="expected percents from 0 to 100, errors from 0"):
            parse_result(json.dumps(told), path)
