import json
import math

import pytest

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.identity import NOT_RECORDED, Identity, backbone_identity
from twinbench.report.files import find
from twinbench.report.result import REQUIRED, SCHEMA, Result, ResultError, read_result, read_results


def a_result(**changes):
    fields = {
        "protocol": "p",
        "version": 1,
        "fingerprint": "f" * 12,
        "method": "m",
        "seed": 0,
        "metrics": {"mAP": 50.0},
        "headline": "mAP",
        "backbone_sha256": "0" * 64,
    }
    return Result(**(fields | changes))


def test_what_is_written_is_read(tmp_path):
    written = a_result(curves={"loss": [[1, 2.5], [2, 2.25]]}, details={"costs": [0.1]}, overrides={"epochs": "3"})
    assert read_result(written.write(tmp_path)) == written


def test_a_file_of_an_earlier_twinbench_is_read(tmp_path):
    """Optional fields came one by one: a file without them says nothing about them."""
    path = a_result().write(tmp_path)
    old = {name: value for name, value in json.loads(path.read_text()).items() if name in REQUIRED}
    path.write_text(json.dumps(old))
    assert read_result(path) == a_result()


RGB = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": "rgb", "scale": 1.0}


def test_what_is_recorded_is_the_identity():
    result = a_result(architecture="resnet50", convention=RGB, data="voc07", data_sha256="d" * 64, seed=3)
    expected = Identity("f" * 12, backbone_identity("0" * 64, "resnet50", RGB), "d" * 64, 3)
    assert result.identity == expected
    assert result.identity.is_same(expected)


def test_a_result_of_schema_1_is_read_and_its_data_and_backbone_are_not_recorded(tmp_path):
    """As twinbench 0.1 wrote it: every field of its schema, none of the later ones."""
    new = ("architecture", "convention", "data", "data_sha256", "precision")
    path = a_result().write(tmp_path)
    old = {name: value for name, value in json.loads(path.read_text()).items() if name not in new}
    path.write_text(json.dumps(old | {"schema": 1}))
    found = read_result(path)
    assert found == a_result(schema=1)
    assert found.identity.backbone == NOT_RECORDED
    assert found.identity.data == NOT_RECORDED
    assert not found.identity.is_same(found.identity)


def test_the_same_tensors_under_two_conventions_are_two_backbones():
    rgb, bgr = (a_result(convention=RGB | {"order": order}).identity for order in ("rgb", "bgr"))
    assert rgb.differences(bgr) == ("backbone", "data")  # the data of neither is recorded


def test_weights_that_are_not_known_are_not_recorded():
    assert a_result(backbone_sha256="", convention=RGB).identity.backbone == NOT_RECORDED


def test_a_number_that_is_none_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        a_result(metrics={"mAP": math.nan}).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folders_are_searched_and_nothing_is_read_twice(tmp_path):
    paths = [a_result(seed=seed).write(tmp_path / f"seed{seed}") for seed in (1, 0)]
    assert [result.seed for result in read_results([tmp_path, paths[0]])] == [0, 1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"metrics": {"mAP": "85"}}, r"metrics is .*85.*, expected dict\[str, float\]"),
        ({"metrics": {"mAP": 850.0}}, "metrics are {'mAP': 850.0}, expected percents from 0 to 100"),
        ({"schema": [1]}, "schema is .1., expected int"),
        ({"seed": True}, "seed is True, expected int"),
        ({"version": "1"}, "version is '1', expected int"),
        ({"curves": {"loss": [1, 2]}}, "curves is .* expected dict"),
        ({"curves": {"loss": [[1, 2], [3]]}}, "not .x, y. or .x, y, std."),
        ({"images": {"train": 1.5}}, "images is .* expected dict"),
        ({"pictures": "a.png"}, "pictures is 'a.png', expected list"),
        ({"wall_seconds": "long"}, "wall_seconds is 'long', expected a finite number"),
        ({"headline": "top1"}, "headline metric 'top1' is not among .'mAP'"),
        ({"schema": SCHEMA + 1}, "newer than .*update twinbench"),
        ({"surprise": 1}, "unknown fields surprise"),
        ({"data": 7}, "data is 7, expected str"),
        ({"data_sha256": None}, "data_sha256 is None, expected str"),
        ({"architecture": ["resnet50"]}, "architecture is .'resnet50'., expected str"),
        ({"convention": "rgb"}, "convention is 'rgb', expected dict"),
        ({"convention": {"order": "rgb"}}, "convention is .'order': 'rgb'., expected mean, order, scale, std"),
        ({"precision": 32}, "precision is 32, expected str"),
    ],
)
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path, change, match):
    path = a_result().write(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ResultError, match=match) as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not readable as JSON .*; remove it and run the trial again"),
        ("[]", "holds no JSON object"),
        ("{}", "lacks backbone_sha256, fingerprint"),
        ('{"curves": 1' + "0" * 400 + "}", "not readable as JSON .*a number of more than 100 digits"),
        ('{"details": ' * 100_000, "not readable as JSON .*; remove it and run the trial again"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, match):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=match):
        read_result(path)


def test_infinity_in_a_file_is_refused(tmp_path):
    path = a_result().write(tmp_path)
    path.write_text(path.read_text().replace("50.0", "Infinity"))
    with pytest.raises(ResultError, match="expected dict"):
        read_result(path)


@pytest.mark.parametrize("number", ["-1e999", "NaN", "true", '"1"'])
def test_a_curve_of_something_else_than_numbers_is_refused(tmp_path, number):
    path = a_result(curves={"loss": [[1, 2.5], [2, 3.5]]}).write(tmp_path)
    path.write_text(path.read_text().replace("3.5", number))
    with pytest.raises(ResultError, match="curves is .* expected dict"):
        read_result(path)


def test_a_curve_of_finite_numbers_may_have_an_infinite_sum(tmp_path):
    curves = {"loss": [[1, 1e308], [2, 1e308]]}
    assert read_result(a_result(curves=curves).write(tmp_path)).curves == curves


def test_a_place_without_results_says_what_was_expected(tmp_path):
    with pytest.raises(ResultError, match="no such file or folder"):
        find([tmp_path / "missing"])
    with pytest.raises(ResultError, match="no result.json below; expected"):
        find([tmp_path])


def test_unfinished_trials_are_found_with_their_reason(tmp_path):
    a_result().write(tmp_path / "m" / "p" / "seed0")
    traces = {
        1: {"failed": "out of memory\nmore", "job.log": "...", "job.json": '{"state": "failed"}'},
        2: {"job.log": "..."},
        3: {"notes.txt": ""},
        4: {"job.log": "...", "job.json": '{"state": "running"}'},
        5: {"job.log": "...", "job.json": "[half"},
    }
    for seed, files in traces.items():
        folder = tmp_path / "m" / "p" / f"seed{seed}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    found = find([tmp_path])
    assert [entry.result.seed for entry in found.results] == [0]
    assert [(lost.method, lost.protocol, lost.seed, lost.reason) for lost in found.absent] == [
        ("m", "p", "1", "failed: out of memory"),
        ("m", "p", "2", "not finished"),
        ("m", "p", "4", "running"),
        ("m", "p", "5", "not finished"),
    ]


def written_by_0_1(tmp_path, **fields):
    """Write a result as twinbench 0.1 did."""
    old = {
        "protocol": "voc07-svm",
        "version": 1,
        "fingerprint": "16727dc71c2e",  # of commit 9df5be5
        "method": "mine",
        "seed": 0,
        "metrics": {"mAP": 60.0},
        "headline": "mAP",
        "backbone_sha256": "a" * 64,
        "schema": 1,
    }
    path = tmp_path / "result.json"
    path.write_text(json.dumps(old | fields))
    return read_result(path)


def test_a_result_of_an_unchanged_recipe_is_read_under_todays_fingerprint(tmp_path):
    assert written_by_0_1(tmp_path).fingerprint == PROTOCOLS["voc07-svm"].fingerprint


@pytest.mark.parametrize(
    "fields", [{"fingerprint": "16727dc71c2f"}, {"version": 2}, {"schema": 2}, {"imported": "VISSL"}], ids=str
)
def test_no_other_result_is(tmp_path, fields):
    assert written_by_0_1(tmp_path, **fields).fingerprint != PROTOCOLS["voc07-svm"].fingerprint


def test_a_recipe_whose_numbers_changed_is_another_edition(tmp_path):
    """Barlow Twins' VOC detection had naiveSyncBN in 0.1."""
    found = written_by_0_1(tmp_path, protocol="voc0712-frcnn-c4", fingerprint="c09e0d7cefec")
    assert found.fingerprint == "c09e0d7cefec"
