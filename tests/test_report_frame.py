"""Single results as a DataFrame and as Parquet."""

import io
import json
import sys

import pandas
import pytest

import twinbench


@pytest.fixture
def results(write, tmp_path):
    root = tmp_path / "results"
    write(root, "barlow", "imagenet-linear", [{"top5": 91.0, "top1": 73.25}, {"top5": 91.5, "top1": 73.5}])
    write(root, "007", "imagenet-linear", [1 / 3], overrides={"epochs": "5"}, images={"train": 9})
    return root


def test_a_row_a_trial_and_metric_with_all_identities(results):
    read = twinbench.read_results([results])
    frame = twinbench.frame(read)
    shown = frame[["method", "seed", "metric", "headline", "value"]].sort_values(["method", "seed"]).values.tolist()
    assert shown == [
        ["007", 0, "top1", True, 1 / 3],
        ["barlow", 0, "top1", True, 73.25],
        ["barlow", 0, "top5", False, 91.0],
        ["barlow", 1, "top1", True, 73.5],
        ["barlow", 1, "top5", False, 91.5],
    ]
    first = frame[frame.method == "007"].iloc[0]
    (result,) = (entry for entry in read if entry.method == "007")
    for name in ("protocol", "version", "fingerprint", "data", "data_sha256", "backbone_sha256"):
        assert first[name] == getattr(result, name)
    assert json.loads(first.overrides) == {"epochs": "5"}
    assert json.loads(first.images) == {"train": 9}
    assert first.notes == "settings changed: epochs=5"


def test_means_over_seeds_are_those_of_the_table(results):
    read = twinbench.read_results([results])
    frame = twinbench.frame(read)
    means = frame[frame.headline].groupby("method").value.mean().to_dict()
    assert means == {row["method"]: row["mean"] for row in twinbench.table(read) if row["headline"]}


def test_no_results_are_a_frame_without_rows():
    empty = twinbench.frame([])
    assert len(empty) == 0
    assert {"protocol", "metric", "value", "seed"} <= set(empty.columns)


def test_parquet_and_csv_give_back_what_was_written(results, tmp_path):
    file = tmp_path / "new" / "trials.parquet"
    assert twinbench.main(["report", str(results), "--format", "parquet", "--out", str(file)]) == 0
    frame = twinbench.frame(twinbench.read_results([results]))
    pandas.testing.assert_frame_equal(pandas.read_parquet(file), frame)
    types = frame.dtypes.to_dict()
    text = io.StringIO(frame.to_csv(index=False))
    pandas.testing.assert_frame_equal(pandas.read_csv(text, dtype=types, keep_default_na=False), frame)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ([], "there is no --out; name it"),
        (["--out", "x", "--published"], "--published says nothing with --format parquet"),
        (["--out", "/dev/null/x"], "--out /dev/null/x: cannot be written"),
    ],
)
def test_what_parquet_cannot_hold_is_told_in_one_line(results, capsys, options, match):
    assert twinbench.main(["report", str(results), "--format", "parquet", *options]) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_without_the_package_one_line_names_the_extra(results, tmp_path, monkeypatch, capsys, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert twinbench.main(["report", str(results), "--format", "parquet", "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert f"needs the package {package}, which is not installed; run: pip install 'twinbench[frames]'" in error
    assert not (tmp_path / "x").exists()
