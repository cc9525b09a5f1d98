"""Checkpoints of one training, NAME@NUMBER: in the order of their numbers in each table, and as a curve in the page."""

import re

import pytest

from twinbench.protocols.catalogue import find_protocol
from twinbench.report import html, text
from twinbench.report.result import Result
from twinbench.report.series import arranged, latest, point
from twinbench.report.table import read

VALUES = {
    ("bt@0100", "voc07-svm"): (50.0, 52.0),
    ("bt@0020", "voc07-svm"): (10.0, 14.0),
    ("bt@1000", "voc07-svm"): (70.0, 70.5),
    ("bt@0020", "imagenet-knn"): (5.0,),
    ("mo@0060", "voc07-svm"): (33.3,),
    ("random", "voc07-svm"): (3.0,),
}


@pytest.fixture
def table(tmp_path):
    for (method, name), values in VALUES.items():
        protocol = find_protocol(name)
        for seed, value in enumerate(values):
            Result(
                protocol=name, version=protocol.version, fingerprint=protocol.fingerprint, method=method, seed=seed,
                metrics={protocol.metric: value}, headline=protocol.metric, backbone_sha256=method,
                curves={"loss": [[1, 2.0], [2, 1.0]]},
            ).write(tmp_path / method / name / f"seed{seed}")  # fmt: skip
    return read([tmp_path])


@pytest.mark.parametrize(
    ("method", "found"),
    [("bt@0100", ("bt", 100)), ("a@b@7", ("a@b", 7)), ("bt", None), ("bt@last", None), ("@3", None), ("bt@", None)],
)
def test_a_point_is_a_name_and_a_number(method, found):
    assert point(method) == found


def test_points_stand_together_by_number_where_the_first_of_them_stood():
    assert arranged(["a", "b@10000", "c", "b@0300", "b"]) == ("a", "b@0300", "b@10000", "c", "b")
    assert list(latest(["a", "b@0300", "b@10000", "c", "b"])) == ["a", "b@10000", "c", "b"]


def test_rows_follow_the_numbers(table):
    rows = [line.split()[0] for line in text.render(table).splitlines() if "@" in line]
    assert rows == ["bt@0020", "bt@0100", "bt@1000", "mo@0060"]


def test_the_page_draws_each_training_over_its_numbers_with_the_results_means_and_spreads(table):
    page = html.render(table)
    section = page[page.index("Over the training") : page.index("<h2>Curves")]
    assert section.count('<figure class="chart ') == 1  # a lone point is no curve
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="3"><title>(.*?)</title>', section)
    assert [words for *_, words in dots] == [
        "bt at 20: 12.0 ±2.8",  # of 10 and 14: mean 12, deviation sqrt(8)
        "bt at 100: 51.0 ±1.4",
        "bt at 1000: 70.2 ±0.4",
        "mo at 60: 33.3",
    ]
    places = {words.split(":")[0]: (float(x), float(y)) for x, y, words in dots}
    (x20, y20), (x100, y100), (x1000, y1000) = (places[f"bt at {number}"] for number in (20, 100, 1000))
    assert (x1000 - x20) / (x100 - x20) == pytest.approx(980 / 80, rel=0.01)  # a linear axis
    assert (y1000 - y20) / (y100 - y20) == pytest.approx((70.25 - 12) / (51 - 12), rel=0.01)
    assert section.count("<polygon") == 1  # a band for the training that has spread
    legend = section[: section.index("<figure")]
    assert re.findall(r'key s(\d)"></i>(\w+)', legend) == [("0", "bt"), ("1", "mo")]
    lines = re.findall(r"<title>(\S+): ", page[page.index("<h2>Curves") :])
    assert lines == ["bt@1000", "mo@0060", "random"]  # a training by its last checkpoint


def test_every_checkpoint_is_drawn_however_many(tmp_path):
    protocol = find_protocol("voc07-svm")
    for number in range(200):
        Result(
            protocol=protocol.name, version=protocol.version, fingerprint=protocol.fingerprint, seed=0,
            method=f"bt@{number * 20000:04}", metrics={protocol.metric: 1.0 + number / 4}, headline=protocol.metric,
            backbone_sha256=str(number),
        ).write(tmp_path / str(number) / protocol.name / "seed0")  # fmt: skip
    page = html.render(read([tmp_path]))
    assert page.count("<circle") == 200
    assert re.findall(r'y="246" text-anchor="middle">(\S+)<', page) == ["0", "1M", "2M", "3M", "4M"]
