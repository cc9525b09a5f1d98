"""What the page draws: curves, bars, the overview, numbers by class, and in which order and colors."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest

from twinbench.report import html
from twinbench.report.axis import Axis, frame
from twinbench.report.beside import Options
from twinbench.report.drawings import class_tables, curve_charts
from twinbench.report.meaning import Meaning
from twinbench.report.overview import overview
from twinbench.report.plot import BOTTOM, HEIGHT, TOP, average, chart
from twinbench.report.ranking import best_first
from twinbench.report.table import read

MEANING = Meaning("epoch", "top1, percent", most=100.0)
HOSTILE = "<script>alert(1)</script>"
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
BLINDNESS = [  # protanopia, deuteranopia, tritanopia
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
]


def test_curves_are_averaged_where_all_trials_have_a_point():
    points = average([[[1, 10], [2, 20], [3, 30]], [[2, 22], [1, 12]]])
    assert [(point.x, point.y) for point in points] == [(1, 11), (2, 21)]
    assert points[0].std == pytest.approx(2**0.5)


def test_a_trial_may_know_its_own_spread():
    """As a low-shot SVM does, which draws its images several times in one trial."""
    points = average([[[2, 20, 1.5], [1, 10, 2.5]]])
    assert [(point.x, point.y, point.std) for point in points] == [(1, 10, 2.5), (2, 20, 1.5)]


def test_a_chart_spans_its_axes_and_doubling_steps_are_even():
    shots = [1, 2, 4, 8]
    drawn = chart("low-shot", {"m": [[[k, 10 * i] for i, k in enumerate(shots)]]}, {"m": 0}, MEANING)
    places = [float(point.split(",")[0]) for point in drawn.lines[0].points.split()]
    gaps = [after - before for before, after in zip(places, places[1:], strict=False)]
    assert gaps == pytest.approx([gaps[0]] * 3, abs=0.2)
    assert [text for _, text in drawn.x_ticks] == ["1", "2", "4", "8"]
    low, high = (float(drawn.lines[0].points.split()[index].split(",")[1]) for index in (0, -1))
    assert low > high  # larger values stand higher, where y is smaller
    assert [text for _, text in drawn.y_ticks][0] == "0"
    assert [text for _, text in drawn.y_ticks][-1] == "30"


def test_a_single_point_is_no_curve():
    assert chart("t", {"m": [[[1, 1]]]}, {"m": 0}, MEANING) is None


def test_a_run_that_diverged_beyond_all_numbers_is_not_drawn():
    assert chart("t", {"m": [[[1, 1], [2, 1e308]]]}, {"m": 0}, MEANING) is None
    both = {"m": [[[1, 1], [2, 1e308]]], "n": [[[1, 1], [2, 2]]]}
    drawn = chart("t", both, {"m": 0, "n": 1}, MEANING)
    assert drawn.labels == ["n"]
    assert drawn.too_large == ("m",)


def test_one_diverging_curve_leaves_the_frame_and_flattens_no_other():
    """Losses: three from 3 to 1, and one that went to 9,000, whose arrow stands where it was highest."""
    curves = {name: [[[1, 3.0], [2, 2.0], [3, 1.0 + row / 10]]] for row, name in enumerate("abc")}
    curves["d"] = [[[1, 3.0], [2, 9000.0], [3, 400.0]]]
    series = {name: row for row, name in enumerate("abcd")}
    drawn = chart("t", curves, series, Meaning("epoch", "loss", falls=True))
    heights = [float(point.split(",")[1]) for point in drawn.lines[0].points.split()]
    assert max(heights) - min(heights) > 0.25 * (HEIGHT - TOP - BOTTOM)
    assert [(mark.text, mark.series) for mark in drawn.leaving] == [("\u25b2 9000", 3)]
    assert drawn.leaving[0].x == float(drawn.lines[3].points.split()[1].split(",")[0])
    assert "2: 9000" in drawn.lines[3].values  # pointed at, it tells its value all the same


@pytest.mark.parametrize(("falls", "worse"), [(True, 100.0), (False, -100.0)])
def test_a_frame_cuts_on_the_side_where_curves_diverge_and_nothing_within_eight_ranges(falls, worse):
    good = {name: [(0.0, 1.0)] * 9 for name in "abc"}
    low, high = frame(good | {"d": [(worse, worse)]}, falls=falls, most=math.inf)
    assert (low, high) == ((0.0, 2.0) if falls else (-1.0, 1.0))
    assert frame(good | {"d": [(worse / 15, worse / 15)]}, falls=falls, most=math.inf) == (
        min(0.0, worse / 15),
        max(1.0, worse / 15),
    )
    better = frame(good | {"d": [(-worse, -worse)]}, falls=falls, most=math.inf)
    assert -worse in better  # however far it is ahead


def test_a_percent_is_never_drawn_beyond_0_or_100():
    drawn = chart("t", {"m": [[[1, 1.0, 5.0], [2, 99.0, 5.0]]]}, {"m": 0}, MEANING)
    assert [text for _, text in drawn.y_ticks] == ["0", "20", "40", "60", "80", "100"]


@pytest.fixture
def three(write, tmp_path):
    for method, svm, linear in (("a", [20.0, 22.0], [70.0]), ("b", [11.0], [60.0]), ("c", [16.0], [65.0])):
        write(tmp_path, method, "voc07-svm", svm)
        write(tmp_path, method, "imagenet-linear", linear)
    return tmp_path


def test_the_overview_places_methods_between_the_worst_and_the_best_of_each_task(three):
    drawn = overview(read([three]), {"a": 0, "b": 1, "c": 2})
    assert [(task.left, task.right) for task in drawn.tasks] == [("11.0", "21.0"), ("60.0", "70.0")]
    svm, linear = ({mark.label: mark for mark in task.marks} for task in drawn.tasks)
    assert {label: mark.at for label, mark in svm.items()} == {"a": 100.0, "b": 0.0, "c": 50.0}
    assert {label: mark.at for label, mark in linear.items()} == {"a": 100.0, "b": 0.0, "c": 50.0}
    assert svm["a"].low == round(100 - 10 * 2**0.5, 1)  # of 20 and 22: mean 21, deviation sqrt(2), of a length of 10
    assert svm["c"].low == svm["c"].high
    assert svm["a"].words == "a: 21.0 ±1.4 (2)"


def test_the_overview_of_a_baseline_has_one_scale_of_points(three):
    drawn = overview(read([three]), {"a": 0, "b": 1, "c": 2}, "c")
    assert {(task.left, task.right) for task in drawn.tasks} == {("-5.0", "+5.0")}
    assert {mark.at for task in drawn.tasks for mark in task.marks if mark.label == "c"} == {50.0}
    assert {task.zero for task in drawn.tasks} == {50.0}


def test_two_methods_stand_in_the_overview_as_measured(three):
    drawn = overview(read([three]), {"a": 0, "b": 1})
    assert drawn and drawn.how == "Percent, as measured: two methods have no scale of their own."
    assert [[mark.at for mark in task.marks] for task in drawn.tasks] == [[11.0, 21.0], [60.0, 70.0]]
    assert overview(read([three]), {"a": 0}) is None


def test_the_page_has_the_best_methods_first_and_their_published_rows_below_them(write, tmp_path):
    """By average rank; text formats keep the order of the files."""
    for method, svm, linear in (("a", 50.0, 70.0), ("barlow-twins", 60.0, 80.0), ("c", 40.0, 75.0)):
        write(tmp_path, method, "voc07-svm", [svm])
        write(tmp_path, method, "imagenet-linear", [linear])
    table = read([tmp_path], Options(published=True))
    own = "Barlow Twins, published"
    assert table.methods[:4] == ("a", "barlow-twins", own, "c")
    assert best_first(table).methods == ("barlow-twins", own, "a", "c", *table.methods[4:])  # ranks 1, 2.5, 2.5
    lone = read([tmp_path / "c", tmp_path / "a" / "voc07-svm"])  # no task that both of two finished, but one
    assert best_first(lone).methods == ("a", "c")


def test_knn_is_drawn_as_bars_best_first_and_so_is_what_has_no_curve(write, tmp_path):
    for method, value in (("a", 50.0), ("b", 60.0)):
        metrics = {"top1-k10": value + 1, "top1-k20": value}
        write(
            tmp_path,
            method,
            "imagenet-knn",
            [metrics],
            curves={"top1": [[10, value + 1], [20, value]]},
            headline="top1-k20",
        )
        write(tmp_path, method, "voc07-svm", [value])
    hostile = [[10, -1e300], [20, 1e308]]
    write(tmp_path, "c", "imagenet-knn", [metrics], curves={"top1": hostile}, headline="top1-k20")
    drawn = [found for _, found in curve_charts(read([tmp_path]), {"a": 0, "b": 1, "c": 2})]
    svm, knn = drawn
    assert [group.label for group in svm.groups] == [group.label for group in knn.groups] == ["b", "a"]
    assert [bar.words for bar in knn.groups[0].bars] == ["b, k=10: 61.0", "b, k=20: 60.0"]
    first, second = (group.bars[0].width for group in svm.groups)
    assert second / first == pytest.approx(50 / 60, rel=0.01)  # from zero on


def test_numbers_by_class_stand_side_by_side_and_what_is_no_number_is_left_out(write, tmp_path):
    write(tmp_path, "a", "voc07-svm", [50.0], details={"ap": {"cat": 40.0, "dog": 60.0}})
    write(tmp_path, "b", "voc07-svm", [50.0], details={"ap": {"cat": 50.0}, "per_class": {"AP": {"cat": HOSTILE}}})
    ((_, name, found),) = class_tables(read([tmp_path]), {"a": 0, "b": 1})
    assert (name, found.metric, found.methods) == ("voc07-svm", "AP", ("a", "b"))
    assert found.rows == (("dog", (60.0, None)), ("cat", (40.0, 50.0)))


def test_colors_are_told_apart_by_everyone():
    """Contrast by WCAG 2; color blindness by Machado et al. 2009 at full severity, distances in Oklab."""
    style = (Path(html.__file__).parent / "page.css").read_text()
    pairs = re.findall(r"--c\d: light-dark\((#\w+), (#\w+)\)", style)
    grounds = re.findall(r"--ground: light-dark\((#\w+), (#\w+)\)", style)[0]
    assert len(pairs) == html.MOST_LINES
    for ground, colors in zip(grounds, zip(*pairs, strict=True), strict=True):
        linear = np.array([light(color) for color in colors])
        bright = [(found + 0.05) for found in (linear @ LUMINANCE, light(ground) @ LUMINANCE)]
        contrast = np.maximum(bright[0] / bright[1], bright[1] / bright[0])
        assert contrast.min() >= 3
        for sight in (np.eye(3), *BLINDNESS):
            seen = oklab(np.clip(linear @ sight.T, 0, 1))
            gaps = np.linalg.norm(seen[:, None] - seen[None], axis=2)[~np.eye(len(seen), dtype=bool)]
            assert gaps.min() >= (0.07 if sight is BLINDNESS[-1] else 0.1)


def light(color):
    """Return #rrggbb, or #rgb, as linear light."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    values = np.array([int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(linear):
    """Return Oklab coordinates of linear sRGB, as Ottosson gives them."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ cones.T) @ lab.T


def test_marks_of_many_penalties_do_not_overlap():
    """The 45 of BYOL's grid, whose texts are long: each has the room of its letters."""
    axis = Axis.over([10 ** (-6 + 11 * step / 44) for step in range(45)], 58, 386, logarithmic=True)
    shown = axis.ticks()
    assert axis.logarithmic
    assert 3 <= len(shown) < 10
    for (left, before), (right, after) in itertools.pairwise(shown):
        assert right - left >= 6 * (len(before) + len(after)) / 2


@pytest.mark.parametrize("values", [[5e-324], [0.0, 5e-324], [1e-13], [0.1, math.nextafter(0.1, 1)], [1e17, 1e17 + 16]])
def test_an_axis_takes_the_narrowest_range(values):
    axis = Axis.over(values, 0, 100)
    assert len(axis.ticks()) >= 1
    assert all(0 <= axis.place(value) <= 100 for value in values)
