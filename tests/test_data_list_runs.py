"""A measurement by list is that of the folder, and what would fail is told by a check."""

from pathlib import Path

import pytest

import twinbench
from twinbench.data.layouts import read_labelled
from twinbench.report.result import Result, read_result


@pytest.fixture
def lists(scenes: Path, tmp_path: Path) -> str:
    """The ImageNet scenes by lists elsewhere."""
    root = scenes / "imagenet"
    for name, split in (("train.csv", "train"), ("val.csv", "test")):
        images = read_labelled("imagenet", root, split)
        lines = ["path,label\n"]
        for index, target in enumerate(images.targets):
            lines.append(f"{Path(str(images.paths[index])).relative_to(root)},{images.classes[target]}\n")
        (tmp_path / name).write_text("".join(lines))
    return f"list:{tmp_path}/train.csv?root={root}"


def measured(data: object, out: Path) -> Result:
    words = ["transfer", "demo-imagenet-knn", "random", data, out, "--partial", "--workers", 0, "--device", "cpu"]
    assert twinbench.main([str(word) for word in words]) == 0
    return read_result(out / "result.json")


def test_a_list_is_measured_as_its_folder(scenes: Path, lists: str, tmp_path: Path) -> None:
    by_list, by_folder = measured(lists, tmp_path / "list"), measured(scenes / "imagenet", tmp_path / "folder")
    assert by_list.metrics == by_folder.metrics
    assert by_list.data_sha256 == by_folder.data_sha256


def test_a_check_of_a_list_tells_what_a_run_would(
    lists: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert twinbench.main(["data", "check", lists, "--processes", "1"]) == 0
    assert "usable" in capsys.readouterr().out
    with (tmp_path / "val.csv").open("a") as file:
        file.write("val/nowhere.png,n00000000\n")
    assert twinbench.main(["data", "check", lists, "--processes", "1"]) == 2
    assert "1 of its 21 images are not in" in (line := capsys.readouterr().out)
    assert twinbench.main(["transfer", "demo-imagenet-knn", "random", lists, str(tmp_path / "x"), "--partial"]) == 2
    assert capsys.readouterr().err.partition(": ")[2].strip() in line


def test_cocos_json_is_checked_as_several_labels(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert twinbench.main(["data", "check", f"coco:{scenes}/coco", "--processes", "1"]) == 0
    assert "classes                 10" in capsys.readouterr().out
