"""`twinbench suite validate`: all mistakes of a file at once, a line each, without a trace on disk."""

import json
import os
from pathlib import Path

import pytest

import twinbench
from twinbench.runtime.cache import cache_folder
from twinbench.suite import launcher

GOOD = """
name: good
root: out
methods:
  mine: {checkpoint: mine.pth}
  random: {checkpoint: random}
protocols:
  voc07-svm: {}
  imagenet-knn: {seeds: 2}
data: {imagenet: imagenet, voc: VOCdevkit}
"""
BAD = """
name: ../bad
root: out
metods: {}
methods:
  a: {checkpoint: nowhere.pth}
  b: {pretrain: {recipe: demos}}
  c: {checkpoint: random, protocols: [voc08-svm]}
  fine: {checkpoint: random}
protocols:
  imagenet-knn: {seeds: 0}
  voc07-svmm: {}
  voc07-svm: {set: {foldss: 2}}
  coco-mrcnn-c4-1x: {}
data: {imagenet: absent, voc: VOCdevkit}
cluster: {gpus: 3}
report: {max_running: 2}
"""
EXPECTED = (  # each begins with the place and ends nowhere near another one
    "unknown key 'metods'",
    "name: '../bad' is no usable name",
    "cluster: unknown setting 'gpus'",
    "report: cluster: max_running does not belong",
    "data.imagenet: ",
    "protocols.imagenet-knn.seeds: is 0",
    "protocols.voc07-svmm: unknown protocol",
    "protocols.voc07-svm.set: unknown setting 'foldss'",
    "protocols.coco-mrcnn-c4-1x: needs coco images",
    "methods.a: there is no file",
    "methods.b.pretrain: unknown recipe 'demos'",
    "methods.c.protocols: unknown protocol 'voc08-svm'",
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "imagenet" / "train").mkdir(parents=True)
    (tmp_path / "VOCdevkit" / "VOC2007").mkdir(parents=True)
    (tmp_path / "mine.pth").touch()
    return tmp_path


def validated(file: Path, text: str, *words: str) -> int:
    file.write_text(text)
    return twinbench.main(["suite", "validate", str(file), *words])


def test_every_mistake_has_a_line_of_its_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "suite.yaml"
    assert validated(file, BAD) == 2
    lines = capsys.readouterr().err.splitlines()
    for line, expected in zip(lines, EXPECTED, strict=True):
        assert line.startswith(f"twinbench suite: {file}: {expected}")


def test_a_file_without_mistakes_says_how_many_trials_it_has(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validated(place / "suite.yaml", GOOD) == 0
    assert capsys.readouterr().out.startswith("good: no mistake in the file; 6 trials; ")


def test_it_writes_nothing_and_asks_no_scheduler(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "cluster_launcher", lambda: pytest.fail("a scheduler was asked"))
    monkeypatch.setenv("TWINBENCH_CACHE", str(place / "cache"))
    (place / "suite.yaml").write_text(GOOD)
    before = sorted(place.rglob("*"))
    assert validated(place / "suite.yaml", GOOD, "--json") == 0
    assert sorted(place.rglob("*")) == before
    assert not cache_folder().exists()
    assert json.loads(capsys.readouterr().out)["problems"] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("root: out", "root: mine.pth"), "is a file; choose a folder"),
        (("imagenet: imagenet", "imagenet: empty"), "data.imagenet: "),
        (("imagenet: imagenet", "imagenet: 'list:no.csv'"), "no.csv: no such file or folder; check the path"),
        (("name: good\n", ""), "lacks name"),
        (("name: good", "name: {"), "suite.yaml, line "),
        (
            ("name: good", "name: good\ntrack: tensorbord"),
            "suite.yaml: track: tensorbord: unknown tracker 'tensorbord'.",
        ),
    ],
)
def test_what_only_the_whole_file_or_the_disk_tells(
    place: Path, change: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "empty").mkdir()
    assert validated(place / "suite.yaml", GOOD.replace(*change)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert line.count("suite.yaml") == 1


def test_a_mistake_is_the_one_that_run_would_end_with(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("seeds: 2", "seeds: 0")
    assert validated(place / "suite.yaml", text) == 2
    told = capsys.readouterr().err
    assert twinbench.main(["suite", "run", str(place / "suite.yaml")]) == 2
    assert capsys.readouterr().err == told
    assert os.listdir(place / "VOCdevkit") == ["VOC2007"]
