"""`twinbench data`: a whole data set passes, each damage is found and listed, exit code 2 with one line."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from twinbench import main
from twinbench.data.checking.checks import check
from twinbench.data.checking.targets import expected_counts
from twinbench.data.errors import DataError
from twinbench.data.folders.imagenet import LISTS_SHA256
from twinbench.protocols.datasets import DATA_SETS

TREES = {"imagenet": "imagenet", "voc": "VOCdevkit", "voc07": "VOCdevkit", "coco": "coco", "inat": "inat"}
TREES["places"] = "places"


@pytest.mark.parametrize("layout", TREES)
@pytest.mark.parametrize("fast", [True, False])
def test_fresh_scenes_are_complete(scenes: Path, layout: str, fast: bool) -> None:
    report = check(layout, scenes / TREES[layout], fast=fast, processes=1)
    assert report.complete
    assert report.expected.items() <= report.counts.items()
    assert report.counts["classes"] == 10
    assert report.expected_from == "the demo scenes' marker"


def test_one_process_and_two_find_the_same(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "imagenet", tmp_path / "imagenet"))
    damaged = sorted((root / "train").rglob("*.JPEG"))[::25]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:900])
    reports = [check("imagenet", root, processes=number) for number in (1, 2)]
    assert reports[0] == reports[1]
    assert [(problem.kind, problem.count) for problem in reports[0].problems] == [("unreadable images", len(damaged))]
    assert reports[0].problems[0].examples[0].startswith(str(damaged[0]))
    assert check("imagenet", root, fast=True).complete  # the headers are whole


def test_the_published_counts(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "coco", tmp_path / "coco"))
    (root / "scenes.json").unlink()  # no longer known as scenes
    report = check("coco", root)
    assert report.expected == {"train": 118_287, "val": 5000, "classes": 80}
    assert report.problems[0].examples == [
        "train: 20, expected 118,287",
        "val: 20, expected 5,000",
        "classes: 10, expected 80",
    ]


def test_what_the_voc_devkit_holds() -> None:
    assert expected_counts(DATA_SETS["voc0712"], "voc") == {
        "2007-trainval": 5011,
        "2012-trainval": 11_540,
        "2007-test": 4952,
        "trainval07+12": 16_551,
        "classes": 20,
    }


def test_subset_lists_are_counted_where_they_are(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "imagenet", tmp_path / "imagenet"))
    (root / "scenes.json").unlink()
    (root / "10percent.txt").unlink()
    report = check("imagenet", root)
    assert report.counts == {"train": 60, "val": 20, "classes": 10, "1percent.txt": 10}
    assert report.problems[0].count == 4  # train, val, classes and the one list
    assert "1percent.txt" in report.as_text()
    assert "10percent.txt" not in report.as_text()


def test_on_imagenets_classes_the_lists_must_be_simclrs(scenes: Path, tmp_path: Path, monkeypatch) -> None:
    root = Path(shutil.copytree(scenes / "imagenet", tmp_path / "imagenet"))
    (root / "scenes.json").unlink()
    monkeypatch.setattr("twinbench.data.checking.surveys.CLASSES", 10)
    (wrong,) = [problem for problem in check("imagenet", root).problems if problem.kind == "lists"]
    assert wrong.count == 2
    assert "expected SimCLR's 71e82a48ba78..." in wrong.examples[1]
    for name in ("1percent.txt", "10percent.txt"):
        found = hashlib.sha256((root / name).read_bytes()).hexdigest()
        monkeypatch.setitem(LISTS_SHA256, name, found)
    assert not [problem for problem in check("imagenet", root).problems if problem.kind == "lists"]


def test_a_damaged_marker_is_told(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "coco", tmp_path / "coco"))
    for text in ("{", "[]", "{}", '{"images": 3}', '{"images": {"train": "many"}}'):
        (root / "scenes.json").write_text(text)
        with pytest.raises(DataError, match=r"scenes\.json: damaged; expected what `data make` wrote"):
            check("coco", root)


def test_every_problem_of_a_voc_tree_is_listed(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "VOCdevkit", tmp_path / "VOCdevkit"))
    folder = root / "VOC2007"
    (folder / "JPEGImages" / "000001.jpg").unlink()
    (folder / "JPEGImages" / "000002.jpg").write_bytes(b"")
    for name in ("000003", "000004", "000005", "000006"):
        path = folder / "Annotations" / f"{name}.xml"
        path.write_text(path.read_text().replace("<difficult>0</difficult>", "<difficult>no</difficult>", 1))
    (folder / "ImageSets" / "Main" / "one_test.txt").write_text("000002 -1\n")
    (root / "VOC2012" / "ImageSets" / "Main" / "trainval.txt").unlink()
    found = {problem.kind: problem for problem in check("voc", root).problems}
    assert {kind: problem.count for kind, problem in found.items()} == {
        "class lists": 1,
        "annotations": 4,
        "layout": 1,
        "missing images": 1,
        "unreadable images": 1,
        "counts": 2,  # 2012-trainval and the sum
    }
    assert len(found["annotations"].examples) == 3
    assert "<difficult> is 'no'" in found["annotations"].examples[0]


def test_pipes_and_dangling_links_do_not_stop_a_check(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "coco", tmp_path / "coco"))
    pipe, dangling, loop = sorted((root / "val2017").iterdir())[:3]
    for path in (pipe, dangling, loop):
        path.unlink()
    os.mkfifo(pipe)
    dangling.symlink_to("nothing")
    loop.symlink_to(loop)
    found = {problem.kind: problem.count for problem in check("coco", root).problems}
    assert found == {"unreadable images": 1, "missing images": 2}


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="the stand-in reaches forked readers only")
def test_a_killed_reader_is_told(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinbench.data.checking.checks.prove", lambda path: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError, match="was killed, perhaps for memory; run again with --processes 1"):
        check("coco", scenes / "coco", processes=2)


def test_every_problem_of_a_coco_tree_is_listed(scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes / "coco", tmp_path / "coco"))
    path = root / "annotations" / "instances_val2017.json"
    lists = json.loads(path.read_text())
    changes = (
        ("image_id", 99),
        ("category_id", 99),
        ("image_id", []),
        ("category_id", {}),
        ("bbox", [0, 0, 5]),
        ("bbox", [0, 0, float("nan"), 1]),
    )
    changes += (("iscrowd", 2), ("area", "big"), ("segmentation", []))
    for annotation, (key, value) in zip(lists["annotations"], changes, strict=False):
        annotation[key] = value
    path.write_text(json.dumps(lists))
    (problem,) = check("coco", root).problems
    assert (problem.kind, problem.count) == ("annotations", len(changes))
    lists["annotations"] = lists["annotations"][len(changes) :]
    lists["images"][0]["width"] = 97
    path.write_text(json.dumps(lists))
    (problem,) = check("coco", root).problems
    assert "96 x 96 pixels, annotated 97 x 96" in problem.examples[0]
    lists["images"][0].pop("file_name")
    path.write_text(json.dumps(lists))
    assert {problem.kind for problem in check("coco", root).problems} == {"layout", "counts"}


def test_the_command(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make", str(tmp_path / "made"), "--scale", "0.01", "--seed", "3"]) == 0
    assert "made/imagenet: train 30, val 20" in capsys.readouterr().out
    assert main(["data", "check", "coco", str(tmp_path / "made" / "coco")]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["data", "check", "inat", str(scenes / "inat"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete"] is True
    assert told["optional"] == []  # SimCLR's lists are ImageNet's
    (tmp_path / "made" / "coco" / "val2017" / "000000000021.jpg").unlink()
    assert main(["data", "check", "coco", str(tmp_path / "made" / "coco"), "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["problems"][0]["kind"] == "missing images"
    assert err.count("\n") == 1
    assert "coco is not complete; problems: missing images (1)" in err
    assert "000000000021.jpg" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["check", "imagnet", "."], "unknown layout or data set 'imagnet'. Did you mean 'imagenet'"),
        (["check", "voc", "/nowhere"], "/nowhere: no such folder"),
        (["check", "voc", ".", "--processes", "-1"], "--processes -1: expected a number"),
        (["make", "/dev/null"], "/dev/null: a file"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *arguments]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1
