"""The corpus: numbers with their logs, and the page that is made of nothing else."""

import importlib.util
import json
from pathlib import Path

import pytest

from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.report.result import read_result, read_results
from twinbench.suite.suite import read_suite

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("corpus_tool", ROOT / "corpus" / "tool.py")
assert _spec and _spec.loader
tool = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tool)
CELLS = sorted(tool.RESULTS.rglob("result.json"))


def test_the_page_is_made_of_the_corpus_byte_for_byte():
    assert tool.PAGE.read_text() == tool.page(), "run: python corpus/tool.py page"


@pytest.mark.parametrize("path", CELLS, ids=lambda path: str(path.parent.relative_to(tool.RESULTS)))
def test_every_cell_is_a_measurement_with_its_log_and_tells_nothing_of_a_machine(path):
    result = read_result(path)
    assert (result.method, result.protocol) == path.parts[-4:-2]
    assert result.imported == ""
    assert result.code["dirty"] == "False"
    assert len(result.code["commit"]) == 40
    assert result.backbone_sha256
    assert result.data_sha256
    assert (path.parent / "job.log").exists()
    for file in path.parent.iterdir():
        assert file.name in tool.KEPT
        assert tool.ROOTED.findall(file.read_text()) == []


def test_trained_cells_have_the_log_of_their_training():
    trained = [path for path in CELLS if path.parts[-3] == "demo-imagenet-linear"]
    assert trained
    assert all((path.parent / "log.jsonl").exists() for path in trained)


def test_every_recipe_of_the_corpus_is_todays():
    for result in read_results([tool.RESULTS]):
        named = PROTOCOLS[result.protocol.partition("@")[0]].with_settings(result.overrides)
        assert result.fingerprint == named.fingerprint, result.protocol


def test_the_suite_file_is_what_was_measured(tmp_path):
    for folder in ("scenes/imagenet", "scenes/VOCdevkit", "data/cifar10-tenth", "data/digits"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "lite0.pth").write_bytes(b"")
    (tmp_path / "suite.yaml").write_text((ROOT / "corpus" / "suite.yaml").read_text())
    suite = read_suite(tmp_path / "suite.yaml")
    planned = {
        (method.name, entry.protocol.name, entry.protocol.fingerprint)
        for method in suite.methods
        for entry in suite.measurements
    }
    measured = {(entry.method, entry.protocol, entry.fingerprint) for entry in read_results([tool.RESULTS])}
    assert planned <= measured


@pytest.fixture
def run(tmp_path, write, monkeypatch):
    monkeypatch.setattr(tool, "RESULTS", tmp_path / "kept")
    code = {"root": str(tmp_path / "clone"), "commit": "c" * 40, "dirty": "False"}

    def measured(**changes):
        folder = tmp_path / "run"
        command = f"twinbench transfer imagenet-knn {folder}/x.pth {folder}/data ./out 1/2 https://a.org/b/c"
        write(folder / "results", "m", "imagenet-knn", [50.0], **{"code": code, "command": command} | changes)
        trial = folder / "results" / "m" / "imagenet-knn" / "seed0"
        (trial / "job.log").write_text(f"$ /opt/bin/python3 -m x\n{tmp_path}/clone/twinbench/x.py: warned\n")
        (trial / "features.npy").write_bytes(b"0")
        return folder

    return measured


def test_collecting_makes_paths_relative_and_keeps_the_logs(run, tmp_path):
    (target,) = tool.collect(run())
    assert sorted(path.name for path in target.iterdir()) == ["job.log", "result.json"]
    assert (target / "job.log").read_text() == "$ python3 -m x\ncode/twinbench/x.py: warned\n"
    kept = json.loads((target / "result.json").read_text())
    assert kept["command"] == "twinbench transfer imagenet-knn ./x.pth ./data ./out 1/2 https://a.org/b/c"
    assert kept["code"]["root"] == "code"
    assert kept["metrics"] == {PROTOCOLS["imagenet-knn"].metric: 50.0}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"device": "/elsewhere/of/mine"}, "would tell the path /elsewhere/of/mine"),
        ({"imported": "VISSL"}, "expected a trial measured by twinbench"),
        ({"code": {"root": "/x", "commit": "c", "dirty": "True"}}, "at a commit, without local changes"),
    ],
)
def test_what_may_not_be_kept_is_refused_in_one_line(run, capsys, changes, match):
    folder = run(**changes)
    assert tool.main(["collect", str(folder)]) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert not list(tool.RESULTS.rglob("result.json"))


def test_the_data_are_laid_out_as_the_page_says(tmp_path):
    for split, count in (("train", 502), ("test", 101)):
        for number in range(10):
            folder = tmp_path / "cifar" / split / f"class{number}"
            folder.mkdir(parents=True)
            for image in range(count if number == 0 else 1):
                (folder / f"{image:04}.jpg").write_bytes(b"x")
    tool.make_data(tmp_path / "run", tmp_path / "cifar")
    tenth, digits = tmp_path / "run" / "data" / "cifar10-tenth", tmp_path / "run" / "data" / "digits"
    assert len(list((tenth / "train" / "class0").iterdir())) == 500
    assert len(list((tenth / "test" / "class0").iterdir())) == 100
    assert len(list((digits / "train").rglob("*.png"))) == 1297
    assert len(list((digits / "test").rglob("*.png"))) == 500
    with pytest.raises(tool.CorpusError, match="0 class folders; expected CIFAR-10's 10"):
        tool.make_data(tmp_path / "run", tmp_path)
