"""The mean over a family's data sets: over which, for whom, and in every format."""

import csv
import io
import json

import pytest

from twinbench.protocols.catalogue import find_protocol
from twinbench.report import csvfile, html, jsonfile, latex, markdown, text
from twinbench.report.beside import Options
from twinbench.report.result import Result
from twinbench.report.table import read

SETS = ("cifar10", "dtd", "voc07")


def write(root, method, family="linear12-byol", values=(), sets=SETS, **changes):
    """Write a result on each of some sets."""
    for name, value in zip(sets, values, strict=True):
        protocol = find_protocol(f"{family}@{name}")
        fields = {
            "protocol": protocol.name,
            "version": 1,
            "fingerprint": protocol.fingerprint,
            "method": method,
            "seed": 0,
            "metrics": {protocol.metric: value},
            "headline": protocol.metric,
            "backbone_sha256": method,
            "data": name,
            "data_sha256": name * 8,
        }
        Result(**fields | changes).write(root / method / protocol.name / "seed0")


@pytest.fixture
def table(tmp_path):
    write(tmp_path, "ours", values=(90.0, 70.0, 80.0))
    write(tmp_path, "theirs", values=(91.0, 71.0), sets=SETS[:2])
    return read([tmp_path])


def test_it_is_over_all_sets_of_the_table_for_who_was_measured_on_all(table):
    (found,) = table.means
    assert found.values == {"ours": pytest.approx(80.0)}
    assert found.sets == ("cifar10", "voc07", "dtd")  # in the family's order
    assert found.header == ("linear12-byol", "mean of 3", "cifar10, voc07, dtd")


def test_two_variants_never_share_a_mean(tmp_path):
    write(tmp_path, "ours", values=(90.0, 70.0), sets=SETS[:2])
    write(tmp_path, "ours", "linear12-dinov2", values=(80.0, 60.0), sets=SETS[:2])
    means = {found.protocol: found.values["ours"] for found in read([tmp_path]).means}
    assert means == {"linear12-byol": pytest.approx(80.0), "linear12-dinov2": pytest.approx(70.0)}


def test_one_set_has_no_mean(tmp_path):
    write(tmp_path, "ours", values=(90.0,), sets=("dtd",))
    assert read([tmp_path]).means == ()


def test_own_data_are_no_part_of_it(tmp_path):
    write(tmp_path, "ours", values=(90.0, 70.0, 10.0), sets=("cifar10", "dtd", "mine"))
    (found,) = read([tmp_path]).means
    assert found.values == {"ours": pytest.approx(80.0)}


def test_a_number_on_other_data_than_the_sets_own_has_no_part(tmp_path):
    partial = {"images": {"train": 10, "test": 10}, "images_expected": {"train": 50_000, "test": 10_000}}
    write(tmp_path, "ours", values=(90.0, 70.0), sets=SETS[:2], **partial)
    (found,) = read([tmp_path]).means
    assert found.values == {}


def test_published_rows_have_theirs(tmp_path):
    write(tmp_path, "byol", values=(90.0, 70.0, 80.0))
    (found,) = read([tmp_path], Options(published=True, source="2006.07733")).means
    assert found.values["BYOL, published"] == pytest.approx((91.3 + 75.5 + 82.5) / 3)  # its Table 3


def test_every_format_shows_it(table):
    assert "mean of 3" in text.render(table)
    assert "80.0" in text.render(table).split("mean of 3")[1]
    assert "mean of 3" in markdown.render(table)
    assert "mean of 3" in latex.render(table)
    assert json.loads(jsonfile.render(table))["means"][0]["values"] == {"ours": pytest.approx(80.0)}
    (line,) = [row for row in csv.DictReader(io.StringIO(csvfile.render(table))) if row["kind"] == "mean of sets"]
    assert (line["method"], line["protocol"], line["data"], float(line["mean"]), line["n"]) == (
        *("ours", "linear12-byol", "cifar10 voc07 dtd"),
        *(pytest.approx(80.0), "3"),
    )
    assert "<small>mean of 3</small>" in html.render(table)
