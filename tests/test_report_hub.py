"""The Hub's `.eval_results/*.yaml`: written for people and leaderboards, read back into the same columns."""

import json
import sys
from types import ModuleType

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries

import twinbench
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report import hub
from twinbench.report.hub import HubError, parse_leaderboards
from twinbench.report.result import read_results
from twinbench.report.table import read

RGB = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": "rgb", "scale": 1.0}


@pytest.fixture
def results(write, tmp_path):
    root = tmp_path / "results"
    values = [{"top5": 91.0, "top1": 73.25}, {"top5": 91.5, "top1": 100 / 3}]
    write(root, "barlow | é", "imagenet-linear", values, convention=RGB, finished="2026-11-27T10:00:00+00:00")
    write(root, "random", "voc07-svm", [50.0], overrides={"costs": "1"}, fingerprint="0" * 12, converged=False)
    return root


def written(results, tmp_path, *more):
    out = tmp_path / "hub"
    code = twinbench.main(["report", str(results), "--format", "hub", "--out", str(out), *more])
    return code, sorted(out.rglob("*.yaml"))


def test_what_is_written_is_the_hubs_format(results, tmp_path, capsys):
    code, (barlow, random) = written(results, tmp_path, "--leaderboard", "me/probes")
    assert code == 0
    assert random.relative_to(tmp_path / "hub").as_posix() == "random/.eval_results/twinbench.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(barlow.read_text()))
    assert (entry.dataset_id, entry.task_id) == ("me/probes", "imagenet-linear")
    assert entry.value == pytest.approx((73.25 + 100 / 3) / 2)
    assert entry.date == "2026-11-27T10:00:00+00:00"
    assert str(entry.notes).startswith(
        "top1 in percent, mean of 2 trials, sample standard deviation 28.23; imagenet-linear v"
    )
    assert PROTOCOLS["imagenet-linear"].fingerprint in str(entry.notes)
    (changed,) = parse_eval_result_entries(yaml.safe_load(random.read_text()))
    assert "settings changed: costs=1" in str(changed.notes)
    assert "1 entries" in capsys.readouterr().out


def test_the_reader_gets_the_very_columns_and_cells_back(results, tmp_path):
    _, files = written(results, tmp_path, "--leaderboard", "me/probes")
    for number, file in enumerate(files):
        assert twinbench.main(["import", str(file), str(tmp_path / "back" / str(number))]) == 0
    before, after = read([results]), read([tmp_path / "back"])
    assert after.columns == before.columns
    assert sorted(after.methods) == sorted(before.methods)
    for column in before.columns:
        for method in before.methods:
            assert after.cell(method, column).values == before.cell(method, column).values
    first = {result.seed: result.identity for result in read_results([results]) if result.method != "random"}
    again = {result.seed: result.identity for result in read_results([tmp_path / "back"]) if result.method != "random"}
    assert again == first
    notes = [text for _, text in after.footnotes]
    assert any(
        text.startswith("not measured here: imported from twinbench, twinbench.yaml, for me/pro") for text in notes
    )
    assert any("before it converged" in text for text in notes)


def test_what_is_imported_or_partial_is_left_out_and_said_so(write, tmp_path, capsys):
    write(tmp_path / "r", "a", "imagenet-linear", [70.0], imported="VISSL")
    write(tmp_path / "r", "b", "imagenet-linear", [71.0], images={"train": 1}, images_expected={"train": 2})
    code, files = written(tmp_path / "r", tmp_path, "--leaderboard", "me/probes")
    assert (code, files) == (0, [])
    assert capsys.readouterr().out.splitlines() == [
        "left out: a on imagenet-linear: imported, not measured here",
        "left out: b on imagenet-linear: not on the complete data",
    ]


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ([], "the leaderboard of imagenet-linear is not known; expected --leaderboard imagenet-linear=ORG/NAME:TASK"),
        (["--leaderboard", "probes"], "--leaderboard probes: expected ORG/NAME"),
        (["--leaderboard", "me/probes:all"], "--leaderboard me/probes:all: expected ORG/NAME, or PROTOCOL="),
        (["--leaderboard", "a/b", "--leaderboard", "a/c"], "all protocols was given before"),
        (
            ["--leaderboard", "voc07-svm=me/p:t", "--leaderboard", "imagenet-linear=me/p:t"],
            "would share the leaderboard me/p:t",
        ),
        (["--leaderboard", "me/probes", "--published"], "--published says nothing with --format hub"),
        (["--leaderboard", "me/probes", "--same", "a=b"], "--same says nothing with --format hub"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(results, tmp_path, capsys, more, match):
    code, files = written(results, tmp_path, *more)
    assert (code, files) == (2, [])
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1


def test_two_recipes_never_share_a_leaderboard(write, tmp_path, capsys):
    write(tmp_path / "r", "a", "imagenet-linear", [70.0])
    write(tmp_path / "r", "b", "imagenet-linear", [71.0], fingerprint="0" * 12, overrides={"epochs": "5"})
    code, _ = written(tmp_path / "r", tmp_path, "--leaderboard", "me/probes")
    assert code == 2
    assert "would share the leaderboard me/probes:imagenet-linear" in capsys.readouterr().err


def test_leaderboards_are_given_by_protocol_or_for_all():
    assert parse_leaderboards(["imagenet-knn=me/in1k:knn", "me/all", "voc07-svm=me/voc"]) == {
        "imagenet-knn": ("me/in1k", "knn"),
        "": ("me/all", ""),
        "voc07-svm": ("me/voc", ""),
    }


def entry_with(**changes):
    told = {
        **{"protocol": "p", "version": 1, "fingerprint": "f", "method": "m", "headline": "top1"},
        **{"backbone_sha256": "b", "seeds": [0], "metrics": {"top1": [50.0]}},
    }
    return {"dataset": {"id": "a/b", "task_id": "t"}, "value": 1, "notes": f"x. twinbench {json.dumps(told | changes)}"}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("a: 1", "no list of entries"),
        ("[1]", "no list of entries"),
        ("[{value: 1}]", "an entry that the Hub would refuse"),
        ("[{dataset: 1, value: 1}]", "an entry that the Hub would refuse"),
        ("- dataset: {id: cais/hle, task_id: default}\n  value: 20.9\n", "1 entries, none with twinbench's notes"),
        ("a: &a [*a]", "an alias of the very value"),
        ([entry_with(seeds=[0, 1])], "another number of values than of seeds"),
        ([entry_with(seeds=3)], "lack seeds or metrics"),
        ([entry_with(metrics={"top1": [101.0]})], "entry 1: metrics are .* expected percents"),
        ([entry_with(headline="mAP")], "headline metric 'mAP' is not among"),
        ([entry_with(version="1")], "version is '1', expected int"),
        ([{**entry_with(), "notes": "twinbench {"}], "entry 1: not readable as JSON"),
    ],
)
def test_a_file_of_something_else_ends_in_one_line(tmp_path, content, match):
    file = tmp_path / "x.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(HubError, match=match):
        hub.read(file)


def test_without_huggingface_hub_one_line_names_the_extra(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _ = written(results, tmp_path, "--leaderboard", "me/probes")
    assert code == 2
    assert "needs the package huggingface_hub, which is not installed; run: pip install 'twinbench[hf]'" in (
        capsys.readouterr().err
    )


def test_an_older_huggingface_hub_is_told_to_be_too_old(results, tmp_path, monkeypatch, capsys):
    older = ModuleType("huggingface_hub")
    older.__version__ = "1.3.0"
    monkeypatch.setitem(sys.modules, "huggingface_hub", older)
    code, _ = written(results, tmp_path, "--leaderboard", "me/probes")
    assert code == 2
    assert "huggingface_hub 1.3.0 does not know .eval_results; run: pip install -U" in capsys.readouterr().err
